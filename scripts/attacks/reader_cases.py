"""What `fuzz_readers` gives to the readers of text, and what they have to make of it."""

import gzip
import math
import zlib

import numpy as np
import plain_rows
import zstandard
from cell_cases import Cells
from parquet_cases import ParquetFiles

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.columns import Entries
from deshpc.formats.open import open_format
from deshpc.formats.parts import parts_of
from deshpc.formats.schema import Schema
from deshpc.formats.source import Part
from deshpc.hashing.key import key

FIELDS = (
    FieldConfig("c"), FieldConfig("x", "dense"), FieldConfig("m", "multi", weight_separator=":"), FieldConfig("p", "multi", separator=" "),
    FieldConfig("b", "bucket"),
)  # fmt: skip
SNIPPETS = [b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\t", b" ", b"#", b":", b"|", b"\x00", b"\xff", b"-", b".", b"e", b"1", b"0" * 30,
            b"9" * 400, b"1e999", b"nan", b"\xef\xbb\xbf", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"e-320"]  # fmt: skip


def number_text(chance):
    """A number as somebody may write it."""
    digits = "".join(chance.choice("0123456789") for _ in range(chance.choice([1, 1, 2, 7, 8, 9, 17, 18, 19, 20, 40])))
    point = chance.choice([None, None, 0, chance.randrange(len(digits) + 1)])
    text = digits if point is None else f"{digits[:point]}.{digits[point:]}"
    text = chance.choice(["", "", "", "-", "+"]) + text
    text += chance.choice(["", "", "", "", f"e{chance.randrange(-340, 310)}", f"E+{chance.randrange(9)}"])
    return chance.choice([text, text, repr(chance.gauss(0, 1)), repr(chance.random() * 10.0 ** chance.randrange(-320, 300)), ""])


def damaged(chance, data):
    """Some bytes changed, taken out, put in or moved."""
    data = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        at, length = chance.randrange(len(data) + 1), chance.choice([0, 1, 1, 2, 10, 100])
        piece = chance.choice([chance.choice(SNIPPETS), chance.randbytes(chance.randrange(4)), bytes(data[: chance.randrange(40)])])
        data[at : at + length] = piece
    return bytes(data)


def unpacked(data):
    """The text of a file, None where its compression is damaged."""
    if data.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return None
    if not data.startswith(b"\x28\xb5\x2f\xfd"):
        return data
    text = b""
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            text += frame.decompress(data)
        except zstandard.ZstdError:
            return None
        if not frame.eof:
            return None
        data = frame.unused_data
    return text


class TextFiles:
    """Files of a text format.  Its classes have `config`, text(chance), and expected(data): (rows, bad lines), None for an error."""

    def __init__(self):
        self.schema = Schema.from_config(self.config)

    def warm_up(self, path):
        import random

        for case in range(30):
            self.attempt(random.Random(case), path)

    def attempt(self, chance, path):
        """A complaint, or None."""
        text = damaged(chance, self.text(chance))
        pack = chance.choice([None, None, gzip.compress, zstandard.compress])
        if pack:
            cut = chance.randrange(len(text) + 1) if chance.random() < 0.2 else len(text)
            text = pack(text[:cut]) + (pack(text[cut:]) if cut < len(text) else b"")
            text = text if chance.random() < 0.5 else damaged(chance, text)
        path.write_bytes(text)
        plain = unpacked(text)
        expected = None if plain is None else self.expected(plain)
        chunk = chance.choice([1, 7, 50, 300, 1 << 20])
        workers = chance.choice([1, 1, 2, 3])
        skipped, refused = self.read(path, "skip", chunk, workers), self.read(path, "error", chunk, workers)
        for one in (skipped, refused):
            if isinstance(one, str) and not one.startswith(f"{path}"):
                return f"an error without a file: {one}"
        if expected is None:
            return None if isinstance(skipped, str) and isinstance(refused, str) else f"no error: {str(skipped)[:300]}"
        rows, bad = expected
        if bad and (not isinstance(refused, str) or not refused.startswith((f"{path}, line {bad[0]}:", f"{path}, line {bad[0]},"))):
            return f"line {bad[0]} is bad; chunks of {chunk}: {str(refused)[:300]}"
        if isinstance(skipped, str) or skipped[1] != len(bad):
            return f"{len(bad)} bad lines; chunks of {chunk}: {skipped if isinstance(skipped, str) else skipped[1]}"
        if not bad and refused != skipped:
            return f"policies differ: {str(refused)[:200]}"
        found = skipped[0]
        if workers > 1:  # whose rows are numbered from 0 in each part
            found, rows = [row[1:] for row in found], [row[1:] for row in rows]
        if found != rows:
            at = next((i for i, pair in enumerate(zip(found, rows, strict=False)) if pair[0] != pair[1]), min(len(found), len(rows)))
            return f"row {at} of {len(rows)}, {len(found)}, chunks of {chunk}: {found[at : at + 1]} is not {rows[at : at + 1]}"
        return None

    def read(self, path, policy, chunk, workers):
        """(rows, number of bad rows), or the text of a DataError."""
        bad_rows = BadRows(policy)
        try:
            reader = open_format(self.config)
            reader._chunk_bytes = chunk
            shares = [parts_of([str(path)], worker, workers, True) for worker in range(workers)]
            if not all(reader.divides(part) for share in shares for part in share if isinstance(part, Part)):
                shares = [[str(path)]]
            rows = [row for share in shares for block in reader.blocks(share, bad_rows) for row in self.rows(block)]
        except DataError as error:
            return str(error)
        return rows, bad_rows.count

    def rows(self, block):
        """[(number, label, one thing for each field)] of Columns, in which NaN is None."""
        columns = [self.column(one, len(block)) for one in block.key_fields]
        columns += [[None if math.isnan(x) else x for x in one.tolist()] for one in block.dense_fields]
        return list(zip(block.rows.tolist(), block.labels.tolist(), *columns, strict=True))

    def column(self, one, n):
        if hasattr(one, "offsets"):
            weights = np.ones(len(one.keys), np.float32) if one.weights is None else one.weights
            pairs = list(zip(one.keys.tolist(), weights.tolist(), strict=True))
            return [pairs[one.offsets[i] : one.offsets[i + 1]] for i in range(n)]
        if hasattr(one, "numbers"):
            return [None if math.isnan(x) else x for x in one.numbers.tolist()]
        return one.keys.tolist()


class Csv(TextFiles):
    config = DataConfig(format="csv", fields=FIELDS)
    separator, quoting = ",", True

    def text(self, chance):
        def cell(kind):
            values = ["a", "bc", "", "é", "d:e", "x" * 40]
            if kind == "label":
                return chance.choice(["0", "1", "1", "0.0", "1e0"])
            if kind in ("x", "b"):
                return number_text(chance)
            if kind == "m":
                return "|".join(f"{chance.choice(values) or 'v'}:{number_text(chance) or 1}" for _ in range(chance.randrange(4)))
            if kind == "p":
                return " ".join(chance.choice(values) for _ in range(chance.randrange(4)))
            return chance.choice([*values, 'q"u', "two\nlines", "1,2", "\r", "t\tt"])

        def written(text):
            if not self.quoting:
                return text.replace("\t", " ").replace("\n", " ")
            quoted = any(one in text for one in ',"\n\r') or chance.random() < 0.1
            return '"' + text.replace('"', '""') + '"' if quoted else text

        names = ["label", "c", "x", "m", "p", "b", "more"]
        chance.shuffle(names)
        end = chance.choice(["\n", "\n", "\r\n"])
        lines = [self.separator.join(names), *(self.separator.join(written(cell(name)) for name in names) for _ in range(chance.randrange(12)))]
        return (chance.choice(["", "", "\ufeff"]) + end.join(lines) + chance.choice(["", end, end * 3])).encode()

    def expected(self, data):
        names, rows, bad = plain_rows.separated_rows(data, self.separator, self.quoting)
        wanted = ["label", *(field.name for field in FIELDS)]
        if names is None or any(names.count(name) != 1 for name in wanted):
            return None
        good, bad = [], set(bad)
        for number, line, cells in rows:
            made = self.converted(dict(zip(names, cells, strict=True)))
            if made is None:
                bad.add(line)
            else:
                good.append((number, *made))
        return good, sorted(bad)

    def converted(self, cells):
        label, x, b = (plain_rows.number(cells[name]) for name in ("label", "x", "b"))
        weighted, plain = plain_rows.values(cells["m"], b"|", b":"), plain_rows.values(cells["p"], b" ", b"")
        if label not in (0, 1) or None in (x, b, weighted):
            return None
        x, b = (None if math.isnan(one) else one for one in (x, b))
        pairs = [[(key(number, name, value), float(weight)) for value, weight in some] for number, name, some in ((1, "m", weighted), (2, "p", plain))]
        return label, key(0, "c", cells["c"]), *pairs, b, x


class Tsv(Csv):
    config = DataConfig(format="tsv", fields=FIELDS)
    separator, quoting = "\t", False


class Criteo(TextFiles):
    config = DataConfig(format="criteo")

    def text(self, chance):
        def row():
            numbers = [chance.choice(["", "0", "-1", str(chance.randrange(10 ** chance.randrange(1, 15))), number_text(chance)]) for _ in range(13)]
            values = [chance.choice(["", *[f"{chance.getrandbits(32):08x}"] * 4, "x" * chance.randrange(40), "é"]) for _ in range(26)]
            return "\t".join([chance.choice("01"), *numbers, *values])

        return chance.choice(["\n", "\r\n"]).join([*(row() for _ in range(chance.randrange(1, 8))), ""]).encode()

    def expected(self, data):
        if not data.removeprefix(plain_rows.BOM).strip(b"\r\n") and "\r\r" not in data.decode("latin1"):
            return None
        good, bad = plain_rows.criteo_rows(data)
        names = [f"C{i + 1}" for i in range(26)]
        rows = [
            (row, label, *map(key, range(26), names, cells), *(None if math.isnan(x) else x for x in numbers)) for row, label, numbers, cells in good
        ]
        return rows, bad


class Libsvm(TextFiles):
    config = DataConfig(format="libsvm")
    fields = None

    def text(self, chance):
        def entry():
            field = "" if self.fields is None else f"{chance.choice([chance.randrange(5), '00', '4'])}:"
            index = chance.choice(["0", "007", str(chance.randrange(10 ** chance.randrange(1, 12))), "1" * 30])
            return f"{field}{index}:{number_text(chance) or 1}"

        def line():
            if chance.random() < 0.1:
                return chance.choice(["# comment", " #", "#1 2:3"])
            entries = [entry() for _ in range(chance.randrange(8))]
            return chance.choice([" ", "  ", "\t"]).join([chance.choice(["0", "1", "-1", "+1", "1.0"]), *entries]) + chance.choice(["", "", " ", " # x:y"])

        return chance.choice(["\n", "\n", "\r\n"]).join([*(line() for _ in range(chance.randrange(1, 12))), ""]).encode()

    def expected(self, data):
        if not data.removeprefix(plain_rows.BOM).strip(b" \t\r\n"):
            return None
        good, bad = plain_rows.sparse_rows(data, self.fields)
        first = int(self.fields is None)  # whose entries have no field
        return [(row, label, [(*one[first:-1], float(one[-1])) for one in entries]) for row, label, entries in good], bad


class Libffm(Libsvm):
    config = DataConfig(format="libffm", libffm_fields=5)
    fields = 5

    def rows(self, block):
        one = block.key_fields
        assert isinstance(one, Entries)
        entries = list(zip(one.fields.tolist(), one.keys.tolist(), one.weights.tolist(), strict=True))
        return [
            (row, label, entries[one.offsets[i] : one.offsets[i + 1]])
            for i, (row, label) in enumerate(zip(block.rows.tolist(), block.labels.tolist(), strict=True))
        ]


READERS = {"csv": Csv, "tsv": Tsv, "criteo": Criteo, "libsvm": Libsvm, "libffm": Libffm, "parquet": ParquetFiles, "cells": Cells}
