"""Files that are not what was expected are recognised, by what other programs wrote, and the error says what to do."""

import bz2
import io
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format

TEXT = "label,c\n1,a\n" * 50


def refused(path, format):
    fields = () if format in ("criteo", "libsvm") else (FieldConfig("c"),)
    with pytest.raises(DataError) as raised:
        list(open_format(DataConfig(format=format, fields=fields)).blocks([path], BadRows("skip")))
    return str(raised.value).removeprefix(str(path))


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.csv", TEXT)
    return file.getvalue()


def parquet(rows=3):
    file = io.BytesIO()
    pq.write_table(pa.table({"label": [1] * rows, "c": ["a"] * rows}), file)
    return file.getvalue()


@pytest.mark.parametrize("format", ["csv", "tsv", "criteo", "libsvm"])
@pytest.mark.parametrize(
    "data, expected",
    [
        (TEXT.encode("utf-16"), ": is UTF-16 text; expected UTF-8, or another code in which delimiters and line ends are those of ASCII: "
         "iconv -f UTF-16 -t UTF-8 "),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), ": is UTF-16 text; "),
        (TEXT.encode("utf-32"), ": is UTF-32 text; "),
        (bz2.compress(TEXT.encode()), ": is packed by bzip2, which is not read; gzip and Zstandard are: bzcat "),
        (bz2.compress(b""), ": is packed by bzip2, "),
        (lzma.compress(TEXT.encode()), ": is packed by xz, which is not read; gzip and Zstandard are: xzcat "),
        (zipped(), ": is packed by zip, which is not read; gzip and Zstandard are: unzip -p "),
        (parquet(), ": is a Parquet file; set data.format = 'parquet'"),
        (parquet(0), ": is a Parquet file; set data.format = 'parquet'"),
    ],
)  # fmt: skip
def test_no_text(tmp_path, data, expected, format):
    (tmp_path / "rows").write_bytes(data)
    assert refused(tmp_path / "rows", format).startswith(expected)


@pytest.mark.parametrize(
    "data, expected",
    [
        (TEXT.encode(), "it is text; set data.format = 'csv'"),
        (TEXT.replace(",", "\t").encode(), "it is text; set data.format = 'tsv'"),
        (b"", "it is empty"),
        (parquet()[:-1], "it begins as one, but does not end as one: it has been cut off, or is still being written"),
        (b"\x1f\x8b" + bytes(99), "it is compressed as a whole; unpack it, Parquet is compressed inside; if it is text, set data.format = 'c"),
        (bytes(99), "it does not end as one"),
    ],
)
def test_no_parquet(tmp_path, data, expected):
    (tmp_path / "rows").write_bytes(data)
    assert refused(tmp_path / "rows", "parquet").startswith(f": cannot be read as a Parquet file: {expected}")


@pytest.mark.parametrize("name", ["BZh9", "PAR1", "PK", "B", "7z"])
def test_a_text_may_begin_like_that(tmp_path, name):
    (tmp_path / "rows").write_text(f"{name},label,c\nx,1,a\n")
    (columns,) = open_format(DataConfig(fields=(FieldConfig("c"),))).blocks([tmp_path / "rows"], BadRows("error"))
    assert columns.labels.tolist() == [1]
