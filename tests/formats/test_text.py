"""CSV and TSV files into columns: against Python's csv module and the definition of a key."""

import csv
import gzip
import io
import sys

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from joined import joined

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats import source, text
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.columns import Bucket, Multi
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key

FIELDS = (
    FieldConfig("city", "categorical"),
    FieldConfig("price", "dense"),
    FieldConfig("tags", "multi", pooling="mean"),
    FieldConfig("age", "bucket"),
    FieldConfig("größe", "categorical"),
)
CSV = DataConfig(format="csv", label="click", fields=FIELDS)
TSV = DataConfig(format="tsv", label="click", fields=FIELDS)


def table(data, config):
    """The rows of a file as dictionaries, by independent means."""
    lines = data.decode("utf-8-sig")
    if config.format == "csv":
        csv.field_size_limit(1 << 30)
        rows = list(csv.reader(io.StringIO(lines, newline=""), strict=True))
    else:
        rows = [line.removesuffix("\r").split("\t") for line in lines.split("\n")]
    rows = [row for row in rows if row not in ([], [""])]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def check(columns, rows, config=CSV):
    """`columns` are what the definitions make of `rows`."""
    key_fields = iter(columns.key_fields)
    dense_fields = iter(columns.dense_fields)
    numbers_of = {field.name: i for i, field in enumerate(one for one in config.fields if one.kind != "dense")}
    for field in config.fields:
        cells = [row[field.name] for row in rows]
        if field.kind == "multi":
            column = next(key_fields)
            values = [[value for value in cell.split(field.separator) if value] for cell in cells]
            assert isinstance(column, Multi) and column.weights is None
            assert column.offsets.tolist() == np.cumsum([0, *map(len, values)]).tolist()
            assert column.keys.tolist() == [key(numbers_of[field.name], field.name, value) for some in values for value in some]
        elif field.kind == "categorical":
            assert next(key_fields).keys.tolist() == [key(numbers_of[field.name], field.name, cell) for cell in cells]
        else:
            column = next(key_fields) if field.kind == "bucket" else next(dense_fields)
            numbers = column.numbers if isinstance(column, Bucket) else column
            assert numbers.dtype == np.float64
            np.testing.assert_array_equal(numbers, [float(cell) if cell.strip() else np.nan for cell in cells])
    assert columns.labels.dtype == np.float32
    assert columns.labels.tolist() == [float(row[config.label]) for row in rows]
    assert len(columns) == len(rows)


def read_files(paths, config, label=True, **options):
    schema = Schema.from_config(config, label)
    return joined(schema, text.Text(config, schema, **options).blocks(paths, BadRows("error")))


def read(tmp_path, data, config=CSV, name="rows", **options):
    path = tmp_path / name
    path.write_bytes(data)
    columns = read_files([path], config, **options)
    assert columns.rows.tolist() == list(range(len(columns)))
    return columns


def error(tmp_path, data, config=CSV, **options):
    with pytest.raises(DataError) as raised:
        read(tmp_path, data, config, **options)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "rows"))
    return message.removeprefix(str(tmp_path / "rows"))


AWKWARD = (
    "age,city,größe,click,extra,price,tags\r\n"
    '31,Köln,XL,1,"a,b",2.5,a|b\r\n'
    '"31","K""öln""","",0.0,"""", -1e3 ,"a,b|c""d||"\r\n'
    ",,,1.0,,,\r\n"
    '4.5,"two\nlines","three\r\nlines\n",0,"","+.5",|\n'
    '7,x"b,q""uote,1,"\n""\n",1,solo\n'
    '0,日本語,"🂡",0,,"1",日|本\n'
    '-1,"","""",1,x,0,"""|"""'
).encode()
PLAIN = (
    "click\tprice\tcity\ttags\tage\tgröße\tunused\n"
    '1\t2.5\t"quoted"\ta|b|a\t\tsm,all\tx\n'
    "0\t\t\t\t\t\t\n"
    '0\t1e-3\t"open\t|\t9\t \t\r\n'
    "1\t7\tKöln\tsolo\t8\tL\tend"
).encode()


@pytest.mark.parametrize("data, config", [(AWKWARD, CSV), (PLAIN, TSV)], ids=["csv", "tsv"])
class TestFormats:
    def test_agrees_with_an_independent_reader(self, tmp_path, data, config):
        rows = table(data, config)
        assert len(rows) == (7 if config is CSV else 4)
        check(read(tmp_path, data, config), rows, config)

    def test_wherever_the_first_chunk_ends(self, tmp_path, data, config):
        rows = table(data, config)
        for chunk_bytes in range(1, len(data) + 2):
            check(read(tmp_path, data, config, chunk_bytes=chunk_bytes), rows, config)

    @pytest.mark.parametrize("block_rows", [1, 2, 3])
    def test_blocks_smaller_than_a_chunk(self, tmp_path, data, config, block_rows, monkeypatch):
        monkeypatch.setattr(text, "_BLOCK_ROWS", block_rows)
        check(read(tmp_path, data, config), table(data, config), config)

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n\n", "\r\n\r\n\n", "\n\n\r\n", "\r\n\r\n\r\n", "\n\r", "\r"])
    def test_ends_of_the_file(self, tmp_path, data, config, end):
        rows = table(data, config)
        for chunk_bytes in (1, 2, 3, 1000):
            check(read(tmp_path, data + end.encode(), config, chunk_bytes=chunk_bytes), rows, config)

    def test_byte_order_mark(self, tmp_path, data, config):
        check(read(tmp_path, b"\xef\xbb\xbf" + data, config, chunk_bytes=2), table(data, config), config)

    def test_gzip_by_suffix_or_content(self, tmp_path, data, config):
        half = len(data) // 2
        two_members = gzip.compress(data[:half]) + gzip.compress(data[half:])
        for packed in (gzip.compress(data), two_members):
            for name in ("rows.csv.gz", "rows.csv"):
                check(read(tmp_path, packed, config, name, chunk_bytes=10), table(data, config), config)

    def test_zstandard_by_suffix_or_content(self, tmp_path, data, config):
        half = len(data) // 2
        skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
        streamed = zstandard.ZstdCompressor().compressobj()
        several = zstandard.compress(data[:half]) + skippable + streamed.compress(data[half:]) + streamed.flush()
        for packed in (zstandard.compress(data), several):
            for name in ("rows.csv.zst", "rows.csv"):
                check(read(tmp_path, packed, config, name, chunk_bytes=10), table(data, config), config)
        check(read(tmp_path, skippable + several, config, "rows.csv.zst"), table(data, config), config)

    def test_a_header_without_rows_is_an_empty_table(self, tmp_path, data, config):
        header = data.split(b"\n")[0]
        for end in (b"", b"\n", b"\n\n"):
            check(read(tmp_path, header + end, config), [], config)


def test_without_a_label_its_column_need_not_exist_and_is_not_read(tmp_path):
    (tmp_path / "absent.csv").write_bytes("age,city,größe,price,tags\n1,a,b,2,c|d\n".encode())
    (tmp_path / "present.csv").write_bytes("age,click,city,größe,price,tags\n1,what,b,b,2,c|d\n2,,c,b,2,\n".encode())
    reader = open_format(CSV, label=False)
    assert reader.schema.label is None
    columns = joined(reader.schema, reader.blocks([tmp_path / "absent.csv", tmp_path / "present.csv"], BadRows("error")))
    assert columns.labels is None
    assert columns.key_fields[0].keys.tolist() == [key(0, "city", city) for city in "abc"]
    assert columns.key_fields[2].numbers.tolist() == [1, 1, 2]
    assert columns.rows.tolist() == [0, 0, 1]


def test_a_part_of_a_file_takes_the_memory_of_a_part(tmp_path):
    (tmp_path / "a.csv").write_bytes((HEAD + GOOD * 50_000).encode())
    blocks = open_format(CSV).blocks([tmp_path / "a.csv"], BadRows("error"))
    assert 1000 < len(next(blocks)) <= 65_536


@pytest.mark.parametrize("chunk_bytes", [10, 1 << 20])
def test_a_field_of_a_million_characters(tmp_path, chunk_bytes):
    long = "é," * 500_000
    many = "|".join(f"{i:x}" for i in range(150_000))
    lines = [HEAD + GOOD, f'"{long}",1,"{many}",2,"{long}",1\n', GOOD]
    data = "".join(lines).encode()
    check(read(tmp_path, data, chunk_bytes=chunk_bytes), table(data, CSV))


@pytest.mark.parametrize("file_format", ["csv", "tsv"])
def test_a_carriage_return_that_ends_no_line_is_a_byte_like_any_other(tmp_path, file_format):
    config = DataConfig(format=file_format, fields=(FieldConfig("c"),))
    lines = "c,label\r\n\rx,1\r\na\rb,0\n\r\r,1\n\r,0\r\n\r\n\r".replace(",", {"csv": ",", "tsv": "\t"}[file_format])
    for chunk_bytes in (1, 2, 3, 100):
        columns = read(tmp_path, lines.encode(), config, chunk_bytes=chunk_bytes)
        assert columns.key_fields[0].keys.tolist() == [key(0, "c", value) for value in ("\rx", "a\rb", "\r\r", "\r")]
        assert columns.labels.tolist() == [1, 0, 1, 0]


WEIGHTED = DataConfig(fields=(FieldConfig("t", "multi", weight_separator=":"), FieldConfig("c")))


@pytest.mark.parametrize(
    "cell, expected",
    [
        ("a:0.5|b:2", [("a", 0.5), ("b", 2)]),
        ("a|b:-1e-3|c", [("a", 1), ("b", -1e-3), ("c", 1)]),
        ("a:b:3", [("a:b", 3)]),
        ("::7||a:0|", [(":", 7), ("a", 0)]),
        ("a: 3 |a:.5", [("a", 3), ("a", 0.5)]),
        ("", []),
        ("||", []),
        ("日本:0.1", [("日本", 0.1)]),
        ("a:16777217|b:0.1", [("a", np.float32(16777217)), ("b", np.float32(0.1))]),
    ],
)
def test_values_with_weights(tmp_path, cell, expected):
    columns = read(tmp_path, f"t,c,label\n{cell},x,1\nz:9,y,0\n".encode(), WEIGHTED)
    many = columns.key_fields[0]
    assert many.offsets.tolist() == [0, len(expected), len(expected) + 1]
    assert many.keys.tolist() == [key(0, "t", value) for value, _ in expected] + [key(0, "t", "z")]
    assert many.weights.tolist() == [np.float32(weight) for _, weight in expected] + [9]
    assert columns.key_fields[1].keys.tolist() == [key(1, "c", "x"), key(1, "c", "y")]


@pytest.mark.parametrize("cell", [":2", ":", "a:", "a:x", "a:nan", "a:inf", "a:1e39", "a:1|:1|b:1", "a: "])
def test_malformed_weights(tmp_path, cell):
    message = error(tmp_path, f"t,c,label\nok:1,x,1\n{cell},x,1\n".encode(), WEIGHTED)
    assert message == f", line 3, field 't': {cell!r} is not a list of values with finite weights, such as a:0.5|b:2"


def test_files_follow_each_other_and_may_order_their_columns_differently(tmp_path):
    other = "größe,tags,age,price,city,click\n1,2,3,4,5,1\n".encode()
    (tmp_path / "a.csv").write_bytes(AWKWARD)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(other))
    columns = read_files([tmp_path / "a.csv", tmp_path / "b.csv.gz", str(tmp_path / "a.csv")], CSV)
    assert columns.rows.tolist() == [*range(7), 0, *range(7)]
    check(columns, table(AWKWARD, CSV) + table(other, CSV) + table(AWKWARD, CSV))


def test_more_rows_than_a_block(tmp_path):
    config = DataConfig(fields=(FieldConfig("n", "dense"), FieldConfig("m", "multi")))
    n = 150_000
    lines = ["label,n,m\n", *(f"{i % 2},{i},{'x|' * (i % 3)}\n" for i in range(n))]
    columns = read(tmp_path, "".join(lines).encode(), config)
    np.testing.assert_array_equal(columns.dense_fields[0], np.arange(n))
    np.testing.assert_array_equal(columns.labels, np.arange(n) % 2)
    np.testing.assert_array_equal(np.diff(columns.key_fields[0].offsets), np.arange(n) % 3)
    assert set(columns.key_fields[0].keys.tolist()) == {key(0, "m", "x")}
    assert len(columns.key_fields[0].keys) == columns.key_fields[0].offsets[-1]


CELLS = st.text(st.sampled_from('ab"|,\t\r\n é'), max_size=6)
NUMBERS = st.one_of(
    st.just(""),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
    st.integers(0, 99).map(str),
)


@settings(deadline=None)  # the first example compiles
@given(
    rows=st.lists(st.tuples(st.sampled_from(["0", "1"]), CELLS, CELLS, NUMBERS), max_size=6),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    final=st.booleans(),
    chunk_bytes=st.integers(1, 60),
)
def test_random_csv_files(tmp_path_factory, rows, line_end, quote_all, final, chunk_bytes):
    def written(cell):
        quoted = quote_all or any(character in cell for character in '",\r\n')
        return '"' + cell.replace('"', '""') + '"' if quoted else cell

    config = DataConfig(fields=(FieldConfig("c"), FieldConfig("m", "multi"), FieldConfig("x", "dense")))
    lines = [",".join(map(written, row)) for row in [("label", "c", "m", "x"), *rows]]
    data = (line_end.join(lines) + line_end * final).encode()
    columns = read(tmp_path_factory.getbasetemp(), data, config, chunk_bytes=chunk_bytes)
    expected = table(data, config)
    assert [tuple(row.values()) for row in expected] == rows
    check(columns, expected, config)


HEAD = "city,price,tags,age,größe,click\n"
GOOD = "a,1,b|c,2,d,1\n"


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "rows, expected",
    [
        ("a,1.5x,b,2,d,1\n", ", line 3, field 'price': '1.5x' is not a finite number, or empty where it is missing"),
        ("a,1,b,NaN,d,1\n", ", line 3, field 'age': 'NaN' is not a finite number, or empty where it is missing"),
        ("a,1,b,1e999,d,1\n", ", line 3, field 'age': '1e999' is not a finite number, or empty where it is missing"),
        ("a,1,b,2,d,2\n", ", line 3, field 'click': '2' is not 0 or 1"),
        ("a,1,b,2,d,\n", ", line 3, field 'click': '' is not 0 or 1"),
        ("a,1,b,2,d,1.00000000001\n", ", line 3, field 'click': '1.00000000001' is not 0 or 1"),
        ("a,1,b,2,d,1e-60\n", ", line 3, field 'click': '1e-60' is not 0 or 1"),
        (f"a,{'9' * 30}{'é' * 20},b,2,d,1\n", f", line 3, field 'price': '{'9' * 30}ééééé'... is not a finite number"),
        ("a,1,b,2,d\n", ", line 3: the row has 5 cells; expected 6, as in the header"),
        ("a,1,b,2,d,1,\n", ", line 3: the row has 7 cells; expected 6, as in the header"),
        ("x\n", ", line 3: the row has 1 cells; expected 6, as in the header"),
        ("\n" + GOOD, ", line 3: the line is blank; expected a row"),
        ("\r\n\n\r\n" + GOOD, ", line 3: the line is blank; expected a row"),
        ('"two\nlines"\n', ", line 3: the row has 1 cells"),
        ('"\n\r\n",1,"\n",2,d,1\na,1,b,2,d,7\n', ", line 7, field 'click': '7' is not 0 or 1"),
        ('a,1,b,"\n2\n",d,1\n', ", line 3, field 'age': '\\n2\\n' is not a finite number"),
        ('"a"b,1,b,2,d,1\n', ", line 3, field 'city': in '\"a\"b"),
        ('a,1,"b" ,2,d,1\n', ", line 3, field 'tags': in '\"b\" "),
        ('a,1,"b"\r,2,d,1\n', ", line 3, field 'tags': in '\"b\"\\r"),
        ('a,1,"b,2,d,1\n', ", line 3, field 'tags': the quote that opens '\"b,2,d,1\\n' is never closed"),
        ('a,1,b,2,d,"', ", line 3, field 'click': the quote that opens '\""),
        ('a,1,b,2,d,1,"', ", line 3: the quote that opens '\""),
    ],
)
def test_bad_rows_name_line_field_and_text(tmp_path, rows, expected, chunk_bytes):
    assert error(tmp_path, (HEAD + GOOD + rows).encode(), chunk_bytes=chunk_bytes).startswith(expected)


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", ": the file is empty; expected a header line"),
        (b"\xef\xbb\xbf", ": the file is empty; expected a header line"),
        (b"\n1,2\n", ", line 1: the line is blank; expected a header line"),
        (b"k\xf6ln,click\n", ", line 1: the header cannot be read: 'utf-8' codec can't decode"),
        (b'city,"price\nx\n', ", line 1: the header cannot be read: unexpected end of data"),
        (
            "city,prize,tags,age,größe,click\n".encode(),
            ", line 1, field 'price': no such column; did you mean 'prize'?",
        ),
        (
            "city,price,tags,age,größe,clicks\n".encode(),
            ", line 1, field 'click': no such column; did you mean 'clicks'?",
        ),
        (HEAD.replace(",", "\t").encode(), ", line 1, field 'click': no such column; did you mean"),
        (("city," + HEAD).encode(), ", line 1, field 'city': 2 columns have this name; expected one"),
    ],
)
def test_bad_headers(tmp_path, data, expected):
    assert error(tmp_path, data).startswith(expected)


def test_a_repeated_column_that_nobody_asked_for_is_ignored(tmp_path):
    data = ("x," + HEAD + "0," + GOOD).replace("\n", ",x\n").replace("1,x", "1,0").encode()
    assert len(read(tmp_path, data)) == 1


def test_the_line_number_counts_on_over_chunks_and_blocks(tmp_path):
    data = HEAD + GOOD * 9000 + "a,1,b,2,d,x\n"
    assert error(tmp_path, data.encode(), chunk_bytes=1000).startswith(", line 9002, field 'click': 'x'")


def test_the_first_bad_row_counts_even_where_the_next_one_cannot_be_split(tmp_path):
    assert error(tmp_path, (HEAD + "a,1,b,2,d,x\na\n").encode()).startswith(", line 2, field 'click'")


def test_the_first_bad_row_counts_whichever_its_field(tmp_path):
    rows = GOOD + "a,1,b,x,d,1\n" + "a,x,b,2,d,x\n"
    assert error(tmp_path, (HEAD + rows).encode()).startswith(", line 3, field 'age'")


def test_of_a_rows_bad_cells_the_label_is_named_first(tmp_path):
    assert error(tmp_path, (HEAD + "a,x,b,x,d,x\n").encode()).startswith(", line 2, field 'click'")
    assert error(tmp_path, (HEAD + "a,x,b,x,d,1\n").encode()).startswith(", line 2, field 'age'")  # a key field


def test_an_open_quote_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_ROW_BYTES", 1000)
    message = error(tmp_path, (HEAD + GOOD + '"' + GOOD * 1000).encode(), chunk_bytes=100)
    assert message == ", line 3: the row is longer than 1000 bytes; is a quote never closed?"


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="absent.csv: no such file"):
        read_files([tmp_path / "absent.csv"], CSV)
    with pytest.raises(DataError, match=f"{tmp_path}: cannot be read: it is a directory"):
        read_files([tmp_path], CSV)


def test_damaged_gzip(tmp_path):
    rng = np.random.default_rng(3)
    rows = "".join(f"{x:x},1,b,2,d,1\n" for x in rng.integers(0, 2**60, 3000).tolist())
    packed = gzip.compress((HEAD + rows).encode())
    for cut in (5, 15, 1000, len(packed) - 9, len(packed) - 1):
        assert "damaged gzip data: Compressed file ended" in error(tmp_path, packed[:cut])
    assert ", line 1 or later: damaged gzip data" in error(tmp_path, packed[:200] + bytes(100) + packed[300:])
    changed_sum = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    message = error(tmp_path, changed_sum, chunk_bytes=1000)
    assert "damaged gzip data: CRC check failed" in message
    assert 2900 < int(message.split()[2]) <= 3002
    (tmp_path / "plain.gz").write_text(HEAD)
    with pytest.raises(DataError, match="plain.gz, line 1 or later: damaged gzip data: Not a gzipped file"):
        read_files([tmp_path / "plain.gz"], CSV)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_window_is_filled_wholly_so_that_a_long_row_is_looked_at_seldom(tmp_path, pack):
    (tmp_path / "rows").write_bytes(pack(np.random.default_rng(1).bytes(600_000).hex().encode()))
    with source.Window(tmp_path / "rows", 1 << 20) as window:
        assert window.fill(1) and window.stop == 1 << 20
        window.pass_to(1 << 20)
        assert window.fill(1) and window.stop == 1_200_000 - (1 << 20)


def test_damaged_zstandard(tmp_path):
    rng = np.random.default_rng(3)
    rows = "".join(f"{x:x},1,b,2,d,1\n" for x in rng.integers(0, 2**60, 30_000).tolist())
    packed = zstandard.ZstdCompressor(write_checksum=True).compress((HEAD + rows).encode())
    for cut in (5, 15, 1000, len(packed) - 9, len(packed) - 1):
        assert "damaged Zstandard data: Compressed file ended before the end of" in error(tmp_path, packed[:cut])
    message = error(tmp_path, packed[:-1] + bytes([packed[-1] ^ 1]), chunk_bytes=1000)
    assert "damaged Zstandard data: " in message and "checksum" in message
    assert 2 < int(message.split()[2]) <= 30_002
    (tmp_path / "plain.zst").write_text(HEAD)
    with pytest.raises(DataError, match="plain.zst, line 1 or later: damaged Zstandard data: "):
        read_files([tmp_path / "plain.zst"], CSV)


def test_a_zstandard_bomb_is_read_in_bounded_memory(tmp_path):
    compressor = zstandard.ZstdCompressor().compressobj()
    with open(tmp_path / "rows.zst", "wb") as file:
        file.write(compressor.compress((HEAD + "a,1,").encode()))
        for _ in range(100):
            file.write(compressor.compress(bytes(1 << 20)))
        file.write(compressor.flush())
    assert (tmp_path / "rows.zst").stat().st_size < 20_000
    message = error(tmp_path, (tmp_path / "rows.zst").read_bytes())
    assert message.startswith(", line 2: the row is longer than 67108864 bytes")


def test_without_zstandard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    packed = zstandard.compress((HEAD + GOOD).encode())
    assert "pip install 'deshpc[data]'" in error(tmp_path, packed)
