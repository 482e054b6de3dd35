"""Keys, values and dense features of raw rows in Python, and of the same rows in a file of each format: the same bits."""

import itertools
import random
from decimal import Decimal

import numpy as np
import pytest
from every_kind import write_csv

from deshpc.config.load import build
from deshpc.data.dataset import concatenate
from deshpc.data.fitting import Fitting
from deshpc.data.samples import samples_of, unfinished
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.serve.encoder import Encoder
from deshpc.serve.rows import Rows

BOUNDARIES = [-1e300, -1.5, -0.0, 0.1, 0.3, 2.0**53, 1e23]
POOLINGS = ["sum", "mean"]
MULTI = [
    {"name": f"{kind}-{pooling}-{linear}", "kind": "multi", "pooling": pooling, "linear_pooling": linear, **options}
    for kind, options in (("plain", {}), ("weighted", {"weight_separator": ":"}), ("spaced", {"separator": " ", "weight_separator": "="}))
    for pooling, linear in itertools.product(POOLINGS, ["", *POOLINGS])
]
SEQUENCES = [
    {"name": "last", "kind": "sequence", "share": "text", "length": 2, "recency": 0.7},
    {"name": "first", "kind": "sequence", "separator": " ", "share": "plain-sum-", "length": 3, "recency": 0.3, "newest": "first", "pooling": "mean"},
]
FIELDS = [
    {"name": "text"}, {"name": "größe"}, {"name": "number"}, *MULTI, *SEQUENCES,
    {"name": "x", "kind": "dense"}, {"name": "y", "kind": "dense"}, {"name": "constant", "kind": "dense"},
    {"name": "fitted", "kind": "bucket", "buckets": 7}, {"name": "given", "kind": "bucket", "boundaries": BOUNDARIES},
]  # fmt: skip
KINDS = {field["name"]: field.get("kind", "categorical") for field in FIELDS}
SEPARATORS = {field["name"]: (field.get("separator", "|"), field.get("weight_separator", "")) for field in FIELDS}
TEXTS = ["", "a", "ä", "a\u0308", "\ufeff", " a ", "NaN", "None", "007", "1.0", "true", "\x00", "日本" * 30, "two\nlines", 'q"q', "𝄞"]
NUMBERS = [
    "", "0", "-0", "-0.0", "1e-320", "0.1", "0.1000000000000000055511151231257827", "0.09999999999999999167332731531132594682276248931884765625",
    "0.30000000000000004", "9007199254740992", "9007199254740993", "9007199254740993.0000000000000000001", "1e23", "99999999999999991611392",
    "99999999999999991611391.9999", "16777217", "3", " 7.5 ", "+.5e1", "-1e300", "-1e300000", "1e-400", "123456789012345678901234567890", "-12",
]  # fmt: skip
WEIGHTS = ["0.1", "-0.0", "3", "1e-46", "1e-40", "3.4028235e38", "16777217", "0.333333333333333333333", "1.0000000596046447753906250000001", "-7.25"]


def rows_of(seed, count):
    """Dictionaries of texts, of every kind of field; numbers that no file may hold are left out."""
    chance = random.Random(seed)

    def number():
        text = chance.choice([*NUMBERS, repr(chance.gauss(0, 10.0 ** chance.randrange(-3, 20))), str(chance.randrange(-(10**19), 10**19))])
        return text if "e300000" not in text else "5"

    def cell(name):
        if KINDS[name] in ("dense", "bucket"):
            return "2.5" if name == "constant" else number()
        if KINDS[name] == "categorical":
            return chance.choice(TEXTS) if name != "number" else str(chance.choice([0, -1, 10**18, 2**63 - 1, chance.randrange(99)]))
        separator, of_weight = SEPARATORS[name]
        values = []
        for _ in range(chance.randrange(8)):
            value = chance.choice(["a", "b:c", "é", "=", ":", "x" * 40, chance.choice(TEXTS)]).replace(separator, "")
            weighted = of_weight and chance.random() < 0.7
            value = value.replace(of_weight, "_") if of_weight and not weighted else value
            weight = chance.choice([*WEIGHTS, repr(chance.gauss(0, 1))])
            values.append((value or "v") + of_weight + weight if weighted else value)
        return separator.join(values)

    return [{field["name"]: cell(field["name"]) for field in FIELDS} for _ in range(count)]


def in_python(name, cell):
    """A cell as a Python program has it: numbers, pairs of value and weight."""
    if KINDS[name] in ("dense", "bucket"):
        return float(cell) if cell.strip() else None
    if KINDS[name] == "categorical":
        return int(cell) if name == "number" else cell
    separator, of_weight = SEPARATORS[name]
    parts = [part.rpartition(of_weight) if of_weight and of_weight in part else (part, "", "1") for part in cell.split(separator) if part]
    return [(value, float(weight)) for value, _, weight in parts]


def trained(data, path):
    """(Schema, Transforms, Dataset) of a file as training has it."""
    reader = open_format(build({"data": {"train": [str(path)], **data}}).data, label=False)
    blocks, fitting = list(reader.blocks([path], BadRows("error"))), Fitting(reader.schema)
    for block in blocks:
        fitting.add(block, unfinished(block, reader.schema).dense)
    transforms = fitting.finish()
    return reader.schema, transforms, concatenate([samples_of(block, reader.schema, transforms) for block in blocks])


def assert_same_bits(data, path, rows):
    """What the encoder makes of `rows` is what training makes of the file, in which samples may have their fields in any order."""
    schema, transforms, dataset = trained(data, path)
    encoder = Encoder(schema, transforms)
    view = Rows(rows, encoder.fields)
    found = encoder.encode(len(view), view.cells(0, len(view)))
    order = np.lexsort([dataset.fields, np.repeat(np.arange(len(dataset)), np.diff(dataset.offsets))])  # stable
    values = np.ones((len(dataset.keys), 2), np.float32)
    values[...] = 1 if dataset.values is None else dataset.values.reshape(len(dataset.keys), -1)
    assert len(view) == len(dataset) > 0
    np.testing.assert_array_equal(found.offsets, dataset.offsets)
    np.testing.assert_array_equal(found.keys, dataset.keys[order])
    np.testing.assert_array_equal(found.fields, dataset.fields[order])
    for column, numbers in enumerate((found.x, found.xl)):
        assert_equal_bits(numbers, values[order, column], found.fields)
    assert_equal_bits(found.dense, dataset.dense, None)
    return dataset


def assert_equal_bits(numbers, expected, fields):
    """float64 `numbers` that float32 holds, and these float32."""
    assert numbers.dtype == np.float64 and expected.dtype == np.float32
    np.testing.assert_array_equal(numbers.astype(np.float32), numbers)
    different = np.flatnonzero((numbers.astype(np.float32).view(np.uint32) != expected.view(np.uint32)).ravel())
    assert len(different) == 0, (numbers.ravel()[different[:5]], expected.ravel()[different[:5]], fields is not None and fields[different[:5]])


def test_csv(tmp_path):
    rows = rows_of(1, 400)
    write_csv(tmp_path / "rows.csv", rows)
    data = {"fields": FIELDS}
    dataset = assert_same_bits(data, tmp_path / "rows.csv", rows)
    assert_same_bits(data, tmp_path / "rows.csv", [{name: in_python(name, cell) for name, cell in row.items()} for row in rows])
    assert dataset.values.shape[1] == 2 and len(np.unique(dataset.values)) > 300
    assert dataset.dense.std(axis=0).tolist()[:2] != [0, 0]


def test_one_pooling(tmp_path):
    """A schema whose values are one number a key."""
    fields = [field for field in FIELDS if field.get("linear_pooling", "") == ""]
    rows = [{field["name"]: row[field["name"]] for field in fields} for row in rows_of(2, 200)]
    write_csv(tmp_path / "rows.csv", rows)
    assert assert_same_bits({"fields": fields}, tmp_path / "rows.csv", rows).values.ndim == 1


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [{name: in_python(name, cell) for name, cell in row.items()} for row in rows_of(3, 300)]
    pair, decimals = pa.struct([("value", pa.string()), ("weight", pa.float64())]), pa.decimal128(38, 3)
    for i, row in enumerate(rows):
        row["y"] = Decimal(i * 104_729 * 7_919 * 31).scaleb(-3)
    types = {"categorical": pa.string(), "dense": pa.float64(), "bucket": pa.float64()}
    columns = {}
    for name, kind in KINDS.items():
        cells = [row[name] for row in rows]
        if kind == "multi" and SEPARATORS[name][1]:
            columns[name] = pa.array([[{"value": value, "weight": weight} for value, weight in cell] for cell in cells], pa.list_(pair))
        elif kind in ("multi", "sequence"):
            columns[name] = pa.array([[value for value, _ in cell] for cell in cells], pa.list_(pa.string()))
        else:
            columns[name] = pa.array(cells, {"number": pa.int64(), "y": decimals}.get(name, types[kind]))
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    assert_same_bits({"format": "parquet", "fields": FIELDS}, tmp_path / "rows.parquet", rows)


@pytest.mark.parametrize("numeric", ["dense", "bucket"])
def test_criteo(tmp_path, numeric):
    chance = random.Random(4)
    numbers = ["", "-1", "0", *(number for number in NUMBERS if "e300000" not in number)]
    names = [f"I{i + 1}" for i in range(13)] + [f"C{i + 1}" for i in range(26)]
    texts = [text for text in TEXTS if "\n" not in text]

    def row():
        integers = [chance.choice([*numbers, str(chance.randrange(10**6))]) for _ in range(13)]
        return integers + [chance.choice([*texts, f"{chance.getrandbits(32):08x}"]) for _ in range(26)]

    rows = [row() for _ in range(200)]
    (tmp_path / "rows").write_bytes("".join("\t".join(one) + "\n" for one in rows).encode())
    assert_same_bits({"format": "criteo", "criteo_numeric": numeric}, tmp_path / "rows", [dict(zip(names, one, strict=True)) for one in rows])


@pytest.mark.parametrize("name", ["libsvm", "libffm"])
def test_libsvm_and_libffm(tmp_path, name):
    chance = random.Random(5)

    def entry():
        return chance.randrange(3), chance.choice([0, 7, chance.randrange(10**12), 10**25]), chance.choice([*WEIGHTS, repr(chance.gauss(0, 1))])

    rows = [[entry() for _ in range(chance.randrange(9))] for _ in range(300)]
    prefix = {"libsvm": "", "libffm": "{}:"}[name]
    lines = [" ".join([prefix.format(field) + f"00{index}:{weight}" for field, index, weight in row]) for row in rows]
    (tmp_path / "rows").write_text("".join(f"0 {line}\n" for line in lines))
    fields = ["feature"] if name == "libsvm" else ["0", "1", "2"]
    cells = [
        {field: [(index, float(weight)) for f, index, weight in row if name == "libsvm" or str(f) == field] for field in fields} for row in rows
    ]
    assert_same_bits({"format": name, "libffm_fields": 3 * (name == "libffm")}, tmp_path / "rows", cells)
