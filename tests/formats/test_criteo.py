"""Criteo's text into columns: against Python's split and float, and the definition of a key."""

import gzip
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_rows import VALUES
from plain_rows import criteo_rows as expected

from deshpc.config import DataConfig
from deshpc.errors import DataError
from deshpc.formats import criteo, lines, source
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.columns import Bucket, Categorical
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key

CONFIG = DataConfig(format="criteo")
BUCKETS = DataConfig(format="criteo", criteo_numeric="bucket")

def read(path, data, config=CONFIG, policy="error", label=True, chunk_bytes=lines.CHUNK_BYTES):
    path.write_bytes(data)
    bad_rows = BadRows(policy)
    blocks = list(criteo.Criteo(config, Schema.from_config(config, label), chunk_bytes).blocks([path], bad_rows))
    return blocks, bad_rows


def rows_of(blocks, config=CONFIG, label=True):
    """What `expected` says of good rows, with keys instead of cells, from blocks."""
    rows = []
    for block in blocks:
        numbers, keys = block.dense_fields, block.key_fields
        if config is BUCKETS:
            assert numbers == () and all(isinstance(column, Bucket) for column in keys[:13])
            numbers, keys = [column.numbers for column in keys[:13]], keys[13:]
        assert (len(numbers), len(keys)) == (13, 26) and all(isinstance(column, Categorical) for column in keys)
        assert {column.dtype for column in numbers} == {np.dtype(np.float64)}
        assert (block.labels is not None) == label and (not label or block.labels.dtype == np.float32)
        labels = block.labels.tolist() if label else [0] * len(block)
        numbers = zip(*(column.tolist() for column in numbers), strict=True)
        keys = zip(*(column.keys.tolist() for column in keys), strict=True)
        rows += zip(block.rows.tolist(), labels, numbers, keys, strict=True)
    return rows


def check(blocks, good, config=CONFIG, label=True):
    rows, first = rows_of(blocks, config, label), 13 if config.criteo_numeric == "bucket" else 0
    assert [row[:2] for row in rows] == [row[:2] for row in good]
    for (*_, numbers, keys), (*_, wanted, cells) in zip(rows, good, strict=True):
        np.testing.assert_array_equal(numbers, wanted)
        assert list(keys) == [key(first + i, name, cell) for i, (name, cell) in enumerate(zip(VALUES, cells, strict=True))]


def row(source, label=None):
    """A row's cells as Criteo has them, and some that it has not."""
    integers = [
        source.choice(["", "0", "-1", str(source.randrange(10 ** source.randrange(1, 9))), str(source.randrange(10**12))])
        for _ in range(13)
    ]
    values = [
        source.choice(["", *[f"{source.getrandbits(32):08x}"] * 4, "x" * source.randrange(1, 40), "größe", "a b,\"c'"])
        for _ in range(26)
    ]
    return [source.choice("01") if label is None else label, *integers, *values]


def text(source, rows, end="\n"):
    return "".join("\t".join(row(source)) + end for _ in range(rows)).encode()


AWKWARD = (
    "1 1 12 123 1234 12345 123456 1234567 12345678 123456789012345 -7 -1234567 -12345678 +5".replace(" ", "\t")
    + "".join("\t" + "x" * i for i in range(1, 27))
    + "\n0"
    + "\t" * 39
    + "\n1.0\t 3 \t1e3\t0.5\t-0\t007\t-.5\t  \t00000001\t0000000\t99999999\t9999999\t1234567\t12345678"
    + "\t68fd1e64" * 25
    + "\t80e26c9b\n0"
    + "\t" * 13
    + "".join(f"\t{i:08X}" for i in range(25))
    + "\tlast cell\n"
).encode() + text(random.Random(1), 5)


@pytest.mark.parametrize("config", [CONFIG, BUCKETS], ids=["dense", "bucket"])
def test_agrees_with_an_independent_reader(tmp_path, config):
    data = AWKWARD + text(random.Random(2), 3000)
    good, bad = expected(data)
    assert len(good) == 3009 and not bad
    blocks, _ = read(tmp_path / "rows", data, config)
    check(blocks, good, config)
    blocks, _ = read(tmp_path / "rows", data, config, chunk_bytes=10_000)
    assert len(blocks) > 10
    check(blocks, good, config)


def test_wherever_the_first_chunk_ends(tmp_path):
    data = AWKWARD
    for chunk_bytes in [*range(1, 300), *range(300, len(data) + 20, 7)]:
        check(read(tmp_path / "rows", data, chunk_bytes=chunk_bytes)[0], expected(data)[0])


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n\n", b"\r\n\r\n\n"])
def test_ends_of_lines_and_files(tmp_path, end):
    for data in (AWKWARD, AWKWARD.replace(b"\n", b"\r\n")):
        data = data.rstrip() + end
        good, bad = expected(data)
        assert len(good) == 9 and not bad
        for chunk_bytes in (1, 2, 500, 1 << 20):
            check(read(tmp_path / "rows", data, chunk_bytes=chunk_bytes)[0], good)


def test_blocks_smaller_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK_ROWS", 4)
    blocks, _ = read(tmp_path / "rows", AWKWARD)
    assert [len(block) for block in blocks] == [4, 4, 1]
    check(blocks, expected(AWKWARD)[0])


def test_files_follow_each_other_through_the_door_of_all_formats(tmp_path):
    data = [text(random.Random(seed), 40) for seed in range(3)]
    paths = [tmp_path / "a", tmp_path / "b.gz", tmp_path / "c"]
    paths[0].write_bytes(data[0])
    paths[1].write_bytes(gzip.compress(data[1]))
    paths[2].write_bytes(b"\xef\xbb\xbf" + data[2])
    blocks = list(open_format(CONFIG).blocks(paths, BadRows("error")))
    check(blocks, [row for part in data for row in expected(part)[0]])


def test_rows_without_label(tmp_path):
    data = b"".join(line.partition(b"\t")[2] for line in AWKWARD.splitlines(keepends=True))
    good, bad = expected(data, labelled=False)
    assert len(good) == 9 and not bad
    check(read(tmp_path / "rows", data, label=False)[0], good, label=False)
    with pytest.raises(DataError, match="line 1: the row has 40 cells; expected 39, separated by tabs: 13 integers and 26"):
        read(tmp_path / "rows", AWKWARD, label=False)


GOOD = row(random.Random(4), label="1")


def changed(column, cell):
    return "\t".join([*GOOD[:column], cell, *GOOD[column + 1 :]])


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
@pytest.mark.parametrize(
    "line, complaint",
    [
        (changed(0, "2"), ", field 'label': '2' is not 0 or 1"),
        (changed(0, ""), ", field 'label': '' is not 0 or 1"),
        (changed(0, "nan"), ", field 'label': 'nan' is not 0 or 1"),
        (changed(0, "-1"), ", field 'label': '-1' is not 0 or 1"),
        (changed(0, "1.00000000001"), ", field 'label': '1.00000000001' is not 0 or 1"),
        (changed(1, "-"), ", field 'I1': '-' is not a finite number, or empty where it is missing"),
        (changed(2, "12a"), ", field 'I2': '12a' is not a finite number, or empty where it is missing"),
        (changed(3, "--5"), ", field 'I3': '--5' is not a finite number"),
        (changed(7, "NaN"), ", field 'I7': 'NaN' is not a finite number"),
        (changed(9, "-inf"), ", field 'I9': '-inf' is not a finite number"),
        (changed(13, "1e999"), ", field 'I13': '1e999' is not a finite number"),
        (changed(13, "5 5"), ", field 'I13': '5 5' is not a finite number"),
        (changed(5, "9" * 400), f", field 'I5': '{'9' * 40}'... is not a finite number"),
        (changed(5, "5\r"), ", field 'I5': '5\\r' is not a finite number"),
        (changed(5, "\x00"), ", field 'I5': '\\x00' is not a finite number"),
        (changed(39, "a\tb"), ": the row has 41 cells; expected 40, separated by tabs: a label, 13 integers and 26"),
        (changed(39, "68fd1e64\t"), ": the row has 41 cells; expected 40"),
        (changed(5, "12\t"), ": the row has 41 cells; expected 40"),
        ("\t".join(GOOD[:-1]), ": the row has 39 cells; expected 40"),
        ("\t".join(GOOD[:13]), ": the row has 13 cells; expected 40"),
        ("1", ": the row has 1 cells; expected 40"),
        ("1\t", ": the row has 2 cells; expected 40"),
        (" ", ": the row has 1 cells; expected 40"),
        ("", ": the line is blank; expected a row, as there are lines below it"),
        ("\r", ": the line is blank; expected a row, as there are lines below it"),
    ],
)
def test_bad_rows_name_line_field_and_text_or_are_skipped(tmp_path, line, complaint, chunk_bytes):
    path, good = tmp_path / "rows", "\t".join(GOOD)
    data = "\n".join([good, good, line, good, line, line, good]).encode()
    with pytest.raises(DataError) as raised:
        read(path, data, chunk_bytes=chunk_bytes)
    assert str(raised.value).startswith(f"{path}, line 3{complaint}")
    blocks, bad_rows = read(path, data, policy="skip", chunk_bytes=chunk_bytes)
    assert bad_rows.count == 3 and [n for n, *_ in rows_of(blocks)] == [0, 1, 3, 6]
    assert [example.removeprefix(f"{path}, ").split(complaint[:2])[0] for example in bad_rows.examples] == [
        "line 3",
        "line 5",
        "line 6",
    ]
    check(blocks, expected(data)[0])


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n", b"\r\n\r\n", gzip.compress(b"")])
def test_an_empty_file_is_an_error(tmp_path, data, policy):
    with pytest.raises(DataError, match="rows: the file is empty; expected a row in every line"):
        read(tmp_path / "rows", data, policy=policy)


def test_a_file_without_a_good_row_yields_nothing(tmp_path):
    blocks, bad_rows = read(tmp_path / "rows", b"a\n\nb\n", policy="skip")
    assert (blocks, bad_rows.count) == ([], 3)


def test_truncated_gzip_is_an_error_under_either_policy(tmp_path):
    packed = gzip.compress(text(random.Random(5), 2000))
    for policy in ("error", "skip"):
        with pytest.raises(DataError, match=r"rows, line \d+ or later: damaged gzip data"):
            read(tmp_path / "rows", packed[: len(packed) // 2], policy=policy, chunk_bytes=10_000)


def test_a_value_of_a_million_characters(tmp_path):
    data = "\n".join([changed(20, "ü" * 500_000), changed(0, "1"), changed(39, "z" * 1_000_000)]).encode()
    check(read(tmp_path / "rows", data, chunk_bytes=1000)[0], expected(data)[0])
    for column in (0, 5):
        data = (changed(column, "1" * 1_000_000) + "\n" + changed(0, "1")).encode()
        blocks, bad_rows = read(tmp_path / "rows", data, policy="skip", chunk_bytes=1000)
        assert bad_rows.count == 1 and len(bad_rows.examples[0]) < 300
        check(blocks, expected(data)[0])


@pytest.mark.parametrize("chunk_bytes", [500, 1 << 20])
def test_a_row_beyond_the_limit_does_not_fill_the_memory(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(source, "MAX_ROW_BYTES", 2000)
    good, path = changed(0, "1"), tmp_path / "rows"
    data = "\n".join([good, "", changed(30, "y" * 5_000_000), good, good]).encode()
    tracemalloc.start()
    blocks, bad_rows = read(path, data, policy="skip", chunk_bytes=chunk_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [n for n, *_ in rows_of(blocks)] == [0, 3, 4]
    assert bad_rows.examples[1] == f"{path}, line 3: the row is longer than 2000 bytes; is a line end missing?"
    assert peak < 4 * chunk_bytes + 2_000_000


def test_memory_is_that_of_a_block_not_of_the_file(tmp_path):
    path, chunk = tmp_path / "rows.gz", text(random.Random(6), 1000)
    path.write_bytes(gzip.compress(chunk * 60, compresslevel=1))
    reader = criteo.Criteo(CONFIG, Schema.from_config(CONFIG), chunk_bytes=1 << 16)
    next(reader.blocks([path], BadRows("error")))  # compiled
    tracemalloc.start()
    rows = sum(map(len, reader.blocks([path], BadRows("error"))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 60_000 and len(chunk) * 60 > 10 * peak


FUZZ = text(random.Random(7), 4)


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(FUZZ)), st.integers(0, 12), st.binary(max_size=12)), max_size=6),
    more=st.lists(st.sampled_from([b"\t", b"\n", b"\r\n", b"1", b"-", b"0" * 8, b"9" * 20, b"e", b"."]), max_size=6),
    chunk_bytes=st.sampled_from([1, 100, 1000, 1 << 20]),
)
def test_damaged_files_keep_their_good_rows(tmp_path_factory, edits, more, chunk_bytes):
    data = bytearray(FUZZ)
    for at, length, patch in edits:
        data[at : at + length] = patch
    for at, patch in enumerate(more):
        data[(at * 397 + 2) % len(data)] = patch[0]
        data[at * 97 : at * 97] = patch
    good, bad = expected(bytes(data))
    path = tmp_path_factory.getbasetemp() / "fuzz"
    try:
        blocks, bad_rows = read(path, bytes(data), policy="skip", chunk_bytes=chunk_bytes)
    except DataError as error:
        assert "damaged" in str(error) and data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))  # of gzip, of Zstandard
        return
    check(blocks, good)
    assert bad_rows.count == len(bad)
    if bad:
        with pytest.raises(DataError, match=f"line {bad[0]}[,:]"):
            read(path, bytes(data), chunk_bytes=chunk_bytes)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), chunk_bytes=st.sampled_from([1, 16, 1 << 20]))
def test_random_bytes(tmp_path_factory, data, chunk_bytes):
    path = tmp_path_factory.getbasetemp() / "bytes"
    try:
        blocks, bad_rows = read(path, data, policy="skip", chunk_bytes=chunk_bytes)
    except DataError:
        return
    assert blocks == [] and bad_rows.count == len(expected(data)[1])
