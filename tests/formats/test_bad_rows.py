"""Rows that cannot be read, skipped or refused: against Python's csv module on the good rows alone, and fuzzing."""

import csv
import gzip
import io

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joined import joined

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats import source, text
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key

FIELDS = (FieldConfig("c"), FieldConfig("x", "dense"), FieldConfig("m", "multi", weight_separator=":"))
HEADER = "label,c,x,m\n"


def read(path, file_format="csv", policy="skip", chunk_bytes=1 << 20, fields=FIELDS):
    """(Columns of a file, BadRows)"""
    config = DataConfig(format=file_format, fields=fields)
    schema = Schema.from_config(config)
    bad_rows = BadRows(policy)
    return joined(schema, text.Text(config, schema, chunk_bytes).blocks([path], bad_rows)), bad_rows


def check(columns, rows):
    """`columns` hold `rows`, dictionaries with the number of the row in the file as "row"."""
    assert columns.rows.tolist() == [row["row"] for row in rows]
    assert columns.labels.tolist() == [float(row["label"]) for row in rows]
    assert columns.key_fields[0].keys.tolist() == [key(0, "c", row["c"]) for row in rows]
    np.testing.assert_array_equal(columns.dense_fields[0], [float(row["x"] or "nan") for row in rows])
    values = [[value.rpartition(":") for value in row["m"].split("|") if value] for row in rows]
    many = columns.key_fields[1]
    assert many.offsets.tolist() == np.cumsum([0, *map(len, values)]).tolist()
    assert many.keys.tolist() == [key(1, "m", value) for some in values for value, _, _ in some]
    assert many.weights.tolist() == [np.float32(weight) for some in values for _, _, weight in some]


def row_of(number, line):
    """A line as the csv module reads it."""
    cells = next(csv.reader(io.StringIO(line, newline=""), strict=True))
    return dict(zip(["label", "c", "x", "m"], cells, strict=True), row=number)


GOOD = ["0,a,1.5,b:1\n", "1,,,\r\n", '1,"q""u,o\r\nte\n\nd",-2,"x:1|y:2"\n', '"0",é,1e3,z:0.25\n', "1.0,x\"y,5,b:2||c:3\n"]
BAD = [
    "2,a,1,b:1\n",
    ",a,1,b:1\n",
    "maybe,a,1,b:1\n",
    "nan,a,1,b:1\n",
    "-2,a,1,b:1\n",
    "1,a,nan,b:1\n",
    "1,a,inf,b:1\n",
    "1,a,-1e999,b:1\n",
    "1,a,1x,b:1\n",
    '1,a,"\n",b:1\n',
    "1,a,1,b:x\n",
    "1,a,1,:2\n",
    "x,a,y,:\n",
    "1,a,1\n",
    "1,a,1,b:1,\n",
    "alone\n",
    ",\r\n",
    "\n",
    "\r\n",
    '1,"a"b,1,b:1\n',
    '1,"a" b" ,"\n",b:1\n',
    '"1"1,"a"b,1\r\n',
    '1,"a"\r,1,b:1\n',
    "\r,a,1,b:1\n",
    "1,a," + "9" * 1000 + ",b:1\n",
]


@pytest.mark.parametrize("bad", BAD)
def test_good_rows_around_a_bad_one_are_kept(tmp_path, bad):
    lines = [GOOD[0], bad, *GOOD, bad, bad, GOOD[1], bad, GOOD[2]]
    (tmp_path / "rows").write_bytes((HEADER + "".join(lines)).encode())
    good = [row_of(number, line) for number, line in enumerate(lines) if line != bad]
    for chunk_bytes in (1, 10, 1 << 20):
        columns, bad_rows = read(tmp_path / "rows", chunk_bytes=chunk_bytes)
        check(columns, good)
        assert bad_rows.count == 4 and len(bad_rows.examples) == 3
        assert all(one.startswith(f"{tmp_path / 'rows'}, line ") for one in bad_rows.examples)
    with pytest.raises(DataError) as raised:
        read(tmp_path / "rows", policy="error")
    assert str(raised.value) == bad_rows.examples[0]
    assert ", line 3" in bad_rows.examples[0]


@settings(deadline=None, max_examples=150)
@given(
    choices=st.lists(st.sampled_from([*enumerate([*GOOD, *BAD])]), max_size=30),
    chunk_bytes=st.integers(1, 300),
    block_rows=st.integers(1, 9),
)
def test_any_mixture_of_good_and_bad_rows(tmp_path_factory, choices, chunk_bytes, block_rows):
    path = tmp_path_factory.getbasetemp() / "mixture"
    lines = [line for _, line in choices]
    path.write_bytes((HEADER + "".join(lines)).encode())
    while lines and not lines[-1].strip():
        lines.pop()  # blank lines at the end are nothing
    good = [row_of(number, line) for number, line in enumerate(lines) if line in GOOD]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK_ROWS", block_rows)
        columns, bad_rows = read(path, chunk_bytes=chunk_bytes)
    check(columns, good)
    assert bad_rows.count == len(lines) - len(good)


def test_line_numbers_of_skipped_rows(tmp_path):
    lines = [GOOD[2], "\n\r\n", BAD[0], '1,"a"b,"\n\n",x:1\n', "alone\n", GOOD[0]]
    (tmp_path / "rows").write_text(HEADER + "".join(lines), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deshpc.formats.bad_rows._MESSAGES_KEPT", 9)
        columns, bad_rows = read(tmp_path / "rows")
    found = [one.removeprefix(f"{tmp_path / 'rows'}, line ").split(":")[0].split(",")[0] for one in bad_rows.examples]
    assert found == ["6", "7", "8", "9", "12"]  # the first row ends on line 5
    assert columns.rows.tolist() == [0, 6]


def test_a_quote_that_is_never_closed_costs_its_line(tmp_path):
    lines = [GOOD[0], '1,"open,1,b:1\n', GOOD[0], "1,a,1,b:x\n", GOOD[3].replace('"', ""), GOOD[1]]
    good = [row_of(number, line) for number, line in enumerate(lines) if number not in (1, 3)]
    for end in ("", '0,"'):
        (tmp_path / "rows").write_bytes((HEADER + "".join(lines) + end).encode())
        for chunk_bytes in (1, 50, 1 << 20):
            columns, bad_rows = read(tmp_path / "rows", chunk_bytes=chunk_bytes)
            if end:  # which closes the first quote: all between is one cell
                assert columns.rows.tolist() == [0] and bad_rows.count == 1
            else:
                check(columns, good)
                assert bad_rows.count == 2
    assert "the row has 2 cells; expected 4" in bad_rows.examples[0]


def test_rows_longer_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_ROW_BYTES", 500)
    long = ['1,"' + "y" * 2000 + '",1,b:1\n', '1,"' + "1,a,1,b:1\n" * 200, "1," + "z" * 5000 + "\n"]
    for text_of_row in long:
        lines = [GOOD[0], text_of_row, GOOD[0] * 30]
        (tmp_path / "rows").write_text(HEADER + "".join(lines))
        columns, bad_rows = read(tmp_path / "rows", chunk_bytes=100)
        assert bad_rows.examples[0] == (
            f"{tmp_path / 'rows'}, line 3: the row is longer than 500 bytes; is a quote never closed?"
        )
        assert bad_rows.count == 1
        assert set(columns.key_fields[0].keys.tolist()) == {key(0, "c", "a")}
        kept = 30 + (199 if text_of_row is long[1] else 0)
        assert columns.rows.tolist() == [0, *range(2, 2 + kept)]


def test_many_bad_rows_take_no_more_than_linear_time(tmp_path):
    many = "\n" * 100_000 + '"\n' * 50_001 + "x\n" * 100_000 + '"",\n' * 50_000
    (tmp_path / "rows").write_text(HEADER + GOOD[0] + many + GOOD[0])
    columns, bad_rows = read(tmp_path / "rows")
    assert len(columns) >= 1 and 200_000 < bad_rows.count < 350_000


def test_damaged_compression_is_an_error_under_skip_too(tmp_path):
    rng = np.random.default_rng(3)
    data = (HEADER + "".join(f"0,{x:x},1,b:1\n" for x in rng.integers(0, 2**60, 3000).tolist())).encode()
    for packed, name in ((gzip.compress(data), "gzip"), (zstandard.compress(data), "Zstandard")):
        (tmp_path / "rows").write_bytes(packed[: len(packed) // 2])
        with pytest.raises(DataError, match=f"line [0-9]+ or later: damaged {name} data"):
            read(tmp_path / "rows")


@pytest.mark.parametrize("data", [b"", b"label,c,x\n", b"\n", HEADER.replace("c", "c,c").encode(), b"\xff\n"])
def test_a_bad_header_is_an_error_under_skip_too(tmp_path, data):
    (tmp_path / "rows").write_bytes(data)
    with pytest.raises(DataError, match="rows"):
        read(tmp_path / "rows")


def test_values_need_not_be_text(tmp_path):
    (tmp_path / "rows").write_bytes(HEADER.encode() + b"1,\xff\x00\xc3,1,\x80:1\n")
    columns, _ = read(tmp_path / "rows", policy="error")
    assert columns.key_fields[0].keys.tolist() == [key(0, "c", b"\xff\x00\xc3")]
    assert columns.key_fields[1].keys.tolist() == [key(1, "m", b"\x80")]


SNIPPETS = st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"\t", b"1", b"a", b":", b"|", b"\x00", b"\xff", b"0,a,1,b:1\n"]))
PACKINGS = {"plain": bytes, "gzip": lambda data: gzip.compress(data, 1), "zstd": zstandard.compress}


@settings(deadline=None, max_examples=200)
@given(
    body=st.one_of(st.binary(max_size=200), SNIPPETS.map(b"".join)),
    header=st.sampled_from([HEADER.encode(), HEADER.replace(",", "\t").encode(), b""]),
    file_format=st.sampled_from(["csv", "tsv"]),
    packing=st.sampled_from(sorted(PACKINGS)),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    chunk_bytes=st.integers(1, 100),
)
@example(b'"\n"\n\n"', HEADER.encode(), "csv", "plain", [], 1)
def test_random_bytes(tmp_path_factory, body, header, file_format, packing, damage, chunk_bytes):
    data = bytearray(PACKINGS[packing](header + body))
    for place, value in damage if packing != "plain" else ():
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(data)
    results = []
    for size in (chunk_bytes, 1 << 20):
        for policy in ("error", "skip"):
            try:
                columns, bad_rows = read(path, file_format, policy, size)
            except DataError as error:
                assert str(path) in str(error)
                results.append(None)
            else:
                assert set(columns.labels.tolist()) <= {0, 1}
                results.append((columns.rows.tolist(), columns.key_fields[0].keys.tolist(), bad_rows.count))
    if not damage:
        assert results[:2] == results[2:]
    if results[0] is not None:
        assert results[0] == results[1]  # without a bad row, the policy makes no difference


class Counted(BadRows):
    """Counts how often it is told of rows one by one."""

    calls = 0

    def found(self, complaint):
        self.calls += 1
        super().found(complaint)


BLANKS = {
    "csv": (["\n", "\r\n"], "1,a\n", "label,c\n"), "criteo": (["\n", "\r\n"], "1" + "\t7" * 13 + "\tab" * 26 + "\n", ""),
    "libsvm": (["\n", "\r\n", "  \t\n", "\r\r\n"], "1 3:0.5\n", ""),
}  # fmt: skip


@pytest.mark.parametrize("file_format", BLANKS)
def test_a_thousand_blank_lines_are_counted_and_not_told_one_by_one(tmp_path, file_format):
    blanks, row, header = BLANKS[file_format]
    fields = (FieldConfig("c"),) if header else ()
    lines = [row, *(blanks * 1000)[:1000], row, *(blanks * 500)[:7], row, row, *blanks]
    (tmp_path / "a").write_text(header + "".join(lines), newline="")
    bad_rows = Counted("skip")
    reader = open_format(DataConfig(format=file_format, fields=fields))
    found = np.concatenate([block.rows for block in reader.blocks([tmp_path / "a"], bad_rows)])
    assert found.tolist() == [i for i, line in enumerate(lines) if line == row]
    assert bad_rows.count == 1007 and bad_rows.calls < 10
    first = 2 + bool(header)
    assert [f"line {first + i}: the line is blank" in one for i, one in enumerate(bad_rows.examples)] == [True] * 3
    with pytest.raises(DataError, match=f"line {first}: the line is blank"):
        list(open_format(DataConfig(format=file_format, fields=fields)).blocks([tmp_path / "a"], BadRows("error")))


def test_comments_are_no_rows_and_no_bad_rows(tmp_path):
    lines = ["# a\n", "1 3:1\n", *["#\n", " # b\r\n"] * 300, "\n", "#\n", "0 4:1\n", "# end\n"]
    (tmp_path / "a").write_text("".join(lines), newline="")
    bad_rows = BadRows("skip")
    blocks = list(open_format(DataConfig(format="libsvm")).blocks([tmp_path / "a"], bad_rows))
    assert np.concatenate([block.rows for block in blocks]).tolist() == [0, 2]
    assert bad_rows.examples == [f"{tmp_path / 'a'}, line 603: the line is blank; expected a row, as there are lines below it"]
