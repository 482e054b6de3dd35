"""Delimiters, files without a header, and the errors that name them: against Python's csv module."""

import csv
import io

import numpy as np
import pytest
from joined import joined

from deshpc.config import DataConfig, FieldConfig
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.parts import parts_of
from deshpc.hashing.key import key

NAMES = ["site", "unused", "click", "price"]
FIELDS = (FieldConfig("site"), FieldConfig("price", "dense"))
ROWS = [["a", "x", "1", "2.5"], ["Köln", "", "0", ""], ['q"u', "y", "1", "-1e3"], ["d e", "|;", "0", "7"]]


def read(path, parts=None, **options):
    reader = open_format(DataConfig(**{"label": "click", "fields": FIELDS, **options}))
    return joined(reader.schema, reader.blocks(parts or [path], BadRows("error")))


def check(columns, rows):
    assert columns.key_fields[0].keys.tolist() == [key(0, "site", row[0]) for row in rows]
    assert columns.labels.tolist() == [float(row[2]) for row in rows]
    np.testing.assert_array_equal(columns.dense_fields[0], [float(row[3] or "nan") for row in rows])


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", " ", "\x01"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_with_any_delimiter_is_what_the_csv_module_reads(tmp_path, delimiter, header, mark):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([NAMES, *ROWS] if header else ROWS)
    (tmp_path / "rows").write_bytes(mark + text.getvalue().encode())
    how = {"delimiter": delimiter, "header": header, "columns": () if header else tuple(NAMES)}
    again = list(csv.reader(io.StringIO(text.getvalue()), delimiter=delimiter))
    assert again[header:] == ROWS
    check(read(tmp_path / "rows", **how), ROWS)
    divided = [part for worker in range(3) for part in parts_of([str(tmp_path / "rows")], worker, 3, True)]
    assert len(divided) > 1
    check(read(None, parts=divided, **how), ROWS)


def test_tsv_with_another_delimiter_has_no_quotes(tmp_path):
    (tmp_path / "rows").write_text('"a;x;1;2.5\n')
    check(read(tmp_path / "rows", format="tsv", delimiter=";", header=False, columns=tuple(NAMES)), [['"a', "x", "1", "2.5"]])


def error(path, text, **options):
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        read(path, **options)
    return str(raised.value).removeprefix(str(path))


HEADLESS = {"header": False, "columns": tuple(NAMES)}


@pytest.mark.parametrize(
    "text, options, expected",
    [
        ("a,x,1,2\nb,x\n", HEADLESS, ", line 2: the row has 2 cells; expected 4, as in data.columns"),
        ("a,x,1,2\nb,x,3,4\n", HEADLESS, ", line 2, field 'click': '3' is not 0 or 1"),
        ("a,x,1,2\n", {"header": False, "columns": ("site", "x", "clicks", "price")}, ": data.columns, field 'click': no such column; did"),
        ("", HEADLESS, ": the file is empty; expected a row in every line"),
        ("a,b,1,2\n", {}, "; is this a row and no header? Then set data.header = false, and name the columns in data.columns"),
        ("site;unused;click;price\n", {}, "; are cells separated by ';'? Then set data.delimiter = \";\""),
        ("site\tunused\tclick\tprice\n", {}, "; are cells separated by '\\t'? Then set data.delimiter = \"\\t\""),
    ],
)
def test_errors_say_what_to_set(tmp_path, text, options, expected):
    message = error(tmp_path / "rows", text, **options)
    assert message.startswith(expected) or message.endswith(expected)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"delimiter": ";;"}, "data.delimiter = ';;' must be one ASCII character other than a quote or line end"),
        ({"delimiter": "é"}, "data.delimiter = 'é' must be one ASCII character"),
        ({"delimiter": '"'}, "must be one ASCII character"),
        ({"header": False}, "data.header = false: name the columns in their order, such as data.columns = ['click', 'site']"),
        ({"columns": ["a"]}, "add data.header = false, or leave it out"),
        ({"header": False, "columns": ["a", "b", "a"]}, "data.columns has 'a' twice"),
        ({"format": "parquet", "delimiter": ";"}, "data.delimiter belongs to data.format = 'csv' or 'tsv', not 'parquet'"),
        ({"format": "parquet", "header": False}, "data.header belongs to data.format = 'csv' or 'tsv', not 'parquet'"),
        ({"format": "criteo", "fields": [], "positive": "x"}, "data.positive belongs to data.format = 'csv', 'tsv', 'parquet' or 'table', not 'criteo'"),
        ({"positive": "NA", "missing": ["NA"]}, "data.positive = 'NA' is in data.missing: such a row has no label"),
        (
            {"format": "tsv", "delimiter": "|", "fields": [{"name": "a", "kind": "multi"}]},
            "data.fields[0]: its values are separated by the character that separates cells",
        ),
    ],
)
def test_options_that_do_not_fit(options, expected):
    with pytest.raises(ConfigError) as raised:
        build({"data": {"train": ["a.csv"], "fields": [{"name": "a"}], **options}})
    assert expected in str(raised.value).replace("config: ", "")
