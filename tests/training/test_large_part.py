"""A training part that is read block by block, against a list of its rows, and against the same part in memory."""

import csv
import errno
import gzip
import random
from pathlib import Path

import pytest
from learnt_samples import learnt, noted_samples
from saved_models import content_of

import deshpc
from deshpc.config.load import build
from deshpc.data.input import open_input
from deshpc.errors import ConfigError, DataError
from deshpc.formats import steady
from deshpc.formats.bad_rows import BadRows
from deshpc.training import api, large_part

ROWS, BATCH, BLOCK = 530, 50, 64
FILES = ((0, 100), (100, 101), (101, 390), (390, ROWS))


def write(folder, kind):
    """Files of rows whose ids are 0, 1, 2, ...; every seventh has a cell of two lines, every eleventh is bad."""
    folder.mkdir()
    drawn = random.Random(5)
    for number, (begin, end) in enumerate(FILES):
        rows = [("maybe" if i % 11 == 5 else i % 3 % 2, i, "two\nlines" if i % 7 == 3 else drawn.randrange(9), drawn.random()) for i in range(begin, end)]
        if kind == "parquet":
            import pyarrow
            import pyarrow.parquet

            columns = {"click": [str(one[0]) for one in rows], "id": [one[1] for one in rows], "word": [str(one[2]) for one in rows], "x": [one[3] for one in rows]}
            pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{number}.parquet", row_group_size=48)
            continue
        with (gzip.open if kind == "gz" else open)(folder / f"{number}.csv{'.gz' * (kind == 'gz')}", "wt", newline="", encoding="utf-8") as out:
            csv.writer(out, lineterminator="\n").writerows([("click", "id", "word", "x"), *rows])


def config(folder, run, kind="csv", **sections):
    fields = [{"name": "id"}, {"name": "word"}, {"name": "x", "kind": "dense"}]
    data = {
        "format": "parquet" if kind == "parquet" else "csv", "train": [str(folder / "*")], "label": "click", "fields": fields,
        "on_bad_row": "skip", "in_memory": "off", **sections.pop("data", {}),
    }  # fmt: skip
    return build(
        {
            "data": data,
            "model": {"name": "deepfm", "dim": 2, "hidden": [3]},
            "train": {"global_batch_samples": BATCH, "shuffle_block_rows": BLOCK, "epochs": 2, "accumulate": "int64", **sections.pop("train", {})},
            "compute": {"threads_per_rank": 1},
            "checkpoint": {"every_steps": 4, "keep": 100},
            "run": {"directory": str(run), "report_interval_s": 1000.0},
        }
    )


GOOD = [i for i in range(ROWS) if i % 11 != 5]


@pytest.fixture
def seen(monkeypatch):
    """See `noted_samples`."""
    return noted_samples(monkeypatch)


@pytest.mark.mpi
@pytest.mark.parametrize("kind", ["csv", "gz", "parquet"])
def test_every_row_once_an_epoch_and_after_a_crash_the_next_one(world, directory, seen, kind, monkeypatch):
    folder, whole, again = directory / "in", directory / "whole", directory / "again"
    monkeypatch.setattr(large_part, "available_bytes", lambda: 10_000)  # less than the samples take
    if world.rank == 0:
        write(folder, kind)
    world.Barrier()
    result = deshpc.train(config(folder, whole, kind, data={"in_memory": "auto"}), world)
    steps = learnt(world, seen, ROWS)
    epochs = [[one for _, ids in steps[first : first + 10] for one in ids] for first in (0, 10)]
    assert [sorted(one) for one in epochs] == [GOOD, GOOD] and epochs[0] != epochs[1] and result.steps == 20
    if kind == "csv":  # the same bits as from memory
        seen.clear()
        deshpc.train(config(folder, directory / "memory", data={"in_memory": "on"}), world)
        assert learnt(world, seen, ROWS) == steps
        assert content_of(directory / "memory/model") == content_of(whole / "model")
    if world.rank == 0:
        import shutil

        shutil.copytree(whole, again)
        shutil.rmtree(again / "model")
        for step in (16, 20):
            shutil.rmtree(again / f"checkpoints/step-{step:012d}", ignore_errors=True)
    world.Barrier()
    if kind == "gz":  # in the middle of an epoch, whose order from memory is another
        with pytest.raises(DataError, match="step 12 is in the middle of an epoch.*: go on with data.in_memory = 'off'"):
            deshpc.train(config(folder, again, kind, data={"in_memory": "on"}), world, resume=True)
    seen.clear()
    resumed = deshpc.train(config(folder, again, kind), world, resume=True)
    assert resumed.resumed_from == 12 and learnt(world, seen, ROWS) == steps[12:]
    assert content_of(again / "model") == content_of(whole / "model")


@pytest.mark.mpi
def test_a_file_that_changes_while_it_is_read_ends_all_ranks(world, directory, monkeypatch):
    folder, original = directory / "in", api.train_epochs
    if world.rank == 0:
        write(folder, "csv")
    world.Barrier()

    def cut(*arguments):
        if world.rank == 0:
            file = folder / "2.csv"
            file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:50]), encoding="utf-8")
        world.Barrier()
        return original(*arguments)

    monkeypatch.setattr(api, "train_epochs", cut)
    with pytest.raises(DataError, match="has changed since it was read first"):
        deshpc.train(config(folder, directory / "run"), world)


def test_what_has_to_know_all_rows_is_refused(tmp_path):
    write(tmp_path / "in", "csv")
    with pytest.raises(ConfigError, match="train.negative_sampling chooses among all rows"):
        deshpc.train(config(tmp_path / "in", tmp_path / "run", train={"negative_sampling": 0.5}))


@pytest.mark.parametrize("kind", ["csv", "gz", "parquet"])
def test_every_reader_of_rows_tries_again(tmp_path, monkeypatch, kind):
    """Every file fails at its first two readings, wherever it is opened, and is gone for a moment between them."""
    write(tmp_path / "in", kind)
    monkeypatch.setattr(steady, "FIRST_WAIT_S", 0.001)
    opened, failed, gone = steady.open_regular, {}, set()

    class Failing:
        def __init__(self, path):
            if path in gone:
                gone.discard(path)
                opened(tmp_path / "not there")
            self._file, self._path = opened(path), path

        def readinto1(self, buffer):
            failed[self._path] = failed.get(self._path, 0) + 1
            if failed[self._path] <= 2:
                gone.add(self._path)
                raise OSError(errno.EIO, "Input/output error")
            return self._file.readinto1(buffer)

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr(steady, "open_regular", Failing)
    source = open_input(config(tmp_path / "in", tmp_path / "run", kind).data)
    assert sum(map(len, source.columns(source.paths("train"), BadRows("skip")))) == len(GOOD)
    assert len(failed) == len(FILES) and min(failed.values()) > 2


def test_readers_open_their_files_in_one_place():
    for path in (Path(deshpc.__file__).parent / "formats").glob("*.py"):
        assert "open_regular(" not in path.read_text(encoding="utf-8") or path.name == "steady.py", path


def test_reading_goes_on_after_an_error_that_passes(tmp_path, monkeypatch, capsys):
    text = "".join(f"{i} line\n" for i in range(200_000))
    file = tmp_path / "rows.csv"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(steady, "FIRST_WAIT_S", 0.001)
    opened, failing = steady.open_regular, [3]

    class Failing:
        """A file that fails with ESTALE, at its third reading first, and that has to be opened again."""

        def __init__(self, path):
            self._file, self._readings, self._stale = opened(path), 0, False

        def readinto1(self, buffer):
            self._readings += 1
            if self._stale or (failing and self._readings == failing[0]):
                self._stale = True
                failing.clear()
                raise OSError(errno.ESTALE, "Stale file handle")
            return self._file.readinto1(buffer)

        def seek(self, *arguments):
            return self._file.seek(*arguments)

        def close(self):
            self._file.close()

    monkeypatch.setattr(steady, "open_regular", Failing)
    with steady.open_steady(file) as source:
        assert source.read().decode() == text
    failing.append(1)
    tries = []
    with pytest.raises(OSError, match="Stale"):
        steady.trying(file, lambda: tries.append(1) or Failing(file).readinto1(failing.append(1) or bytearray(1)))
    assert len(tries) == 1 + steady.TRIES
