"""Delta checkpoints and delta exports of a run whose rows come and go, ended at drawn moments: against a run that was never ended, whose
checkpoints are all whole.
"""

import json
import random
import shutil
from pathlib import Path

import pytest
from every_kind import FIELDS, make_rows, write_csv
from mpi4py import MPI
from saved_models import assert_same_rows, content_of, joined

import deshpc
from deshpc.checkpoint.folders import step_folder, step_folders
from deshpc.checkpoint.load import dense_parameters, row_blocks, verify, waiting_keys
from deshpc.checkpoint.manifest import read_manifest
from deshpc.cli.tables import training_table
from deshpc.errors import DataError
from deshpc.serve.exports import Exports, newest_chain
from deshpc.storage.container import ContainerWriter
from deshpc.training import loop

ROWS, STEPS = 120, 24


class Ended(BaseException):
    """As a signal ends a run."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.csv"
    write_csv(path, make_rows(1, ROWS))
    return path


def config(folder, data, export=False, **checkpoint):
    return {
        "data": {"label": "click", "fields": FIELDS, "train": [str(data)]},
        "model": {"name": "fm", "dim": 3, "init_std": 0.1},
        "optimizer": {"name": "ftrl", "learning_rate": 0.2, "l1": 0.05},
        "train": {"global_batch_samples": 10, "epochs": 2},
        "table": {"max_age_steps": 5, "half_life_steps": 3, "max_rows": 60, "admit_after": 2, "evict_every_steps": 3, "zero_age_steps": 4},
        "checkpoint": {"every_steps": 1, "keep": 100, **checkpoint},
        "export": {**(export or {}), "deltas": bool(export)},
        "compute": {"threads_per_rank": 1},
        "run": {"directory": str(folder), "report_interval_s": 1000.0},
    }


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """(folder of the run that was never ended, {steps: its whole export})."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    deshpc.train(config(folder, data), MPI.COMM_SELF)
    exports = {}
    for steps, checkpoint in step_folders(folder):
        deshpc.export(checkpoint, folder / "export")
        exports[steps] = (folder / "export").read_bytes()
    assert sorted(exports) == list(range(1, STEPS + 1)) and len(set(exports.values())) == STEPS
    return folder, exports


def content(folder):
    """(Rows, waiting keys, dense parameters) of a checkpoint."""
    manifest = read_manifest(folder)
    return joined(row_blocks(folder, manifest)), waiting_keys(folder, manifest), dense_parameters(folder, manifest)


def assert_same_checkpoint(folder, expected):
    assert verify(folder)["rows"] == read_manifest(expected)["rows"]
    (rows, waiting, dense), (other, others, other_dense) = content(folder), content(expected)
    assert_same_rows(rows, other)
    assert all((one == two).all() for one, two in zip(waiting, others, strict=True))
    assert {name: array.tobytes() for name, array in dense.items()} == {name: array.tobytes() for name, array in other_dense.items()}


@pytest.mark.thorough(4)
@pytest.mark.parametrize("seed", [1, 2])
def test_drawn_schedules_and_ends(data, whole, tmp_path, monkeypatch, seed):
    """Every export, folded with those before it, is the whole export of its step; every checkpoint has the rows of a whole one."""
    draw = random.Random(seed)
    folder, predictor, served = tmp_path / "run", None, []
    reference, expected = whole
    steps, finish = loop.steps, ContainerWriter.finish
    ends = [("step", draw.randrange(2, STEPS)), ("file", draw.randrange(1, 20)), ("export", draw.randrange(1, 4)), (None, 0)]
    draw.shuffle(ends[:3])

    def ended_steps(*arguments):
        for step in steps(*arguments):
            if end == ("step", step.batch.step):
                raise Ended
            yield step

    def ended_finish(writer):
        nonlocal files
        files[writer.path.suffix in (".model", ".delta")] += 1
        if end in (("file", files[False]), ("export", files[True])):
            raise Ended
        finish(writer)

    monkeypatch.setattr(loop, "steps", ended_steps)
    monkeypatch.setattr(ContainerWriter, "finish", ended_finish)
    for end in ends:  # noqa: B007  the functions above look at it
        files = [0, 0]
        schedule = config(
            folder, data, {"every_checkpoints": draw.randint(1, 2), "full_every": draw.choice([0, 2, 3])}, every_steps=draw.randint(1, 3),
            full_every=draw.randint(2, 5), background=False,
        )  # fmt: skip
        try:
            deshpc.train(schedule, MPI.COMM_SELF, resume=True)
        except Ended:
            assert end[0] is not None
        if newest_chain(folder / "exports"):
            predictor = predictor or deshpc.Predictor(newest_chain(folder / "exports")[0])
            predictor.follow(folder / "exports")
            served.append(predictor.identity)
    assert content_of(folder / "model") == content_of(reference / "model")
    paths = sorted((folder / "exports").iterdir())
    assert [int(path.stem.partition("-")[2]) for path in paths] == list(range(len(paths)))
    identities, deltas, base, after = [], 0, None, []
    for path in paths:
        base, after = (path, []) if path.suffix == ".model" else (base, [*after, path])
        deltas += path.suffix == ".delta"
        deshpc.fold(base, after, tmp_path / "folded")
        whole_export = deshpc.Predictor(tmp_path / "folded")
        assert (tmp_path / "folded").read_bytes() == expected[whole_export.model.steps]
        identities.append(whole_export.identity)
    assert whole_export.model.steps == STEPS and deltas > 2
    assert set(served) <= set(identities) and served[-1] == identities[-1]
    checkpoints = step_folders(folder)
    assert sum("base" in read_manifest(checkpoint) for _, checkpoint in checkpoints) > 3
    for steps_made, checkpoint in checkpoints:
        assert_same_checkpoint(checkpoint, step_folder(reference, steps_made))


def test_what_is_needed_stays_and_what_is_damaged_is_named(data, whole, tmp_path):
    reference, _ = whole
    deshpc.train(config(tmp_path / "run", data, keep=2, every_steps=3, full_every=4), MPI.COMM_SELF)  # whole: 3, 15
    kept = step_folders(tmp_path / "run")
    assert [steps for steps, _ in kept] == [24, 21]
    assert [read_manifest(folder).get("base", {}).get("steps") for _, folder in kept] == [15, 15]
    for steps, folder in kept:
        assert_same_checkpoint(folder, step_folder(reference, steps))
    deshpc.train(config(tmp_path / "again", data, every_steps=3, full_every=4), MPI.COMM_SELF)
    folder = step_folder(tmp_path / "again", 18)
    for name, damage, words in (
        ("rank-00000-of-00001.rows", shutil.copy, r"step-000000000018/rank-00000-of-00001.rows: damaged, or a file of another model"),
        ("base/rank-00000-of-00001.rows", None, r"step-000000000018/base/rank-00000-of-00001.rows: "),
        ("base/manifest.json", None, r"step-000000000018/base/manifest.json: "),
        ("base/manifest.json", shutil.copy, r"step-000000000018/base: is a model after 3 steps .* expected the whole checkpoint after 15 steps"),
    ):
        saved = (folder / name).read_bytes()
        (folder / name).unlink()
        if damage:
            damage(step_folder(tmp_path / "again", 3) / Path(name).name, folder / name)
        with pytest.raises(DataError, match=words):
            verify(folder)
        (folder / name).write_bytes(saved)
    verify(folder)
    for steps in (24, 18):  # one file with 15, 21 and 24; another one since it was put back above
        path = step_folder(tmp_path / "again", steps) / "base" / "rank-00000-of-00001.rows"
        path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(tmp_path / "again" / "model")
    result = deshpc.train(config(tmp_path / "again", data, every_steps=3, full_every=4), MPI.COMM_SELF, resume=True)
    assert result.resumed_from == 12
    assert content_of(tmp_path / "again" / "model") == content_of(reference / "model")


def test_a_chain_that_is_lost_begins_anew(whole, tmp_path, capsys):
    reference, expected = whole
    exports = Exports(tmp_path / "exports", keep=1)
    first, second, third = (exports.add(step_folder(reference, steps)) for steps in (1, 2, 3))
    assert [path.suffix for path in (first, second, third)] == [".model", ".delta", ".delta"] and exports.add(step_folder(reference, 3)) is None
    second.write_bytes(second.read_bytes()[:-9])
    with pytest.raises(DataError, match="export-00000001.delta: "):
        deshpc.Predictor(tmp_path / "exports")
    fourth = Exports(tmp_path / "exports", keep=1).add(step_folder(reference, 4))
    assert fourth.read_bytes() == expected[4] and sorted((tmp_path / "exports").iterdir()) == [fourth]
    assert "export-00000001.delta" in capsys.readouterr().err
    Exports(tmp_path / "exports").add(step_folder(reference, 5))
    predictor = deshpc.Predictor(tmp_path / "exports")
    assert predictor.model.steps == 5 and predictor.follow(tmp_path / "exports") == 0
    (tmp_path / "exports" / "export-00000004.delta").rename(tmp_path / "exports" / "export-00000005.delta")
    with pytest.raises(DataError, match="export-00000005.delta: the export before it is missing"):
        predictor.follow(tmp_path / "exports")


def test_days_as_deltas(data, tmp_path):
    for day in (1, 2, 3):
        shutil.copy(data, tmp_path / f"day_{day}.csv")
    options = config(tmp_path / "run", data, {}, every_steps=0)
    options["export"]["deltas"] = True
    deshpc.train_days(options, str(tmp_path / "day_*"), MPI.COMM_SELF)
    chain = newest_chain(tmp_path / "run" / "exports")
    assert [path.suffix for path in chain] == [".model", ".delta", ".delta"]
    deshpc.fold(chain[0], chain[1:], tmp_path / "folded")
    deshpc.export(tmp_path / "run", tmp_path / "export")
    assert (tmp_path / "folded").read_bytes() == (tmp_path / "export").read_bytes()
    assert not list((tmp_path / "run").rglob("exported.model"))
    assert json.loads((tmp_path / "run" / "record.jsonl").read_text().splitlines()[1])["event"] == "day"


def test_an_export_that_fails_is_told_and_the_run_goes_on(data, whole, tmp_path, monkeypatch, capfd):
    """As a disk that is full for a while: the next export is what it would have been, and the run says at its end how many are missing."""
    add, calls = Exports.add, []

    def failing(self, folder):
        calls.append(folder)
        if len(calls) in (2, 3):
            raise DataError("no space left")
        return add(self, folder)

    monkeypatch.setattr(Exports, "add", failing)
    result = deshpc.train(config(tmp_path, data, {"every_checkpoints": 1}, background=False), MPI.COMM_SELF)
    assert result.failed_exports == 2 and result.steps == STEPS and "exports: 2 models" in training_table(result)
    assert result.checkpoints == STEPS and 0 < result.longest_stall_s <= result.checkpoint_stall_s
    assert capfd.readouterr().err.count("is not exported: no space left; training goes on") == 2
    base, *after = newest_chain(tmp_path / "exports")
    deshpc.fold(base, after, tmp_path / "folded")
    assert (tmp_path / "folded").read_bytes() == whole[1][STEPS]
