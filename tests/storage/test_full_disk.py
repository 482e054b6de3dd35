"""A disk that is full, as a limit on the size of a file: what cannot be written is one error with the path, and nothing half written
is left, whether a write, the last flush or the close meets it.
"""

import json
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from deshpc.errors import DataError
from deshpc.storage.container import Container, ContainerWriter
from deshpc.storage.whole_file import write_text
from deshpc.training.record import Record
from deshpc.training.score_files import open_scores


@contextmanager
def room(nbytes):
    """Files cannot grow beyond so many bytes.  Python ignores SIGXFSZ, so that a write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("numbers", [10, 600, 100_000])  # in the buffer until the end; at the end's flush; at once
def test_a_container(tmp_path, numbers):
    path = tmp_path / "x"
    path.write_text("older")
    with pytest.raises(DataError, match=f"{path}: cannot be written: File too large"), room(64), ContainerWriter(path, "test") as writer:
        writer.add("a", np.arange(numbers))
        writer.finish()
    assert [one.name for one in tmp_path.iterdir()] == ["x"] and path.read_text() == "older"


def test_a_container_that_is_given_up(tmp_path):
    with pytest.raises(RuntimeError), room(64), ContainerWriter(tmp_path / "x", "test") as writer:
        writer.add("a", np.arange(100))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_container_with_just_enough_room(tmp_path):
    with ContainerWriter(tmp_path / "x", "test") as writer:
        writer.add("a", np.arange(100))
        writer.finish()
    size = (tmp_path / "x").stat().st_size
    for limit, fits in ((size, True), (size - 1, False)):
        (tmp_path / "x").unlink()
        try:
            with room(limit), ContainerWriter(tmp_path / "x", "test") as writer:
                writer.add("a", np.arange(100))
                writer.finish()
        except DataError:
            assert not fits and list(tmp_path.iterdir()) == []
        else:
            assert fits and Container(tmp_path / "x").read("a").sum() == 4950


def test_a_text(tmp_path):
    with pytest.raises(OSError), room(10):
        write_text(tmp_path / "x", "much " * 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("limit", [0, 1000])
def test_scores(tmp_path, suffix, limit):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"scores.{suffix}"
    with pytest.raises(DataError, match=f"{path}: cannot be written: .*File too large"), room(limit), open_scores(path, False) as scores:
        for begin in range(0, 50_000, 10_000):
            scores.write("a", np.arange(begin, begin + 10_000), np.random.default_rng(begin).random(10_000))
        scores.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_record_goes_on_without_the_lines_for_which_there_is_no_room(tmp_path, capsys):
    record = Record(tmp_path)
    record.write("start")
    with room(80):
        for event in ("lost " * 20, "too " * 30):
            record.write(event)
    record.write("end")
    record.close()
    lines = (tmp_path / "record.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "end"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"deshpc: warning: {tmp_path}/record.jsonl cannot be written: File too large: lines of it will be missing" or (
        line == f"deshpc: warning: {tmp_path}/record.jsonl cannot be written: No space left on device: lines of it will be missing"
    )
