"""What `fuzz_readers` gives to the reader of Parquet: tables of every type, whole and damaged, beside their values as Python has them."""

import decimal
import itertools
import math
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats import parquet
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.hashing.key import key

TEXTS = ["", "a", "é", "x" * 30, "a|b", "c:2", "||", "d:0.1|e", ":", "f:x"]
INTEGERS = [0, 1, -1, 127, 2**31 - 1, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, math.nan, math.inf, -math.inf, 3.4028235e38, 3.5e38]
PAIR = pa.struct([("value", pa.string()), ("weight", pa.float64())])


def _decimal(chance):
    return decimal.Decimal(chance.randrange(-(10**18), 10**18)).scaleb(-chance.choice([0, 3, 5])).quantize(decimal.Decimal("0.00001"))


def _text(chance):
    return chance.choice(TEXTS)


def _listed(make):
    return lambda chance: [chance.choice([None, make(chance), make(chance), make(chance)]) for _ in range(chance.randrange(4))]


def _integer(low, high):
    return lambda chance: chance.choice([one for one in (*INTEGERS, chance.randrange(low, high)) if low <= one < high])


def _float(chance):
    return chance.choice([*FLOATS, chance.gauss(0, 1), float(chance.randrange(9))])


TEXT_TYPES = [
    (pa.string(), _text), (pa.large_string(), _text), (pa.string_view(), _text), (pa.binary(), lambda chance: _text(chance).encode() + b"\xff"),
    (pa.binary(3), lambda chance: chance.randbytes(3)), (pa.dictionary(pa.int32(), pa.string()), _text), (pa.bool_(), lambda c: c.random() < 0.5),
    (pa.int8(), _integer(-128, 128)), (pa.int64(), _integer(-(2**63), 2**63)), (pa.uint64(), _integer(0, 2**64)), (pa.null(), lambda c: None),
]  # fmt: skip
NUMBER_TYPES = [
    (pa.float64(), _float), (pa.float32(), lambda chance: float(np.float32(chance.gauss(0, 9)))), (pa.int32(), _integer(-(2**31), 2**31)),
    (pa.int64(), _integer(-(2**63), 2**63)), (pa.uint64(), _integer(0, 2**64)), (pa.decimal128(38, 5), _decimal), (pa.bool_(), lambda c: c.random() < 0.5),
    (pa.dictionary(pa.int8(), pa.float64()), lambda chance: chance.choice([0.5, 1e300])),
]  # fmt: skip
LIST_TYPES = [(pa.list_(kind), _listed(make)) for kind, make in TEXT_TYPES[:1] + TEXT_TYPES[5:9]] + TEXT_TYPES[:1]
WEIGHTED_TYPES = [
    (pa.list_(PAIR), _listed(lambda chance: {"value": chance.choice([None, *TEXTS]), "weight": chance.choice([None, _float(chance), 1.0])})),
    (pa.map_(pa.string(), pa.float64()), lambda chance: [(text, chance.choice([None, _float(chance)])) for text in chance.sample(TEXTS, chance.randrange(4))]),
    (pa.list_(pa.string()), _listed(_text)), (pa.string(), _text),
]  # fmt: skip
FIELDS = FieldConfig("c"), FieldConfig("p", "multi"), FieldConfig("m", "multi", weight_separator=":"), FieldConfig("b", "bucket"), FieldConfig("x", "dense")


class ParquetFiles:
    """`attempt` writes a table, may damage the file, and reads it."""

    config = DataConfig(format="parquet", fields=FIELDS)

    def warm_up(self, path):
        for case in range(40):
            self.attempt(random.Random(case), path)

    def attempt(self, chance, path):
        """A complaint, or None."""
        table = self.table(chance)
        pq.write_table(
            table, path, row_group_size=chance.choice([1, 3, 100]), use_dictionary=chance.random() < 0.6, compression=chance.choice(["none", "zstd", "snappy", "gzip"]),
            data_page_version=chance.choice(["1.0", "2.0"]), write_page_checksum=chance.random() < 0.5, data_page_size=chance.choice([1, 100, None]),
        )  # fmt: skip
        harmed = chance.random() < 0.6
        if harmed:
            self.damage(chance, path)
        parquet._BLOCK_ROWS = chance.choice([1, 4, 16_384])
        skipped, refused = self.read(path, "skip"), self.read(path, "error")
        for one in (skipped, refused):
            if isinstance(one, str) and not one.startswith(f"{path}"):
                return f"an error without a file: {one}"
        try:
            table = pq.read_table(path, columns=[*"cpmbx", "label"], page_checksum_verification=True, use_threads=False)
        except (pa.ArrowException, OSError, ValueError, KeyError):  # damaged, or as pyarrow's own writer should not have made it
            return None if isinstance(skipped, str) else "no error where pyarrow's reader of whole tables has one"
        try:
            rows = [self.converted(row) for row in table.to_pylist()]
        except UnicodeDecodeError:  # bytes are values, too
            return None
        if harmed and isinstance(refused, str):
            return None  # of a type that a field does not take, or a damage that others do not see
        bad = [i for i, row in enumerate(rows) if row is None]
        good = [(i, *row) for i, row in enumerate(rows) if row is not None]
        if isinstance(skipped, str) or skipped[1] != len(bad):
            return f"{len(bad)} bad rows: {skipped if isinstance(skipped, str) else skipped[1]}"
        if bad and (not isinstance(refused, str) or not refused.startswith(f"{path}, row {bad[0]} (from 0), field ")):
            return f"row {bad[0]} is bad: {str(refused)[:300]}"
        if skipped[0] != good:
            pairs = itertools.zip_longest(skipped[0], good)
            return f"{len(skipped[0])} rows of {len(good)}: {next(pair for pair in pairs if pair[0] != pair[1])}; {table.schema}"
        return None

    def table(self, chance):
        n = chance.choice([0, 1, 2, 5, 20])

        def column(types):
            kind, make = chance.choice(types)
            missing = chance.choice([0, 0, 0.3])
            cells = [None if chance.random() < missing else make(chance) for _ in range(n)]
            return pa.array(cells, kind)

        labels = chance.choice([[0, 1], [0, 1], [0, 1], [0, 1, 2, None]])
        return pa.table(
            {
                "c": column(TEXT_TYPES), "p": column(LIST_TYPES), "m": column(WEIGHTED_TYPES), "b": column(NUMBER_TYPES), "x": column(NUMBER_TYPES),
                "label": pa.array([chance.choice(labels) for _ in range(n)], chance.choice([pa.int8(), pa.float64(), pa.int64()])),
            }
        )  # fmt: skip

    def damage(self, chance, path):
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 1, 2, 4])):
            at = chance.choice([chance.randrange(len(data)), max(0, len(data) - chance.randrange(1, 200))])
            data[at : at + chance.choice([0, 1, 1, 1, 4])] = chance.choice([chance.randbytes(1), chance.randbytes(1), chance.randbytes(4), b"", b"\xff\xff\xff\x7f"])
        path.write_bytes(data[: chance.choice([len(data)] * 6 + [chance.randrange(len(data) + 1)])])

    def read(self, path, policy):
        """(rows, number of bad rows), or the text of a DataError."""
        bad_rows = BadRows(policy)
        try:
            rows = [row for block in open_format(self.config).blocks([str(path)], bad_rows) for row in self.rows(block)]
        except DataError as error:
            return str(error)
        return rows, bad_rows.count

    def rows(self, block):
        c, p, m, b = block.key_fields
        numbers = [[None if math.isnan(x) else x for x in one.tolist()] for one in (b.numbers, *block.dense_fields)]
        lists = []
        for one in (p, m):
            weights = np.ones(len(one.keys), np.float32) if one.weights is None else one.weights
            pairs = list(zip(one.keys.tolist(), weights.tolist(), strict=True))
            lists.append([pairs[one.offsets[i] : one.offsets[i + 1]] for i in range(len(block))])
        return list(zip(block.rows.tolist(), block.labels.tolist(), c.keys.tolist(), *lists, *numbers, strict=True))

    def converted(self, row):
        """(label, c, p, m, b, x) of a row, None where it is bad."""
        b, x = (None if row[name] is None else float(row[name]) for name in ("b", "x"))
        plain, weighted = self.plain(row["p"]), self.weighted(row["m"])
        if row["label"] not in (0, 1) or weighted is None or any(one is not None and not math.isfinite(one) for one in (b, x)):
            return None
        return float(row["label"]), key(0, "c", as_text(row["c"])), [(key(1, "p", text), 1.0) for text in plain], weighted, b, x

    def plain(self, cell):
        values = cell.split("|") if isinstance(cell, str) else cell or []
        return [text for text in map(as_text, values) if text]

    def weighted(self, cell):
        """[(key, weight)], None where one is bad."""
        found = []
        for one in cell.split("|") if isinstance(cell, str) else cell or []:
            if one in (None, ""):
                continue
            if isinstance(one, str):
                value, colon, text = one.rpartition(":")
                value, weight = (value, text) if colon else (one, "1")
                try:
                    weight = float(weight)
                except ValueError:
                    return None
            else:
                value, weight = one if isinstance(one, tuple) else (one["value"], one["weight"])
            with np.errstate(over="ignore"):
                weight = float(np.float32(1.0 if weight is None else weight))
            if not value or not math.isfinite(weight):
                return None
            found.append((key(2, "m", value), weight))
        return found


def as_text(value):
    """The bytes whose hash is the key of a value."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return value if isinstance(value, bytes) else str(value).encode()
