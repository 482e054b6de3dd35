"""A run that is asked to stop, by a signal to one rank or by the clock, against the run that nobody asked.

All ranks end behind a checkpoint of the same step, and go on from it with the same bits, however often that happens.
"""

import json
import os
import signal
from itertools import count, pairwise

import pytest
from saved_models import content_of

import deshpc
from deshpc.checkpoint.folders import step_folders
from deshpc.comm.handle import done
from deshpc.config.load import build
from deshpc.errors import Stopped
from deshpc.training import loop, meetings
from deshpc.training.meetings import Meetings

ROWS, BATCH, STEPS = 2_450, 400, 14  # 7 steps an epoch


def config(directory, **checkpoint):
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": ROWS, "valid_rows": 300, "test_rows": 0}},
            "model": {"dim": 4}, "optimizer": {"learning_rate": 0.3},
            "train": {"global_batch_samples": BATCH, "epochs": 2, "evaluate_every_steps": 5, "overlap": "on"},
            "compute": {"threads_per_rank": 1}, "checkpoint": checkpoint,
            "run": {"directory": str(directory), "report_interval_s": 1000.0},
        }
    )  # fmt: skip


@pytest.fixture
def whole(world, directory):
    """Content of the model of a run that nobody asked, and its evaluations."""
    deshpc.train(config(directory / "whole"), world)
    return content_of(directory / "whole" / "model"), evaluations(directory / "whole")


@pytest.fixture
def losses(monkeypatch):
    """The numbers of the steps that are trained; a rank gets SIGUSR1 behind some of them, if `signalled` has it."""
    found, steps = [], loop.steps

    def recorded(*arguments):
        for one in steps(*arguments):
            found.append(one.batch.step)
            if one.batch.step in recorded.signalled:
                os.kill(os.getpid(), signal.SIGUSR1)
            yield one

    recorded.signalled = ()
    monkeypatch.setattr(loop, "steps", recorded)
    return found, recorded


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(meetings, "_EVERY_S", 0.0)  # a meeting at every batch


def evaluations(directory):
    lines = [json.loads(line) for line in (directory / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: {**line, "time_s": 0} for line in lines if line["event"] == "valid"}


@pytest.mark.mpi
@pytest.mark.parametrize("step", [2, 6, 13])
def test_a_signal_to_one_rank_stops_all_behind_a_checkpoint(world, directory, whole, losses, step):
    """In the middle, at the end of an epoch, and behind the last step."""
    trained, recorded = losses
    trained.clear()
    if world.rank == world.size - 1:
        recorded.signalled = (step,)
    run = directory / "run"
    with pytest.raises(Stopped, match="SIGUSR1") as stopped:
        deshpc.train(config(run), world)
    assert stopped.value.exit_code == 75 and stopped.value.agreed == world.size
    made = stopped.value.steps
    assert world.allgather(made) == [made] * world.size and step < made <= step + 4
    assert trained == list(range(made)) and [steps for steps, _ in step_folders(run)] == [made]
    recorded.signalled = ()
    result = deshpc.train(config(run), world, resume=True)
    assert (result.resumed_from, result.steps) == (made, STEPS) and trained == list(range(STEPS))
    assert (content_of(run / "model"), evaluations(run)) == whole


@pytest.mark.mpi
def test_a_run_whose_time_is_always_up_comes_to_its_end(world, directory, whole, losses):
    trained, run = losses[0], directory / "run"
    trained.clear()
    for _ in range(STEPS + 2):
        try:
            deshpc.train(config(run, walltime_s=1e-9), world, resume=True)
            break
        except Stopped as stopped:
            assert "the time limit" in str(stopped) and str(run) in str(stopped)
    assert trained == list(range(STEPS))
    assert (content_of(run / "model"), evaluations(run)) == whole


@pytest.mark.mpi
def test_checkpoints_by_the_clock(world, directory, whole):
    run = directory / "run"
    deshpc.train(config(run, every_minutes=1e-9, keep=100, background=False), world)
    found = [steps for steps, _ in step_folders(run)]
    assert len(found) > STEPS // 4 and found[0] <= STEPS
    assert (content_of(run / "model"), evaluations(run)) == whole
    result = deshpc.train(config(run, every_minutes=1e9, keep=100), world, resume=True)
    assert result.resumed_from == found[0] and [steps for steps, _ in step_folders(run)] == found
    lines = [json.loads(line) for line in (run / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    written = [line for line in lines if line["event"] == "checkpoint"]
    assert [line["step"] for line in written] == found[::-1] and all(line["stall_s"] > 0 for line in written)


class _Told:
    """A group of three ranks, of which this one is the first; the others want nothing and take a thousandth of a second a batch."""

    def gather_numbers(self, numbers):
        self.gathers = getattr(self, "gathers", 0) + 1
        return self

    def wait(self):
        import numpy as np

        return np.array([[0, 0.0], [0, 0.001], [7 if self.gathers > 3 else 0, 0.0005]])


class _Alone:
    """A group of one rank, to which it tells what it says itself; notes when."""

    def __init__(self, clock):
        self._clock, self.times = clock, []

    def gather_numbers(self, numbers):
        self.times.append(self._clock())
        return done(numbers[None])


@pytest.mark.parametrize("batch_s", [0.001, 0.01, 0.1])
def test_meetings_are_a_quarter_of_a_second_apart(monkeypatch, batch_s):
    monkeypatch.setattr(meetings, "_EVERY_S", 0.25)
    now = [1.0]
    group = _Alone(lambda: now[0])
    for _ in Meetings(group, lambda: 0, clock=lambda: now[0]).before_each(range(round(20 / batch_s))):
        now[0] += batch_s
    apart = [after - before for before, after in pairwise(group.times)]
    assert max(apart) < 0.25 + batch_s / 2 and sorted(apart)[len(apart) // 2] > 0.19


def test_what_was_agreed_on_counts_once(monkeypatch):
    monkeypatch.setattr(meetings, "_EVERY_S", 0.25)
    now, wish = [1.0], [0]
    meeting = Meetings(_Alone(lambda: 0), lambda: wish[0], clock=lambda: now[0])
    for _ in meeting.before_each(range(3)):
        now[0] += 0.001
    wish[0] = 7
    assert meeting.last() == 7
    wish[0] = 0
    assert list(meeting.before_each(range(5))) == list(range(5)) and meeting.agreed == 0


def test_meetings_come_by_time_not_by_batches(monkeypatch):
    monkeypatch.setattr(meetings, "_EVERY_S", 0.25)
    group = _Told()
    meeting = Meetings(group, lambda: 0, clock=count().__next__)
    passed = list(meeting.before_each(range(2000)))
    assert passed == list(range(1 + 3 * 250)) and group.gathers == 4 and meeting.agreed == 7
    assert list(meeting.before_each(range(5))) == list(range(1)) and meeting.agreed == 7  # begun anew, and agreed on again
