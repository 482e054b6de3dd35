"""A step asks no more of a device than docs/measured/gpu_counts.json says.

Where a count has grown on purpose, `python scripts/bench/gpu_counts.py` writes the file anew, and docs/cuda.md has its table.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from counting_device import CountingDevice
from cuda_device import REAL
from executor.device import ExecutorDevice
from launching import run
from mpi4py import MPI
from step_counts import Case, counts_of

from deshpc.backend.cuda import elementwise
from deshpc.backend.cuda.device import CupyDevice
from deshpc.backend.cuda.launch import Kernels

ROOT = Path(__file__).parents[2]
MEASURED = json.loads((ROOT / "docs" / "measured" / "gpu_counts.json").read_text(encoding="utf-8"))["ranks"]
ONE_RANK = [Case(model, "allreduce", "broadcast", kind) for model, kind in (("fm", "plain"), ("lr", "clipped"), ("fm", "fixed point"), ("dlrm", "plain"))]
TWO_RANKS = [Case("fm", "allreduce", "routed", "plain"), Case("lr", "rows", "broadcast", "clipped")]

pytestmark = pytest.mark.skipif(REAL, reason="counted on the executor")


@pytest.fixture
def scratch_arrays_by_themselves():
    """Not here: scratch arrays are handed out as they are in a run, and nothing is checked but counts."""


def assert_not_grown(ranks, found):
    """found : {case: counts}"""
    grown = [
        f"{case}, ranks: {ranks}: {kind} {counts[kind]}, {counts[kind] - most} more than {most}"
        for case, counts in found.items()
        for kind, most in MEASURED[str(ranks)][case].items()
        if counts[kind] > most
    ]
    assert not grown, "\n".join(grown)


@pytest.mark.thorough(1)
@pytest.mark.parametrize("case", ONE_RANK, ids=str)
def test_no_count_of_a_step_has_grown(case):
    assert_not_grown(1, {str(case): counts_of(MPI.COMM_SELF, case)})


@pytest.mark.thorough
def test_no_count_of_a_step_on_two_ranks_has_grown():
    done = run(ROOT / "scripts" / "bench" / "gpu_counts.py", "--worker", *TWO_RANKS, ranks=2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == set(map(str, TWO_RANKS))
    assert_not_grown(2, found)


def test_every_method_of_a_device_is_there():
    of_device, counting = ({name for name in vars(one) if not name.startswith("_")} for one in (CupyDevice, CountingDevice))
    assert of_device - counting == {"name"}  # which is that of the device behind it


def test_what_is_counted():
    """A known sequence, whose results are those of the device behind."""
    device, host = CountingDevice(ExecutorDevice()), np.array([1, 0, 1], np.int32)
    kernels = Kernels(device)("routing.cu", VALUES=0)
    occurrences, local, squares = device.empty((3,), np.int32), device.zeros((2,), np.int32), device.empty((3,), np.float64)
    device.to_device(host, occurrences)
    local[1:].fill(7)
    kernels.through(3, occurrences, 3, local)
    kernels.through(0, occurrences, 0, local)
    numbers = device.empty((3,), np.int32)
    device.copy(occurrences, numbers)
    square = device.elementwise(elementwise.squares)
    square(3, numbers, squares)
    square(0, numbers, squares)
    pinned, early = device.host_memory((3,), np.float64), device.mark()
    device.start_into_host(squares, pinned)
    late = device.mark()
    device.wait(late)
    device.wait(early)  # has passed
    assert pinned.tolist() == [49.0, 0.0, 49.0]
    assert device.to_host(numbers).tolist() == [7, 0, 7]
    device.into_host(squares.view(np.int64).reshape((1, 3))[:1], np.empty((1, 3), np.int64))
    assert dict(device.counts()) == {
        "compiled": 1, "new arrays": 4, "memsets": 2, "to device": 1, "launches": 1, "on device": 1, "elementwise": 1,
        "pinned": 1, "to host": 3, "waits": 3,
    }  # fmt: skip
