"""Files divided among workers: against Python's splitting of the same bytes."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.config import DataConfig
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows, merged
from deshpc.formats.byte import occurrences
from deshpc.formats.open import open_format
from deshpc.formats.parts import parts_of
from deshpc.formats.source import Part

LIBSVM = DataConfig(format="libsvm")
LINES = [b"1 3:1 4:0.5\n", b"0 7:2\r\n", b"\n", b"\r\n", b" \t \n", b"# a comment\n", b"x 1:1\n", b"1 1:y\n", b"1" + b" 2:1" * 60 + b"\n"]
TEXT = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(st.sampled_from(LINES), max_size=25), st.sampled_from([b"", b"1 5:1"])
).map(lambda parts: b"".join([parts[0], *parts[1], parts[2]]))


def shares(paths, workers, divisible=True):
    return [parts_of(paths, worker, workers, divisible) for worker in range(workers)]


def bytes_of(part):
    if not isinstance(part, Part):
        with open(part, "rb") as file:
            return file.read()
    with open(part.path, "rb") as file:
        return file.read()[part.begin : part.end]


def read(parts):
    """(labels, BadRows) of some parts."""
    bad_rows = BadRows("skip")
    blocks = list(open_format(LIBSVM).blocks(parts, bad_rows))
    return [label for block in blocks for label in block.labels.tolist()], bad_rows


def expected(texts):
    """(labels of good rows, [(file, line)] of bad ones) by Python, as the format is documented."""
    labels, bad = [], []
    for number, text in enumerate(texts):
        lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        while lines and not lines[-1].strip():
            lines.pop()
        for line, one in enumerate(lines, 1):
            tokens = one.split(b"#")[0].split()
            if tokens and tokens[0] in (b"0", b"1") and b"1:y" not in tokens:
                labels.append(float(tokens[0]))
            elif not one.startswith(b"#"):
                bad.append((number, line))
    return labels, bad


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=3), workers=st.integers(1, 9))
def test_all_parts_in_order_are_the_files(tmp_path_factory, texts, workers):
    folder = tmp_path_factory.getbasetemp()
    paths = [str(folder / f"{i}.svm") for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        with open(path, "wb") as file:
            file.write(text)
    found = shares(paths, workers)
    parts = [part for share in found for part in share]
    assert b"".join(map(bytes_of, parts)) == b"".join(texts)
    for path, text in zip(paths, texts, strict=True):
        own = [part for part in parts if (part.path if isinstance(part, Part) else part) == path]
        assert own
        for part in own[1:]:
            assert text[: part.begin].endswith(b"\n") and text[part.begin :].split(b"\n")[0].strip()
        assert own[0] == path or own[0].begin == 0
        assert own[-1] == path or own[-1].end is None
    labels, bad = expected(texts)
    if any(not text.removeprefix(b"\xef\xbb\xbf").strip() for text in texts):
        with pytest.raises(DataError, match="the file is empty"):
            [read(share) for share in found]
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deshpc.formats.bad_rows._MESSAGES_KEPT", 100)
        results = [read(share) for share in found]
        complaints = merged([one for _, one in results])
    assert [label for some, _ in results for label in some] == labels
    assert complaints.count == len(bad)
    for (number, line), text in zip(bad, complaints.examples, strict=True):
        assert text.startswith((f"{paths[number]}, line {line}:", f"{paths[number]}, line {line},"))


@pytest.mark.parametrize("workers", [1, 2, 3, 40])
def test_work_is_divided_evenly(tmp_path, workers):
    paths = [str(tmp_path / name) for name in "abc"]
    for path, rows in zip(paths, (1000, 1, 4000), strict=True):
        with open(path, "wb") as file:
            file.write(b"1 33:1\n" * rows)
    sizes = [sum(len(bytes_of(part)) for part in share) for share in shares(paths, workers)]
    assert sum(sizes) == 7 * 5001 and max(sizes) - min(sizes) <= 2 * 7


def test_what_cannot_be_divided_goes_to_one_worker(tmp_path):
    paths = [str(tmp_path / name) for name in ("a", "b.gz", "c.gz", "d")]
    for path, text in zip(paths, (b"1 1:1\n" * 9, gzip.compress(b"1 1:1\n" * 999), b"", b""), strict=True):
        with open(path, "wb") as file:
            file.write(text)
    for workers in (1, 2, 5):
        for divisible in (True, False):
            parts = [part for share in shares(paths, workers, divisible) for part in share]
            whole = [part for part in parts if part in paths]
            assert whole == [path for path in paths if path in whole]
            assert whole[-3:] == paths[1:] and len(whole) == len(set(whole))
            assert divisible or len(parts) == 4


def test_a_row_may_be_longer_than_a_share(tmp_path):
    path = str(tmp_path / "rows")
    text = b"1 1:1\n" + b"0" + b" 2:1" * 100_000 + b"\n" + b"1 1:1\n"
    with open(path, "wb") as file:
        file.write(text)
    found = shares([path], 6)
    assert b"".join(bytes_of(part) for share in found for part in share) == text
    assert [label for share in found for label in read(share)[0]] == [1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=2), workers=st.integers(1, 4))
def test_there_is_room_for_every_row_and_key(tmp_path_factory, texts, workers):
    folder = tmp_path_factory.getbasetemp()
    paths = [str(folder / f"room{i}") for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        with open(path, "wb") as file:
            file.write(text)
    for share in shares(paths, workers):
        text = b"".join(map(bytes_of, share))
        lines = sum(len(bytes_of(part).split(b"\n")) - (not bytes_of(part) or bytes_of(part).endswith(b"\n")) for part in share)
        assert open_format(LIBSVM).room(share) == (lines, text.count(b":"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 300))
def test_occurrences_are_those_of_python(text, copies):
    import numpy as np

    data = text * copies
    for wanted in (0, 10, 255):
        assert occurrences(np.frombuffer(bytearray(data), np.uint8), wanted) == data.count(wanted)
