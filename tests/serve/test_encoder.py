"""Raw values in Python, against what the compiled readers make of the same rows as a CSV file: equal to the bit."""

import math
from decimal import Decimal

import numpy as np
import pytest
from every_kind import FIELDS, NAMES, make_rows, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.config import FieldConfig
from deshpc.config.load import build
from deshpc.data.dataset import concatenate
from deshpc.data.fitting import Fitting
from deshpc.data.samples import samples_of, unfinished
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema
from deshpc.serve.cells import BadCell, number_of, text_of, values_of
from deshpc.serve.encoder import Encoder
from deshpc.serve.rows import Rows


def read(path):
    """(Schema, Transforms, Dataset) of a CSV file by the readers."""
    config = build({"data": {"train": [str(path)], "fields": FIELDS}}).data
    reader = open_format(config, label=False)
    blocks = list(reader.blocks([path], BadRows("error")))
    fitting = Fitting(reader.schema)
    for block in blocks:
        fitting.add(block, unfinished(block, reader.schema).dense)
    transforms = fitting.finish()
    return reader.schema, transforms, concatenate([samples_of(block, reader.schema, transforms) for block in blocks])


def encoded(schema, transforms, rows):
    encoder = Encoder(schema, transforms)
    view = Rows(rows, encoder.fields)
    return encoder.encode(len(view), view.cells(0, len(view)))


def assert_equal(samples, dataset):
    assert np.array_equal(samples.offsets, dataset.offsets)
    assert np.array_equal(samples.keys, dataset.keys) and np.array_equal(samples.fields, dataset.fields)
    assert np.array_equal(np.stack([samples.x, samples.xl], axis=1), dataset.values)
    assert np.array_equal(samples.dense, dataset.dense)


def in_python(row):
    """A row of text as a Python program has it."""
    def pairs(text, separator):
        return [(v.rsplit(":", 1)[0], float(v.rsplit(":", 1)[1])) if ":" in v else v for v in text.split(separator) if v]

    numbers = {name: float(row[name]) if row[name] else None for name in ("age", "price", "income", "level")}
    recent = pairs(row["recent"], "|")
    distinct = dict(recent) if len({v for v, _ in recent}) == len(recent) else recent
    return {
        **numbers, "site": row["site"].encode(), "hour": int(row["hour"]), "tags": row["tags"].split("|"),
        "history": pairs(row["history"], " "), "recent": distinct, "visits": [int(one) for one in row["visits"].split()],
    }  # fmt: skip


def test_missing_cells_are_those_of_the_readers(tmp_path):
    missing, rows = ("s3", "t1|t2", "0", "-1.5", "13", "h1:0.5"), make_rows(0, 300)
    write_csv(tmp_path / "rows.csv", rows)
    config = build({"data": {"train": [str(tmp_path / "rows.csv")], "fields": FIELDS, "missing": list(missing)}}).data
    reader = open_format(config, label=False)
    (block,) = reader.blocks([tmp_path / "rows.csv"], BadRows("error"))
    fitting = Fitting(reader.schema)
    fitting.add(block, unfinished(block, reader.schema).dense)
    transforms = fitting.finish()
    expected = samples_of(block, reader.schema, transforms)
    encoder = Encoder(reader.schema, transforms, missing)
    texts = [{name: row[name] for name in NAMES} for row in rows]
    numbers = [{name: float(row[name]) if row[name] else None for name in ("level", "income")} for row in texts]
    values = [{**row, **some, "hour": int(row["hour"])} for row, some in zip(texts, numbers, strict=True)]
    for some in (texts, values):
        view = Rows(some, encoder.fields)
        assert_equal(encoder.encode(len(view), view.cells(0, len(view))), expected)
    assert not np.array_equal(Encoder(reader.schema, transforms).encode(len(view), view.cells(0, len(view))).keys, expected.keys)


def test_equals_the_readers(tmp_path):
    rows = make_rows(0, 300)
    write_csv(tmp_path / "rows.csv", rows)
    schema, transforms, dataset = read(tmp_path / "rows.csv")
    without_label = [{name: row[name] for name in NAMES} for row in rows]
    assert schema.value_width == 2 and len(dataset) == 300
    assert_equal(encoded(schema, transforms, without_label), dataset)
    assert_equal(encoded(schema, transforms, [in_python(row) for row in rows]), dataset)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_text_equals_the_readers(tmp_path_factory, data):
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
    number = st.one_of(st.just(""), st.floats(-1e300, 1e300).map(repr), st.integers(-(10**18), 10**18).map(str))
    plain = st.text(st.sampled_from("ab|é "), max_size=8)
    weighted = st.lists(
        st.tuples(st.text(st.sampled_from("aé:"), min_size=1, max_size=3), st.floats(-9, 9, width=32)), max_size=3
    )
    row = st.fixed_dictionaries(
        {
            "site": text, "hour": text, "tags": plain, "age": number, "price": number, "income": number, "level": number,
            "history": weighted.map(lambda pairs: " ".join(f"{value}:{weight!r}" for value, weight in pairs)),
            "recent": weighted.map(lambda pairs: "||".join(f"{value}:{weight!r}" for value, weight in pairs)), "visits": plain,
        }
    )  # fmt: skip
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    path = tmp_path_factory.mktemp("text") / "rows.csv"
    write_csv(path, rows)
    schema, transforms, dataset = read(path)
    assert_equal(encoded(schema, transforms, rows), dataset)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("ñ", "ñ".encode()), (b"\xff", b"\xff"), (-7, b"-7"), (2**70, b"1180591620717411303424"), (True, b"true"),
        (False, b"false"), (None, b""), (math.nan, b""), (np.int8(3), b"3"), (np.uint64(2**64 - 1), b"18446744073709551615"),
        (np.bool_(True), b"true"), (np.str_("x"), b"x"), (np.bytes_(b"y"), b"y"),
    ],
)  # fmt: skip
def test_texts(cell, text):
    assert text_of(cell) == text


@pytest.mark.parametrize(
    ("cell", "number"),
    [(3, 3.0), ("  -1.5e2 ", -150.0), (b".5", 0.5), (Decimal("2.5"), 2.5), (np.float32(0.5), 0.5), (True, 1.0), ("+7.", 7.0)],
)
def test_numbers(cell, number):
    assert number_of(cell) == number


@pytest.mark.parametrize("cell", [None, "", "   ", math.nan, np.float32("nan"), b""])
def test_missing_numbers(cell):
    assert math.isnan(number_of(cell))


@pytest.mark.parametrize(
    ("convert", "cell"),
    [(text_of, cell) for cell in (1.5, [1], "\ud800", {}, object())]
    + [(number_of, cell) for cell in ("nan", "inf", "1_0", "0x1", "1,5", "1 2", "e5", ".", 10**400, math.inf, "1e999", [], 1j, b"\xff", np.complex64(1), Decimal("sNaN"))]
    + [(lambda cell: values_of(cell, "|", ":"), cell) for cell in (1.5, [1.5], {"a": "x"}, "a:", ":2", [("a", 1, 2)], {"a": 1e39}, {"": 1}, "a:nan")]
    + [(lambda cell: values_of(cell, "|", ""), cell) for cell in ({"a": 0.5}, [("a", 2)])],
)  # fmt: skip
def test_bad_cells(convert, cell):
    with pytest.raises(BadCell):
        convert(cell)


@pytest.mark.parametrize(
    ("cell", "texts", "weights"),
    [
        ("a:0.5|b||a:b:2", [b"a", b"b", b"a:b"], [0.5, 1, 2]), ({"a": 0.5, 3: -1}, [b"a", b"3"], [0.5, -1]),
        ([("a", 0.5), ["b", None], "c", 4, "d:2", None, ""], [b"a", b"b", b"c", b"4", b"d"], [0.5, 1, 1, 1, 2]),
        (None, [], []), ("", [], []), ([], [], []), (5, [b"5"], [1]), (np.array([7, 8]), [b"7", b"8"], [1, 1]),
    ],
)  # fmt: skip
def test_values(cell, texts, weights):
    assert values_of(cell, "|", ":") == (texts, weights)


def test_a_bad_cell_names_row_and_field(tmp_path):
    rows = make_rows(0, 5)
    write_csv(tmp_path / "rows.csv", rows)
    schema, transforms, _ = read(tmp_path / "rows.csv")
    rows = [{name: row[name] for name in NAMES} for row in rows]
    rows[3]["age"] = "fourty"
    with pytest.raises(DataError, match="row 3, field 'age': 'fourty' is not a finite number"):
        encoded(schema, transforms, rows)
    rows[3]["age"], rows[4]["site"] = "40", 10**5000  # of more digits than Python writes
    with pytest.raises(DataError, match="row 4, field 'site': this int is not an integer of at most some thousand digits"):
        encoded(schema, transforms, rows)


def test_dense_features_without_transforms_are_those_of_float32():
    schema = Schema.of_fields([FieldConfig("a", "dense"), FieldConfig("b", "dense")], None)
    rows = [{"a": 0.1, "b": None}, {"a": "-1e-50", "b": 16777217}]
    expected = np.array([[0.1, 0], [-1e-50, 16777217]]).astype(np.float32)
    assert np.array_equal(encoded(schema, None, rows).dense, expected.astype(np.float64))
    rows[1]["b"] = "1e39"
    with pytest.raises(DataError, match="row 1, field 'b': '1e39' is too large for float32"):
        encoded(schema, None, rows)
