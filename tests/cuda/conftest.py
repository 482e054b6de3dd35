"""The device of the CUDA tests: the executor, on each of several schedules, or a real one.

    DESHPC_TEST_DEVICE=cuda   run them on the first CUDA device, through CuPy: once, since it has its own schedules

`device` is one of ten schedules, `few` one of three, for tests that take long.  A case takes one of them, in turn.  With
DESHPC_EVERY_CASE=1 all are taken.  Both are checked: bounds, races, reads of memory that nobody has written.  Under mpiexec `few` is
one schedule, since ranks share cores; more than three ranks show
nothing new, so none of this runs there.
"""

import os

import pytest
from cuda_device import REAL
from executor.schedule import Schedule, schedules

from deshpc.launch.launcher import launcher

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


@pytest.hookimpl(tryfirst=True)  # a case has its schedule before quick tests are chosen
def pytest_collection_modifyitems(config, items):
    if os.environ.get("DESHPC_EVERY_CASE") or RANKS > 1:
        return
    cases, others = {}, set()
    for item in items:
        for fixture, of in (("few", 3), ("device", 10)):
            if fixture in getattr(item, "fixturenames", ()) and fixture in item.callspec.indices and not REAL:
                schedule = item.callspec.indices[fixture]
                case = item.nodeid.replace(f"[{_name(item.callspec.params[fixture])}", "[")
                if (schedule - cases.setdefault(case, len(cases))) % of:
                    others.add(item)
    config.hook.pytest_deselected(items=list(others))
    items[:] = [item for item in items if item not in others]


@pytest.fixture(autouse=True)
def scratch_arrays_by_themselves(monkeypatch):
    """Scratch arrays end where they say, though longer ones are behind them, and hold nothing when they are handed out."""
    from deshpc.backend.cuda.buffers import Buffers

    for name, written in (("array", False), ("zeros", True)):
        monkeypatch.setattr(Buffers, name, _handing_out(getattr(Buffers, name), written))


def _handing_out(take, written):
    def handed_out(buffers, name, shape, dtype):
        array = take(buffers, name, shape, dtype)
        return array if REAL else buffers._device.hand_out(array, written)

    return handed_out


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
