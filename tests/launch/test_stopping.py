"""What asks a run to stop: a first signal that is only noted, the time that its Slurm job has, and the words for going on."""

import os
import signal
import time

import pytest

from deshpc.cli.main import _command_to_go_on
from deshpc.launch import signals
from deshpc.launch.failure import exit_code
from deshpc.launch.launcher import ALONE, Launcher
from deshpc.launch.signals import Terminated, signals_noted, signals_raise
from deshpc.launch.walltime import job_end, seconds_left


def send(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.01)


@pytest.fixture(autouse=True)
def interrupts():
    """SIGINT as in a foreground job: shells start others with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def at_once(monkeypatch):
    """Any further signal counts as a second one."""
    monkeypatch.setattr(signals, "_SAME_S", 0.05)


def test_a_second_signal_ends_at_once(at_once):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with signals_raise():
        for first, second, error in (("SIGINT", "SIGINT", KeyboardInterrupt), ("SIGINT", "SIGTERM", Terminated), ("SIGUSR1", "SIGUSR1", Terminated)):
            with pytest.raises(error) as raised, signals_noted("SIGUSR1") as noted:
                noted.note_all()
                assert noted.number is None
                send(first)
                send(first)  # the same, told twice
                assert noted.number == getattr(signal, first)
                time.sleep(0.06)
                send(second)
            assert exit_code(raised.value) == (130 if error is KeyboardInterrupt else 143)
            assert second != "SIGUSR1" or raised.value.args == ("SIGUSR1",)
            if error is Terminated and second == "SIGTERM":
                signal.signal(signal.SIGTERM, signals._raise)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_before_there_is_anything_to_go_on_from_signals_end_at_once():
    with signals_raise(), signals_noted("SIGUSR2") as noted:
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")
        send("SIGUSR2")
        assert noted.number == signal.SIGUSR2


def test_a_handler_of_the_program_stays():
    heard = []
    signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        with signals_noted("SIGUSR1") as noted:
            send("SIGUSR1")
        assert heard == [1] and noted.number is None
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_the_end_of_a_job(tmp_path):
    assert job_end({}) == float("inf") == seconds_left(0.0, 120.0, environment={})
    end = int(time.time()) + 10_000
    of_slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(end)}
    assert job_end(of_slurm) == end
    assert seconds_left(0.0, 120.0, 5.0, of_slurm) == pytest.approx(10_000 - 120, abs=3)
    assert seconds_left(0.0, 2_000.0, 5.0, of_slurm) == pytest.approx(9_000, abs=3)  # a tenth at most
    assert seconds_left(500.0, 10.0, 300.0, of_slurm) == pytest.approx(190)  # its own limit comes first
    assert seconds_left(500.0, 10.0, 600.0, of_slurm) == pytest.approx(-100)  # it is over

    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "JobId=$5 EndTime=2031-02-03T04:05:06 Deadline=N/A"\n', encoding="utf-8")
    scontrol.chmod(0o755)
    asked = {"SLURM_JOB_ID": "7", "PATH": str(tmp_path)}
    assert job_end(asked) == time.mktime((2031, 2, 3, 4, 5, 6, 0, 0, -1))
    scontrol.write_text("#!/bin/sh\necho EndTime=Unknown\n", encoding="utf-8")
    assert job_end(asked) == float("inf")
    assert job_end({"SLURM_JOB_ID": "7", "PATH": str(tmp_path / "none")}) == float("inf")


@pytest.mark.parametrize(
    ("given", "launcher", "text"),
    [
        (["train", "a b.toml"], ALONE, "deshpc train 'a b.toml' --set run.directory=runs/x --resume"),
        (["train", "a.toml", "--overwrite", "--set", "run.directory=mine"], Launcher("Open MPI's mpiexec", 4, 1, 1),
         "mpiexec -n 4 deshpc train a.toml --set run.directory=mine --resume"),
        (["train", "a.toml", "--resume", "--days", "d/*"], Launcher("srun --mpi=pmi2", 2, 0, 0),
         "srun -n 2 deshpc train a.toml --days 'd/*' --set run.directory=runs/x --resume"),
    ],
)  # fmt: skip
def test_the_command_that_goes_on(given, launcher, text):
    assert _command_to_go_on(given, "runs/x", launcher) == text
