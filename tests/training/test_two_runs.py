"""Two runs in one folder: one has it, and what it leaves there is its own."""

import json
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from launching import TIMEOUT_S, errors
from saved_models import content_of, files_of

import deshpc
from deshpc.checkpoint.folders import step_folders
from deshpc.checkpoint.load import verify
from deshpc.config.load import build
from deshpc.errors import ConfigError, DeshpcError
from deshpc.storage.lock import Lock
from deshpc.training import loop
from deshpc.training.record import Record

CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 40_000, valid_rows = 0, test_rows = 100 }
[model]
dim = 4
[train]
global_batch_samples = 100
[compute]
threads_per_rank = 1
[checkpoint]
every_steps = 20
[run]
directory = "run"
"""


def config(directory, **sections):
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": 900, "valid_rows": 200, "test_rows": 100}},
            "model": {"dim": 4}, "compute": {"threads_per_rank": 1}, "checkpoint": {"every_steps": 3, "background": False},
            "train": {"global_batch_samples": 100, **sections.pop("train", {})}, "run": {"directory": str(directory)},
        }
    )  # fmt: skip


@pytest.mark.mpi
def test_a_folder_that_is_in_use_is_left_as_it_is(world, directory):
    """By a run of this very process, on rank 0: every rank gets the refusal."""
    deshpc.train(config(directory), world)
    held = Lock(directory / "lock", "it")
    if world.rank == 0:
        held.take()
    world.Barrier()
    before = files_of(directory)
    for resume in (False, True):
        with pytest.raises(ConfigError, match="run.directory = .* is in use by another run .process .* choose another folder") as caught:
            deshpc.train(config(directory), world, resume=resume)
        assert caught.value.exit_code == 2
    assert files_of(directory) == before
    world.Barrier()
    if world.rank == 0:
        held.release()
    assert deshpc.train(config(directory), world, resume=True).resumed_from == 9
    assert not (directory / "lock").exists()


@pytest.mark.mpi
def test_a_failed_run_gives_the_folder_back(world, directory, monkeypatch):
    """Refused after it has taken the folder, and ended under way, a checkpoint being written: there is none afterwards."""
    deshpc.train(config(directory), world)
    with pytest.raises(ConfigError, match="add --resume"):
        deshpc.train(config(directory), world)
    world.Barrier()
    assert not (directory / "lock").exists()
    monkeypatch.setattr(loop, "math", SimpleNamespace(isfinite=lambda loss: not step_folders(directory / "other")))
    with pytest.raises(DeshpcError, match="diverged"):
        deshpc.train(config(directory / "other"), world)
    world.Barrier()
    assert not (directory / "other" / "lock").exists() and len(step_folders(directory / "other")) == 1


@pytest.mark.mpi
def test_every_file_names_the_run_that_the_record_names(world, directory):
    deshpc.train(config(directory, train={"stop_metric": "log_loss", "evaluate_every_steps": 4}), world)
    deshpc.train(config(directory, train={"stop_metric": "log_loss", "evaluate_every_steps": 4, "epochs": 2}), world, resume=True)
    lines = [json.loads(line) for line in (directory / "record.jsonl").read_text().splitlines()]
    first, second = (line["run"] for line in lines if line["event"] == "start")
    (resume,) = (line for line in lines if line["event"] == "resume")
    assert first != second and resume["of_run"] == first
    runs = {steps: verify(folder)["run"] for steps, folder in step_folders(directory)}
    assert runs and all(run == (first if steps <= resume["step"] else second) for steps, run in runs.items())
    assert verify(directory / "model")["run"] in (first, second)


@pytest.mark.parametrize("when", ["valid", "result"])
@pytest.mark.parametrize("how", ["gone", "another's"])
def test_a_run_that_has_lost_its_folder_publishes_nothing(world, tmp_path, monkeypatch, when, how):
    """The lock goes when the run is under way: what is there then is there in the end."""
    deshpc.train(config(tmp_path, train={"seed": 2}), world)
    shutil.rmtree(tmp_path / "checkpoints")
    write, kept = Record.write, {}

    def lose(self, event, **entries):
        if event == when:
            (tmp_path / "lock").unlink()
            if how != "gone":
                other = Lock(tmp_path / "lock", "it")
                other.take()
                kept["other"] = other
            kept["files"] = files_of(tmp_path)
        write(self, event, **entries)

    monkeypatch.setattr(Record, "write", lose)
    with pytest.raises(DeshpcError, match="is no longer this run's") as caught:
        deshpc.train(config(tmp_path, train={"evaluate_every_steps": 5}), world, overwrite=True)
    assert caught.value.exit_code == 1
    assert files_of(tmp_path) == kept["files"]
    if how != "gone":
        kept["other"].require()
        kept["other"].release()


def test_a_model_is_not_published_without_the_lock(world, tmp_path, monkeypatch):
    """Lost between the last line of the record and the end: the model of the run before stays."""
    deshpc.train(config(tmp_path, train={"seed": 2}), world)
    shutil.rmtree(tmp_path / "checkpoints")
    before = files_of(tmp_path / "model")
    measure = sys.modules["deshpc.training.api"].measured

    def lose(*arguments, **named):
        (tmp_path / "lock").unlink(missing_ok=True)
        return measure(*arguments, **named)

    monkeypatch.setattr(sys.modules["deshpc.training.api"], "measured", lose)
    with pytest.raises(DeshpcError, match="is no longer this run's: .*lock is gone"):
        deshpc.train(config(tmp_path), world, overwrite=True)
    assert files_of(tmp_path / "model") == before


def start(folder, seed, *options):
    command = [sys.executable, "-m", "deshpc", "train", "run.toml", "--set", f"train.seed={seed}", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process):
    """(exit code, deshpc's lines) of a process."""
    process.stderr_text = process.communicate(timeout=TIMEOUT_S)[1]
    return process.returncode, errors(subprocess.CompletedProcess([], process.returncode, "", process.stderr_text))


def test_processes_that_begin_at_once_and_one_that_is_killed(tmp_path):
    """One of two gets the folder; killed, it is in nobody's way; the model in the end is that of the seed that was alone."""
    (tmp_path / "run.toml").write_text(CONFIG)
    both = [start(tmp_path, seed) for seed in (1, 2)]
    lock = tmp_path / "run" / "lock"
    while all(process.poll() is None for process in both):  # one is refused, the other trains
        time.sleep(0.01)
    loser = next(process for process in both if process.poll() is not None)
    winner = both[1 - both.index(loser)]
    code, lines = ended(loser)
    assert code == 2 and len(lines) == 1 and f"is in use by another run (process {winner.pid} on " in lines[0]
    assert json.loads(lock.read_text())["process"] == winner.pid
    while not step_folders(tmp_path / "run") and winner.poll() is None:
        time.sleep(0.01)
    winner.send_signal(signal.SIGKILL)
    assert ended(winner)[0] == -signal.SIGKILL and lock.exists()
    seed = 1 + both.index(winner)
    assert ended(start(tmp_path, seed, "--resume"))[0] == 0
    assert not lock.exists()
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "run.toml").write_text(CONFIG)
    assert ended(start(alone, seed))[0] == 0
    assert content_of(tmp_path / "run" / "model") == content_of(alone / "run" / "model")
    assert all(verify(folder) for _, folder in step_folders(tmp_path / "run"))
