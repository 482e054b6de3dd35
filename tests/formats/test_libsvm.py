"""libsvm's and libffm's text into columns: against scikit-learn, Python's split and float, and the definition of a key."""

import gzip
import io
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_rows import sparse_rows

from deshpc.config import DataConfig
from deshpc.errors import DataError
from deshpc.formats import libsvm, lines
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.columns import Entries, Multi
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key

SVM = DataConfig(format="libsvm")
FFM = DataConfig(format="libffm", libffm_fields=12)

def expected(data, config=SVM, labelled=True):
    """(number of the row, label, entries) of every good row, and the lines of the bad ones."""
    return sparse_rows(data, None if config is SVM else config.libffm_fields, labelled)


def read(path, data, config=SVM, policy="error", label=True, chunk_bytes=lines.CHUNK_BYTES):
    path.write_bytes(data)
    bad_rows = BadRows(policy)
    reader = libsvm.Libsvm if config is SVM else libsvm.Libffm
    return list(reader(config, Schema.from_config(config, label), chunk_bytes).blocks([path], bad_rows)), bad_rows


def check(blocks, good, config=SVM, label=True):
    rows = []
    for block in blocks:
        column = block.key_fields
        if config is SVM:
            (column,) = column
            assert isinstance(column, Multi)
            fields = np.zeros(len(column.keys), np.uint16)
        else:
            assert isinstance(column, Entries)
            fields = column.fields
        assert block.dense_fields == () and (block.labels is not None) == label
        assert (column.offsets.dtype, column.keys.dtype, fields.dtype) == (np.int64, np.uint64, np.uint16)
        assert column.weights.dtype == np.float32 and len(fields) == len(column.keys) == len(column.weights)
        assert column.offsets[0] == 0 and column.offsets[-1] == len(column.keys) and len(column.offsets) == len(block) + 1
        entries = list(zip(fields.tolist(), column.keys.tolist(), column.weights.tolist(), strict=True))
        labels = block.labels.tolist() if label else [0] * len(block)
        ranges = zip(column.offsets[:-1], column.offsets[1:], strict=True)
        rows += [
            (row, one, entries[start:stop]) for row, one, (start, stop) in zip(block.rows.tolist(), labels, ranges, strict=True)
        ]
    assert rows == good


def value(source):
    return source.choice(
        [
            "1", "0", "-1", "+.5", "5.", "1e-3", "-2E+2", "1234567", "12345678", "123456789012345678", "0.1234567",
            "0.12345678", "-1234567.1234567", "-12345678.1", "00000001.5", "1e-300",
            f"{source.random():.4f}", f"{source.gauss(0, 100):.3g}", repr(source.random()),
        ]
    )  # fmt: skip


def index(source):
    return source.choice(["0", "007", "000", str(source.randrange(10 ** source.randrange(1, 12))), "1" * 30])


def line(source, config=SVM):
    space = source.choice([" "] * 8 + ["\t", "  ", " \t "])
    field = (lambda: "") if config is SVM else lambda: f"{source.choice([source.randrange(12), '00', '011'])}:"
    entries = [f"{field()}{index(source)}:{value(source)}" for _ in range(source.randrange(12))]
    label = source.choice(["0", "1", "+1", "-1", "1.0", "0e5", "-0", "-1.000"])
    comment = source.choice([""] * 6 + [" # 1:2", "#", " ", "\t#x:y"])
    return source.choice(["", "", "", " "]) + space.join([label, *entries]) + comment


def text(config, seed, rows):
    source = random.Random(seed)
    return "\n".join([line(source, config) if source.random() < 0.95 else " # 1 2:3" for _ in range(rows)]).encode()


BOTH = pytest.mark.parametrize("config", [SVM, FFM], ids=["libsvm", "libffm"])


@pytest.mark.parametrize("zero_based", [True, False])
def test_agrees_with_scikit_learn(tmp_path, zero_based):
    datasets = pytest.importorskip("sklearn.datasets")
    rng = np.random.default_rng(8)
    x = rng.normal(size=(300, 40)) * (rng.random((300, 40)) < 0.2) * 10.0 ** rng.integers(-4, 5, 40)
    file = io.BytesIO()
    datasets.dump_svmlight_file(x, rng.choice([-1, 1], 300), file, zero_based=zero_based, comment="made of\nnoise")
    blocks, _ = read(tmp_path / "rows", file.getvalue())
    matrix, labels = datasets.load_svmlight_file(io.BytesIO(file.getvalue()), zero_based=True)
    ((column,),) = (block.key_fields for block in blocks)
    assert blocks[0].labels.tolist() == (labels > 0).tolist()
    assert column.offsets.tolist() == matrix.indptr.tolist()
    assert column.keys.tolist() == [key(0, "feature", str(i)) for i in matrix.indices.tolist()]
    assert column.weights.tolist() == matrix.data.astype(np.float32).tolist()


@BOTH
def test_agrees_with_an_independent_reader(tmp_path, config):
    data = text(config, 1, 3000)
    good, bad = expected(data, config)
    assert len(good) > 2800 and not bad
    for chunk_bytes in (3000, 1 << 20):
        check(read(tmp_path / "rows", data, config, chunk_bytes=chunk_bytes)[0], good, config)


@BOTH
def test_wherever_the_first_chunk_ends(tmp_path, config):
    data = text(config, 2, 12)
    good, bad = expected(data, config)
    assert len(good) > 8 and not bad
    for chunk_bytes in [*range(1, 100), *range(100, len(data) + 20, 3)]:
        check(read(tmp_path / "rows", data, config, chunk_bytes=chunk_bytes)[0], good, config)


@BOTH
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n", "\r\n \n\t\n", "\n# the end", "\n\n# the end"])
def test_ends_of_lines_and_files(tmp_path, config, end):
    for data in (text(config, 3, 9), text(config, 3, 9).replace(b"\n", b"\r\n")):
        data = data.rstrip() + end.encode()
        good, bad = expected(data, config)
        for chunk_bytes in (1, 1 << 20):
            blocks, bad_rows = read(tmp_path / "rows", data, config, "skip", chunk_bytes=chunk_bytes)
            check(blocks, good, config)
            assert bad_rows.count == len(bad) == (end == "\n\n# the end")


@BOTH
def test_blocks_smaller_than_a_chunk(tmp_path, config, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK_ROWS", 4)
    data = text(config, 4, 15)
    good, _ = expected(data, config)
    blocks, _ = read(tmp_path / "rows", data, config)
    assert len(blocks) > 2 and max(map(len, blocks)) == 4
    check(blocks, good, config)


@BOTH
def test_rows_without_label(tmp_path, config):
    entry = "3:" if config is FFM else ""
    data = "\n".join([f"{entry}5:1 {entry}6:.5", f"1 {entry}5:1", "anything", f" ? {entry}1:2 # :", f"{entry}7:1\r"]).encode()
    good, bad = expected(data, config, labelled=False)
    assert not bad and [len(entries) for *_, entries in good] == [2, 1, 0, 1, 1]
    check(read(tmp_path / "rows", data, config, label=False)[0], good, config, label=False)


def test_files_follow_each_other_through_the_door_of_all_formats(tmp_path):
    for config in (SVM, FFM):
        data = [text(config, seed, 30) for seed in range(3)]
        paths = [tmp_path / "a", tmp_path / "b.gz", tmp_path / "c"]
        paths[0].write_bytes(data[0])
        paths[1].write_bytes(gzip.compress(data[1]))
        paths[2].write_bytes(b"\xef\xbb\xbf" + data[2])
        blocks = list(open_format(config).blocks(paths, BadRows("error")))
        check(blocks, [row for part in data for row in expected(part, config)[0]], config)


NO_ENTRY = " is not index:value, where the value is a finite number and all else digits"
NO_FFM_ENTRY = " is not field:index:value, where the value is a finite number and all else digits"


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
@pytest.mark.parametrize(
    "config, bad, complaint",
    [
        (SVM, "2 1:1", ", field 'label': '2' is not 0, 1 or -1 (which stands for 0)"),
        (SVM, "nan 1:1", ", field 'label': 'nan' is not 0, 1 or -1"),
        (SVM, "1:1 2:1", ", field 'label': '1:1' is not 0, 1 or -1"),
        (SVM, "0.5#", ", field 'label': '0.5' is not 0, 1 or -1"),
        (SVM, "1 1:1 2", f", entry 2: '2'{NO_ENTRY}"),
        (SVM, "1 2:", f", entry 1: '2:'{NO_ENTRY}"),
        (SVM, "1 :2", f", entry 1: ':2'{NO_ENTRY}"),
        (SVM, "1 -2:2", f", entry 1: '-2:2'{NO_ENTRY}"),
        (SVM, "1 1:1  +2:2 3:1", f", entry 2: '+2:2'{NO_ENTRY}"),
        (SVM, "1 1.5:2", f", entry 1: '1.5:2'{NO_ENTRY}"),
        (SVM, "1 a:2", f", entry 1: 'a:2'{NO_ENTRY}"),
        (SVM, "1 1:2:3", f", entry 1: '1:2:3'{NO_ENTRY}"),
        (SVM, "1 1::3", f", entry 1: '1::3'{NO_ENTRY}"),
        (SVM, "1 1:nan", f", entry 1: '1:nan'{NO_ENTRY}"),
        (SVM, "1 1:-inf", f", entry 1: '1:-inf'{NO_ENTRY}"),
        (SVM, "1 1:-", f", entry 1: '1:-'{NO_ENTRY}"),
        (SVM, "1 1:.", f", entry 1: '1:.'{NO_ENTRY}"),
        (SVM, "1 1:1.2.3", f", entry 1: '1:1.2.3'{NO_ENTRY}"),
        (SVM, "1 1:3.5e38", f", entry 1: '1:3.5e38'{NO_ENTRY}"),
        (SVM, "1 1:1e999", f", entry 1: '1:1e999'{NO_ENTRY}"),
        (SVM, "1 1:0x1", f", entry 1: '1:0x1'{NO_ENTRY}"),
        (SVM, "1 1:2,2:3", f", entry 1: '1:2,2:3'{NO_ENTRY}"),
        (SVM, "1 qid:7 1:1", f", entry 1: 'qid:7'{NO_ENTRY}; a query id is not supported"),
        (SVM, "1 1:1 \x00:1", f", entry 2: '\\x00:1'{NO_ENTRY}"),
        (SVM, f"1 {'9' * 99}", f", entry 1: '{'9' * 40}'...{NO_ENTRY}"),
        (SVM, "", ": the line is blank; expected a row, as there are lines below it"),
        (SVM, " \t\r", ": the line is blank; expected a row, as there are lines below it"),
        (FFM, "1 1:1", f", entry 1: '1:1'{NO_FFM_ENTRY}"),
        (FFM, "1 11:1:1 12:3:1", ", entry 2: '12:3:1': the field number 12 is not below data.libffm_fields = 12"),
        (FFM, f"1 {'9' * 30}:3:1", f", entry 1: '{'9' * 30}:3:1': the field number {'9' * 30} is not below"),
        (FFM, "1 -1:3:1", f", entry 1: '-1:3:1'{NO_FFM_ENTRY}"),
        (FFM, "1 1::1", f", entry 1: '1::1'{NO_FFM_ENTRY}"),
        (FFM, "1 :1:1", f", entry 1: ':1:1'{NO_FFM_ENTRY}"),
        (FFM, "1 1:2:3:4", f", entry 1: '1:2:3:4'{NO_FFM_ENTRY}"),
        (FFM, "1 1:2:", f", entry 1: '1:2:'{NO_FFM_ENTRY}"),
        (FFM, "7 1:2:3", ", field 'label': '7' is not 0, 1 or -1"),
    ],
)
def test_bad_rows_name_line_entry_and_text_or_are_skipped(tmp_path, config, bad, complaint, chunk_bytes):
    path, good = tmp_path / "rows", "1 3:5:2 3:6:1" if config is FFM else "1 5:2 6:1"
    data = "\n".join([good, "# comment", good, bad, good, bad, bad, good]).encode()
    with pytest.raises(DataError) as raised:
        read(path, data, config, chunk_bytes=chunk_bytes)
    assert str(raised.value).startswith(f"{path}, line 4{complaint}")
    blocks, bad_rows = read(path, data, config, "skip", chunk_bytes=chunk_bytes)
    assert bad_rows.count == 3
    assert [example.startswith(f"{path}, line {n}{complaint}") for n, example in zip((4, 6, 7), bad_rows.examples, strict=True)]
    assert np.concatenate([block.rows for block in blocks]).tolist() == [0, 1, 3, 6]
    check(blocks, expected(data, config)[0], config)


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \n\r\n"])
def test_an_empty_file_is_an_error(tmp_path, data, policy):
    for config in (SVM, FFM):
        with pytest.raises(DataError, match="rows: the file is empty; expected a row in every line"):
            read(tmp_path / "rows", data, config, policy)


def test_truncated_gzip_is_an_error_under_either_policy(tmp_path):
    packed = gzip.compress(text(SVM, 5, 2000))
    for policy in ("error", "skip"):
        with pytest.raises(DataError, match=r"rows, line \d+ or later: damaged gzip data"):
            read(tmp_path / "rows", packed[: len(packed) // 2], policy=policy, chunk_bytes=10_000)


def test_huge_tokens_and_rows(tmp_path):
    million = b"7" * 1_000_000
    data = b"\n".join([b"1 " + million + b":1", b"0 1:0." + million, b"0 " + b"12:1 " * 200_000, b"1 1:1 # " + million])
    check(read(tmp_path / "rows", data, chunk_bytes=1000)[0], [
        (0, 1, [(0, key(0, "feature", million), 1.0)]),
        (1, 0, [(0, key(0, "feature", "1"), np.float32(7 / 9))]),
        (2, 0, [(0, key(0, "feature", "12"), 1.0)] * 200_000),
        (3, 1, [(0, key(0, "feature", "1"), 1.0)]),
    ])  # fmt: skip
    data = b"\n".join([b"1 " + million, million, b"1 1:" + million, b"1 1:1"])
    blocks, bad_rows = read(tmp_path / "rows", data, policy="skip", chunk_bytes=1000)
    assert bad_rows.count == 3 and max(map(len, bad_rows.examples)) < 300
    check(blocks, expected(b"\n\n\n1 1:1")[0])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.from_regex(r"[+-]?([0-9]{1,9}|[0-9]{1,8}\.[0-9]{0,9}|\.[0-9]{1,9})([eE][+-]?[0-9]{1,2})?", fullmatch=True)
        | st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
        min_size=1,
        max_size=20,
    )
)
def test_values_are_rounded_as_numpy_rounds_them(tmp_path_factory, texts):
    data = "1 " + " ".join(f"{i}:{one}" for i, one in enumerate(texts)) + "\n"
    with np.errstate(over="ignore"):
        wanted = np.array([float(one) for one in texts]).astype(np.float32)
    path = tmp_path_factory.getbasetemp() / "values"
    if not np.isfinite(wanted).all():
        with pytest.raises(DataError, match=f"entry {int(np.argmin(np.isfinite(wanted))) + 1}:"):
            read(path, data.encode())
        return
    ((column,),) = (block.key_fields for block in read(path, data.encode())[0])
    np.testing.assert_array_equal(column.weights.view(np.uint32), wanted.view(np.uint32))


def test_the_middle_between_two_float32_is_rounded_once_and_exactly(tmp_path):
    rng = np.random.default_rng(10)
    halves = [2.0**-k * (rng.integers(1 << 23, 1 << 24, 400) + 0.5) for k in range(1, 7)]
    texts = [repr(x) for x in np.concatenate(halves).tolist() if x < 10_000_000]
    column = read(tmp_path / "rows", ("1 " + " ".join(f"1:{one}" for one in texts)).encode())[0][0].key_fields[0]
    assert column.weights.tolist() == np.array(texts, np.float64).astype(np.float32).tolist()


PATCHES = [b":", b" ", b"#", b"\n", b"\r\n", b"0", b"-", b"9" * 20, b"e", b".", b"1:1", b"\t"]


@settings(max_examples=200, deadline=None)
@given(
    config=st.sampled_from([SVM, FFM]),
    labelled=st.booleans(),
    seed=st.integers(0, 3),
    edits=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 8), st.binary(max_size=6) | st.sampled_from(PATCHES)), max_size=8
    ),
    chunk_bytes=st.sampled_from([1, 100, 1 << 20]),
)
def test_damaged_files_keep_their_good_rows(tmp_path_factory, config, labelled, seed, edits, chunk_bytes):
    data = bytearray(text(config, seed, 6))
    for at, length, patch in edits:
        at %= len(data) + 1
        data[at : at + length] = patch
    data = bytes(data)
    good, bad = expected(data, config, labelled)
    path = tmp_path_factory.getbasetemp() / "fuzz"
    try:
        blocks, bad_rows = read(path, data, config, "skip", labelled, chunk_bytes)
    except DataError as error:
        assert ("damaged" in str(error)) == data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))  # of gzip, of Zstandard
        assert "damaged" in str(error) or "is packed by" in str(error) or not data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
        return
    check(blocks, good, config, labelled)
    assert bad_rows.count == len(bad)
    if bad:
        with pytest.raises(DataError, match=f"line {bad[0]}[,:]"):
            read(path, data, config, label=labelled, chunk_bytes=chunk_bytes)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), config=st.sampled_from([SVM, FFM]), chunk_bytes=st.sampled_from([1, 16, 1 << 20]))
def test_random_bytes(tmp_path_factory, data, config, chunk_bytes):
    path = tmp_path_factory.getbasetemp() / "bytes"
    try:
        blocks, bad_rows = read(path, data, config, "skip", chunk_bytes=chunk_bytes)
    except DataError:
        return
    good, bad = expected(data, config)
    check(blocks, good, config)
    assert bad_rows.count == len(bad)
    assert math.isfinite(sum(float(block.key_fields[0].weights.sum()) for block in blocks if config is SVM))
