"""What `fuzz_readers` gives to the parsers of single cells: the compiled ones, and those of the predictor."""

import math
import random
import re

import numpy as np
import plain_rows

from deshpc.config import FieldConfig
from deshpc.formats.cells import parser_of
from deshpc.formats.columns import Bucket, Multi
from deshpc.hashing.key import field_seed, key
from deshpc.serve.cells import BadCell, number_of, text_of, values_of
from deshpc.serve.keys import keys_of

FIELD = 3  # the number of the cells' field
PIECES = [b"1", b"23", b"0.5", b"-", b"+", b".", b"e", b"E5", b" ", b":", b"::", b"|", b"||", b"a", b"\xc3\xa9", b"\xff", b"\0", b"9" * 25, b"nan", b"inf",
          b"3.4028235e38", b"3.5e38", b"1e-46", b"\t", b"\r", b"\n", b"\xd9\xa1", b"_", b"0x1", b"x" * 9, b"1e400", b"0." + b"0" * 400 + b"1e400"]  # fmt: skip


class Cells:
    """`attempt` gives the same cells to all."""

    def warm_up(self, path):
        for case in range(20):
            self.attempt(random.Random(case), path)

    def attempt(self, chance, path):
        """A complaint, or None."""
        kind = chance.choice(["categorical", "dense", "bucket", "multi", "weighted"])
        field = FieldConfig("f", "multi", weight_separator=":") if kind == "weighted" else FieldConfig("f", kind)
        cells = [b"".join(chance.choice(PIECES) for _ in range(chance.choice([0, 1, 1, 2, 3, 6]))) for _ in range(chance.randrange(1, 30))]
        data = b"<".join([b"", *cells]) + b">" * chance.randrange(3)
        path.write_bytes(data)
        stops = np.cumsum([1 + len(cell) for cell in cells])
        starts = stops - [len(cell) for cell in cells]
        column, bad = parser_of(field, FIELD).parse(np.frombuffer(data, np.uint8).copy(), starts, stops)
        found = self.found(column, np.zeros(len(cells), bool) if bad is None else bad)
        for name, convert in (("plain", self.plain), ("predictor", self.predictor)):
            expected = [convert(kind, cell) for cell in cells]
            if found != expected:
                i = next(i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
                return f"{kind} {cells[i]!r} is {found[i]}; {name}: {expected[i]}"
        return None

    def found(self, column, bad):
        """[a number, None where missing, or [(key, weight)]; "bad"] of a parsed column."""
        if isinstance(column, Multi):
            weights = np.ones(len(column.keys), np.float32) if column.weights is None else column.weights
            pairs = list(zip(column.keys.tolist(), weights.view(np.uint32).tolist(), strict=True))
            made = [pairs[begin:end] for begin, end in zip(column.offsets, column.offsets[1:], strict=False)]
        elif hasattr(column, "keys"):
            made = [[(one, None)] for one in column.keys.tolist()]
        else:
            numbers = column.numbers if isinstance(column, Bucket) else column
            made = [None if math.isnan(x) else x.hex() for x in numbers.tolist()]
        return ["bad" if wrong else one for one, wrong in zip(made, bad.tolist(), strict=True)]

    def plain(self, kind, cell):
        if kind == "categorical":
            return [(key(FIELD, "f", cell), None)]
        if kind in ("dense", "bucket"):
            x = plain_rows.number(cell)
            return "bad" if x is None else None if math.isnan(x) else x.hex()
        pairs = plain_rows.values(cell, b"|", b":" if kind == "weighted" else b"")
        return "bad" if pairs is None else [(key(FIELD, "f", value), int(weight.view(np.uint32))) for value, weight in pairs]

    def predictor(self, kind, cell):
        seed = np.uint64(field_seed("f"))
        if re.fullmatch(b"[a-z0-9]*", cell):
            cell = cell.decode()  # text and bytes are the same
        try:
            if kind == "categorical":
                return [(int(keys_of([text_of(cell)], np.array([FIELD]), np.array([seed]))[0]), None)]
            if kind in ("dense", "bucket"):
                x = number_of(cell)
                return None if math.isnan(x) else x.hex()
            texts, weights = values_of(cell, "|", ":" if kind == "weighted" else "")
        except BadCell:
            return "bad"
        keys = keys_of(texts, np.full(len(texts), FIELD), np.full(len(texts), seed)).tolist() if texts else []
        return list(zip(keys, np.array(weights).astype(np.float32).view(np.uint32).tolist(), strict=True))
