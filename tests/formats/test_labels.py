"""Labels and missing cells, in text and Parquet: against what Python's strings say."""

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from joined import joined

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows, merged
from deshpc.formats.open import open_format
from deshpc.hashing.key import key

FIELDS = (FieldConfig("c"), FieldConfig("d", "dense"), FieldConfig("m", "multi"), FieldConfig("b", "bucket"))


def read(path, policy="error", fields=FIELDS[:1], **options):
    reader, bad_rows = open_format(DataConfig(fields=fields, **options)), BadRows(policy)
    return joined(reader.schema, reader.blocks([path], bad_rows)), bad_rows


def written(path, labels):
    """A CSV file of labels, and a column `c`."""
    text = io.StringIO()
    csv.writer(text).writerows([["label", "c"], *([label, "x"] for label in labels)])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def refused(path, **options):
    with pytest.raises(DataError) as raised:
        read(path, **options)
    return str(raised.value).removeprefix(str(path))


PAIRS = [
    ("0", "1"), ("-1", "1"), ("-1.0", "+1"), ("false", "true"), ("False", "True"), ("FALSE", "TRUE"), ("no", "yes"), ("No", "Yes"),
]  # fmt: skip


@pytest.mark.parametrize("negative, positive", PAIRS)
def test_pairs_that_are_understood(tmp_path, negative, positive):
    labels = [negative, positive, positive, negative]
    expected = [float(label == positive) for label in labels]
    assert read(written(tmp_path / "rows", labels))[0].labels.tolist() == expected
    assert read(written(tmp_path / "named", labels), positive=positive)[0].labels.tolist() == expected
    assert read(written(tmp_path / "turned", labels), positive=negative)[0].labels.tolist() == [1 - one for one in expected]


@pytest.mark.parametrize("rows", [1, 5000])
def test_any_two_texts_where_one_is_named(tmp_path, rows):
    labels = ["bought, paid", "köln"] * rows
    columns, _ = read(written(tmp_path / "rows", labels), positive="bought, paid")
    np.testing.assert_array_equal(columns.labels, [1, 0] * rows)


@pytest.mark.parametrize(
    "labels, options, expected",
    [
        (["1", "maybe"], {}, ", line 3, field 'label': 'maybe' is not 0 or 1, nor -1 or 1, true or false, yes or no; where labels are "
         "another pair of values, data.positive names the positive one"),
        (["1", "tRUE"], {}, ", line 3, field 'label': 'tRUE' is not 0 or 1, nor"),
        (["clicked", ""], {"positive": "clicked"}, ", line 3, field 'label': '' is not 'clicked', the positive, nor another label"),
        (["0", "1", "-1"], {}, ", line 4, field 'label': '-1' is a second label that is not positive, beside '0'; expected two labels in all"),
        (["no", "false"], {}, ", line 3, field 'label': 'false' is a second label that is not positive, beside 'no'; "),
        (["a", "b", "b", "c"], {"positive": "b"}, ", line 5, field 'label': 'c' is a second label that is not positive, beside 'a'; "),
        (["a"] * 4000 + ["c"], {"positive": "b"}, ", line 4002, field 'label': 'c' is a second label"),
    ],
)  # fmt: skip
def test_labels_that_are_none(tmp_path, labels, options, expected):
    path = written(tmp_path / "rows", labels)
    assert refused(path, **options).startswith(expected)
    if "second label" in expected:  # is no bad row, of which nobody hears
        assert refused(path, policy="skip", **options).startswith(expected)


def test_rows_that_are_skipped_do_not_move_the_line_that_is_named(tmp_path):
    path = written(tmp_path / "rows", ["a", "", "b", "", "c", "b"])
    assert refused(path, policy="skip", positive="b").startswith(", line 6, field 'label': 'c' is a second label that is not positive, beside 'a'")


def test_several_readers_of_a_part_agree_on_what_is_not_positive(tmp_path):
    told = [read(written(tmp_path / name, ["yes", label]), positive="yes")[1] for name, label in zip("abc", ["no", "yes", "nay"], strict=True)]
    assert merged(told[:2]).count == 0
    with pytest.raises(DataError, match="c, field 'label': 'nay' is a second label that is not positive, beside 'no'"):
        merged(told)


def test_an_unknown_label_is_a_bad_row_if_it_is_named(tmp_path):
    columns, bad_rows = read(written(tmp_path / "rows", ["1", "-1", "0", "NA"]), "skip", missing=("-1", "NA"))
    assert columns.labels.tolist() == [1, 0] and columns.rows.tolist() == [0, 2] and bad_rows.count == 2
    assert "line 3, field 'label': '-1' is not" in bad_rows.examples[0]


LABELS = [
    (pa.array([True, False, True]), {}),
    (pa.array([True, False, True]), {"positive": "True"}),
    (pa.array([1, -1, 1], pa.int8()), {}),
    (pa.array([1.0, -1.0, 1.0]), {}),
    (pa.array(["True", "False", "True"]), {}),
    (pa.array(["yes", "no", "yes"]).dictionary_encode(), {}),
    (pa.array(["click", "view", "click"]), {"positive": "click"}),
    (pa.array([b"click", b"view", b"click"]), {"positive": "click"}),
    (pa.array([7, 3, 7]), {"positive": "7"}),
    (pa.array([7.0, 3.0, 7.0]), {"positive": "7"}),
]


@pytest.mark.parametrize("array, options", LABELS, ids=lambda one: str(getattr(one, "type", one)))
def test_labels_of_parquet(tmp_path, array, options):
    pq.write_table(pa.table({"label": array, "c": ["x"] * 3}), tmp_path / "rows")
    assert read(tmp_path / "rows", format="parquet", **options)[0].labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "array, options, expected",
    [
        (pa.array([1, 0, -1]), {}, ", row 2 (from 0), field 'label': '-1' is a second label that is not positive, beside '0'; expected"),
        (pa.array(["a", "b", "c"]), {"positive": "a"}, ", row 2 (from 0), field 'label': 'c' is a second label that is not positive, beside 'b'"),
        (pa.array(["a", "b", "c"]), {}, ", row 0 (from 0), field 'label': 'a' is not 0 or 1, nor"),
        (pa.array(["a", None, "c"]), {"positive": "a"}, ", row 1 (from 0), field 'label': 'None' is not 'a', the positive, nor another label"),
    ],
)
def test_labels_of_parquet_that_are_none(tmp_path, array, options, expected):
    pq.write_table(pa.table({"label": array, "c": ["x"] * 3}), tmp_path / "rows")
    assert refused(tmp_path / "rows", format="parquet", **options).startswith(expected)


MISSING = ("NA", "\\N", "NaN", "-999")


def test_missing_cells_are_empty_ones(tmp_path):
    rows = [["NA", "NaN", "\\N", "-999"], ["NA ", "1", "NA|x", "2"], ["", "", "", ""], ["n", "\\N", "y", "NA"]] * 2
    text = io.StringIO()
    csv.writer(text).writerows([["label", *"cdmb"], *(["1", *row] for row in rows)])
    (tmp_path / "marked").write_text(text.getvalue())
    empty = [["" if cell in MISSING else cell for cell in row] for row in rows]
    columns, _ = read(tmp_path / "marked", fields=FIELDS, missing=MISSING)
    category, many, bucket = columns.key_fields
    assert category.keys.tolist() == [key(0, "c", row[0]) for row in empty]
    np.testing.assert_array_equal(columns.dense_fields[0], [float(row[1] or "nan") for row in empty])
    assert many.keys.tolist() == [key(1, "m", value) for row in empty for value in row[2].split("|") if value]
    np.testing.assert_array_equal(bucket.numbers, [float(row[3] or "nan") for row in empty])


@pytest.mark.parametrize("cell, wanted", [("NA", "['NA']"), ("\\N", "['\\N']"), ("nan", "['nan']"), ("?", "['?']")])
def test_a_cell_that_is_often_missing_has_a_hint(tmp_path, cell, wanted):
    (tmp_path / "rows").write_text(f"label,c,d,m,b\n1,{cell},{cell},{cell},3\n")
    hint = f"; if it stands for a missing value, set data.missing = {wanted}"
    assert refused(tmp_path / "rows", fields=FIELDS) == (
        f", line 2, field 'd': {cell!r} is not a finite number, or empty where it is missing{hint}"
    )


def test_missing_values_of_parquet(tmp_path):
    nan = float("nan")
    table = {
        "label": pa.array([1, 0, 1, 0]),
        "c": pa.array(["NA", "a", None, "NA"]).dictionary_encode(),
        "d": pa.array([nan, 2.5, None, -999.0]),
        "m": pa.array(["\\N", "x|y", None, "NA"]),
        "b": pa.array([-999, 7, None, 8]),
    }
    pq.write_table(pa.table(table), tmp_path / "rows")
    columns, bad_rows = read(tmp_path / "rows", fields=FIELDS, format="parquet", missing=MISSING)
    assert columns.key_fields[0].keys.tolist() == [key(0, "c", cell) for cell in ["", "a", "", ""]]
    np.testing.assert_array_equal(columns.dense_fields[0], [nan, 2.5, nan, nan])
    assert columns.key_fields[1].keys.tolist() == [key(1, "m", "x"), key(1, "m", "y")]
    np.testing.assert_array_equal(columns.key_fields[2].numbers, [nan, 7, nan, 8])
    assert bad_rows.notes == {}


def test_whole_floats_are_keys(tmp_path):
    array = pa.array([13.0, float("nan"), None, -0.0, 2.0**53, -7.0])
    pq.write_table(pa.table({"label": [1, 0] * 3, "c": array}), tmp_path / "rows")
    columns, bad_rows = read(tmp_path / "rows", format="parquet", missing=("-7",))
    expected = ["13", "", "", "0", str(2**53), ""]
    assert columns.key_fields[0].keys.tolist() == [key(0, "c", text) for text in expected]
    assert list(bad_rows.notes) == ["data.fields, 'c'"] and "13.0 gets the key of 13" in bad_rows.notes["data.fields, 'c'"]


@pytest.mark.parametrize("number", [1.5, 2.0**53 + 2, float("inf")])
def test_other_floats_are_none(tmp_path, number):
    pq.write_table(pa.table({"label": [1, 0], "c": [3.0, number]}), tmp_path / "rows")
    expected = f", row 1 (from 0), field 'c': '{number}' is not a whole number up to 2^53, as a float that becomes a key has to be; kind ="
    assert refused(tmp_path / "rows", format="parquet").startswith(expected)
