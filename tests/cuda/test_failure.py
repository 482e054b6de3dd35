"""A device that fails on one rank in the middle of a run ends the job, at once, with one message that names the rank.

The device is an executor that dies as CUDA does: from the first error on, whatever it is asked for meets that error again.
"""

import json
import time
from pathlib import Path

import pytest
from cuda_device import REAL
from launching import SMALL_RUN, errors, run

pytestmark = pytest.mark.skipif(REAL, reason="a real device is not to die")

TESTS = Path(__file__).parents[1]
ENDS_WITHIN_S = 60  # as in launch/test_failure.py
CONFIG = SMALL_RUN + '[compute]\nbackend = "cuda"\nthreads_per_rank = 1\n[run]\nsave_model = false\n'
SCRIPT = """
import json
import sys
import time
from pathlib import Path

settings = json.loads(sys.argv[1])
sys.path[:0] = settings["path"]
from executor.device import ExecutorDevice

from deshpc.backend.cuda import device as cuda_device
from deshpc.cli.main import main
from deshpc.launch.launcher import launcher
from deshpc.model.model import Model


class CUDARuntimeError(RuntimeError):
    pass


class DyingDevice(ExecutorDevice):
    error = None

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if name in settings["methods"] and self.error is not None:
            raise self.error
        return found


def update(model, *arguments):
    settings["updates"] -= 1
    if settings["updates"] == 0 and launcher().rank in settings["ranks"]:
        Path(settings["time"]).write_text(str(time.time()))
        device.error = {"CUDARuntimeError": CUDARuntimeError, "MemoryError": MemoryError}[settings["kind"]](settings["text"])
    return original(model, *arguments)


device, original, Model.update = DyingDevice(mode="fast"), Model.update, update
cuda_device.open_device = lambda node_rank: device
sys.exit(main(["train", settings["config"]]))
"""
ALL = ["empty", "zeros", "to_device", "to_host", "into_host", "start_into_host", "copy", "mark", "wait", "launch", "synchronize"]
ILLEGAL = "cudaErrorIllegalAddress: an illegal memory access was encountered"


@pytest.mark.thorough(1)
@pytest.mark.parametrize(
    ("kind", "methods", "text", "line"),
    [
        ("CUDARuntimeError", ALL, ILLEGAL, "deshpc: rank 1 of 3: failed"),
        ("CUDARuntimeError", ["wait", "to_host", "into_host"], "cudaErrorLaunchFailure: unspecified launch failure", "deshpc: rank 1 of 3: failed"),
        (
            "MemoryError", ["launch"], "Out of memory allocating 1,024 bytes (allocated so far: 512 bytes).",
            "deshpc: rank 1 of 3: out of memory: Out of memory allocating 1,024 bytes (allocated so far: 512 bytes). (in 'update' of step 2)",
        ),
    ],
    ids=["whatever it is asked", "where the host waits", "memory"],
)  # fmt: skip
def test_an_error_of_one_rank_s_device_ends_all(tmp_path, kind, methods, text, line):
    config, begin = tmp_path / "a.toml", tmp_path / "time"
    config.write_text(CONFIG, encoding="utf-8")
    settings = {
        "path": [str(TESTS), str(TESTS / "support")], "kind": kind, "methods": methods, "text": text, "ranks": [1], "updates": 7,
        "config": str(config), "time": str(begin),
    }  # fmt: skip
    done = run("-c", SCRIPT, json.dumps(settings), ranks=3, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert time.time() - float(begin.read_text()) < ENDS_WITHIN_S
    assert errors(done) == [line], done.stderr
    assert done.stderr.count(f"{kind}: {text}") == (kind != "MemoryError")
