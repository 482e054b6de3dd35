"""Standard output and error of real processes that nobody reads, that are full, or closed: no run ends or waits by them."""

import fcntl
import json
import os
import subprocess
import sys

import pytest
from launching import SMALL_RUN, TIMEOUT_S

from deshpc.errors import DeshpcError

CONFIG = SMALL_RUN + """[compute]
threads_per_rank = 2
[run]
report_interval_s = 0.001
"""


def deshpc(arguments, redirections="", **how):
    """The finished process of a command line of the shell."""
    command = f'exec "{sys.executable}" -m deshpc {arguments} {redirections}'
    return subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False, text=True, **how)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def full_pipe():
    """(reading end, writing end) of a pipe that holds all it can."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * fcntl.fcntl(writing, 1032))  # F_GETPIPE_SZ
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    return reading, writing


def events(folder):
    with open(folder / "runs" / "latest" / "record.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["event"] for line in file]


@pytest.mark.parametrize("redirections", ["2>/dev/full >/dev/full", "2>&- >&-"])
def test_training_ends_well_without_anybody_who_listens(config, redirections):
    done = deshpc(f"train {config}", redirections, cwd=config.parent, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert events(config.parent)[-1] == "result" and (config.parent / "runs/latest/model/manifest.json").exists()


def test_training_does_not_wait_for_a_reader(config):
    reading, writing = full_pipe()
    done = deshpc(f"train {config}", cwd=config.parent, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    os.close(reading)
    assert done.returncode == 0 and "test AUC" in done.stdout
    assert "progress" in events(config.parent) and events(config.parent)[-1] == "result"


def test_what_closed_descriptors_leave_free_no_file_of_a_run_takes(config):
    """A library that writes to standard error would write into it."""
    script = "import os, sys; from deshpc.launch.console import hold_descriptors; hold_descriptors(); " \
             "print(open(sys.argv[1]).fileno() > 2)"
    command = f'"{sys.executable}" -c "{script}" {config} 0<&- 2>&-'
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True, text=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("arguments", ["info --options", "--help"])
@pytest.mark.parametrize(
    ("redirections", "code", "says"),
    [
        (">/dev/full", 1, "deshpc: the result cannot be written to standard output: No space left on device\n"),
        (">&-", 0, ""),
    ],
)
def test_a_result_that_cannot_be_written(arguments, redirections, code, says):
    done = deshpc(arguments, redirections, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (code, says)


def test_a_reader_that_has_had_enough():
    reading, writing = os.pipe()
    os.close(reading)
    done = deshpc("info --options", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (DeshpcError.exit_code, "")
