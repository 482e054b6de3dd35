"""The device of the CUDA tests: the executor, on each of several schedules, or a real one.

    DESHPC_TEST_DEVICE=cuda   run them on the first CUDA device, through CuPy: once, since it has its own schedules

`device` is one of ten schedules, `few` one of three, for tests that take long.  Both are checked: bounds, races, reads of
memory that nobody has written.  Under mpiexec `few` is one schedule, since ranks share cores; more than three ranks show
nothing new, so none of this runs there.
"""

import pytest
from cuda_device import REAL
from executor.schedule import Schedule, schedules

from deshpc.comm.launcher import launcher

RANKS = launcher().ranks
ONE = Schedule("random", seed=5)
collect_ignore_glob = ["test_*.py"] if RANKS > 3 else []


def pytest_generate_tests(metafunc):
    of_fixture = {
        "device": schedules(),
        "few": [Schedule("in order"), Schedule("reversed"), ONE] if RANKS == 1 else [ONE],
    }
    for name, those in of_fixture.items():
        if name in metafunc.fixturenames:
            those = [None] if REAL else those
            metafunc.parametrize(name, those, indirect=True, ids=[_name(schedule) for schedule in those])


@pytest.fixture
def device(request):
    return _open(request.param)


@pytest.fixture
def few(request):
    return _open(request.param)


def _name(schedule):
    return "cuda" if schedule is None else f"{schedule.order} {schedule.seed}".removesuffix(" 0").replace(" ", "-")


def _open(schedule):
    if schedule is None:
        from deshpc.backend.cuda.device import open_device

        return open_device(0)
    from executor.device import ExecutorDevice

    return ExecutorDevice(schedule)
