"""Columns of folders name=value: against files that have them as columns."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from joined import joined

from deshpc.config import DataConfig, FieldConfig
from deshpc.data.input import open_input
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.files import expand
from deshpc.formats.open import open_format
from deshpc.hashing.key import key

FIELDS = (FieldConfig("day"), FieldConfig("site"), FieldConfig("hour", "dense"), FieldConfig("tags", "multi"), FieldConfig("age", "bucket"))
PARTS = {
    "day=2024-01-01/hour=3/tags=a%7Cb/age=7": ["x", "y"],
    "day=2024-01-02/hour=__HIVE_DEFAULT_PARTITION__/tags=NA/age=8": ["x"],
    "day=a%20%C3%A9=b/hour=5/tags=/age=": ["z", "", "x"],
}
ROWS = [("2024-01-01", 3, ["a", "b"], 7), ("2024-01-02", np.nan, [], 8), ("a é=b", 5, [], np.nan)]


def write(folder, format):
    for path, sites in PARTS.items():
        (folder / path).mkdir(parents=True)
        if format == "csv":
            (folder / path / "rows.csv").write_text("".join(["site,click\n", *(f"{site},1\n" for site in sites)]))
        else:
            pq.write_table(pa.table({"site": sites, "click": [1] * len(sites)}), folder / path / "rows.parquet")


def read(folder, format, fields=FIELDS, label="click"):
    reader = open_format(DataConfig(format=format, fields=fields, label=label, missing=("NA",)))
    return joined(reader.schema, reader.blocks(expand([folder]), BadRows("error")))


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_rows_have_the_values_of_their_folders(tmp_path, format):
    write(tmp_path / "hive", format)
    columns = read(tmp_path / "hive", format)
    expected = [(row, site) for row, sites in zip(ROWS, PARTS.values(), strict=True) for site in sites]
    day, site, tags, age = columns.key_fields
    assert day.keys.tolist() == [key(0, "day", row[0]) for row, _ in expected]
    assert site.keys.tolist() == [key(1, "site", one) for _, one in expected]
    np.testing.assert_array_equal(columns.dense_fields[0], [row[1] for row, _ in expected])
    assert tags.keys.tolist() == [key(2, "tags", one) for row, _ in expected for one in row[2]]
    np.testing.assert_array_equal(age.numbers, [row[3] for row, _ in expected])


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_column_counts_more_than_a_folder_and_the_innermost_folder_most(tmp_path, format):
    write(tmp_path / "site=s" / "hive" / "day=d", format)
    columns = read(tmp_path / "site=s" / "hive", format, (FieldConfig("site"), FieldConfig("day")))
    assert columns.key_fields[0].keys[0] == key(0, "site", "x") and columns.key_fields[1].keys[0] == key(1, "day", "2024-01-01")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_labels_of_folders(tmp_path, format):
    for label in (0, 1):
        write(tmp_path / "rows" / f"bought={label}", format)
    assert read(tmp_path / "rows", format, FIELDS, "bought").labels.tolist() == [0] * 6 + [1] * 6
    assert len(open_input(DataConfig(format=format, fields=FIELDS, label="bought", train=(str(tmp_path / "rows"),))).load("train")) == 12


@pytest.mark.parametrize("format, where", [("csv", "line 2"), ("parquet", "row 0 (from 0)")])
def test_a_value_of_a_folder_that_cannot_be_read(tmp_path, format, where):
    write(tmp_path, format)
    with pytest.raises(DataError) as raised:
        read(tmp_path, format, (FieldConfig("day", "dense"),))
    path = tmp_path / next(iter(PARTS)) / f"rows.{format}"
    assert str(raised.value) == f"{path}, {where}, field 'day': '2024-01-01' is not a finite number, or " + (
        "empty where it is missing" if format == "csv" else "null where it is missing"
    )
    with pytest.raises(DataError, match="field 'month': no such column"):
        read(tmp_path, format, (FieldConfig("month"),))
