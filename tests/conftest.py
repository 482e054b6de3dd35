"""Tests run serially (those marked `mpi` on one rank), or on every rank under `mpiexec -n N python -m pytest` (tests marked `mpi` only).

Under MPI the first failure on any rank is printed with its rank and aborts the job: a rank that has left a test
would otherwise leave the others waiting in a collective for ever.  Rank 0 alone prints the usual report.

Numbers of ranks share the cases: each runs on one rank, and on 2, 3 or 4 in turn.  Those of tests that have four or more, and of modules
marked `in_turns`, run on 1, 2, 3 or 4, or up to the mark's number.  What talks to MPI itself (EVERYWHERE) runs on all.  DESHPC_EVERY_CASE=1 runs every
case on every number.  DESHPC_SECOND_MPI=1, for another MPI behind a whole run, leaves a quarter of the cases that take turns: what they compute is
known to be right on so many ranks.

Of a test's cases, those run that together meet every pair of values of its parameters: a third parameter multiplies the time, and
finds next to nothing that no pair finds.  --quick runs each kind of case once: as few as meet every value, each on one number of ranks.
What is marked `thorough` it leaves out; of what is marked `thorough(n)` it takes n cases at most, spread over all, and so of a test of a
folder of _MOST_QUICK.
"""

import os
import random
import sys
import time
import zlib
from collections import Counter
from heapq import heapify, heappop, heappush
from itertools import combinations
from pathlib import Path

import pytest

from deshpc.launch.launcher import launcher

# Where ranks outnumber cores, MPICH's waiting ranks sleep: its own way of yielding keeps the one that they wait for off its core for
# milliseconds a message.  Read when MPI starts, here and in the processes that tests start.
os.environ.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
os.environ.setdefault("MPIR_CVAR_POLLS_BEFORE_YIELD", "100")
# By default MPICH's launcher leaves a file in /tmp where a job is aborted; see scripts/mpi.sh.
os.environ.setdefault("HWLOC_XMLFILE", "")

UNDER_MPI = launcher().ranks > 1
EVERYWHERE = ("comm", "launch", "doctor")  # folders of tests
_SCHEDULES = ("device", "few")  # parameters that say in which order a device's threads run: each case has one in turn
_MOST_QUICK = {"cuda": 3, "launch": 3}  # cases of a test of a folder, whose parameters are types and sizes, or whose cases start processes
_MOST_QUICK_OF_RANKS = 3  # cases of a test marked `mpi`; tests of the same cases take different ones, so that together they meet all
_MANY = 4  # cases of a test, one at least for each number of ranks


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="each kind of case once")
    parser.addoption("--shuffle", metavar="SEED", help="files, and the tests of each, in a random order")
    parser.addoption("--behind", metavar="TEST", help="only what comes behind this test")


def pytest_cmdline_main(config):
    config.option.with_mpi = True  # pytest-mpi's switch: tests marked mpi run on one rank too


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if UNDER_MPI and _world().rank != 0:
        config.pluginmanager.unregister(config.pluginmanager.getplugin("terminalreporter"))


def pytest_ignore_collect(collection_path):
    """Under MPI, files without a test marked mpi: every rank would import them, and their parameters, for nothing."""
    if UNDER_MPI and collection_path.suffix == ".py" and b"mark.mpi" not in collection_path.read_bytes():
        return True
    return None


def pytest_collection_modifyitems(config, items):
    if not os.environ.get("DESHPC_EVERY_CASE"):
        _keep(config, items, _chosen(items, config.option.quick))
    if UNDER_MPI:
        _keep(config, items, {item for item in items if item.get_closest_marker("mpi")})
    if not os.environ.get("DESHPC_EVERY_CASE"):
        _keep(config, items, set(items) - _of_other_numbers_of_ranks(items, launcher().ranks, config.option.quick))
    if config.option.shuffle:
        _shuffle(items, config.option.shuffle)
    if config.option.behind:
        names = [item.nodeid for item in items]
        _keep(config, items, set(items[names.index(config.option.behind) + 1 :]) if config.option.behind in names else set())


def _keep(config, items, kept):
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def _chosen(items, quick):
    """Of each test's cases as few as meet all pairs of values of its parameters; the quick tests: all values."""
    tests, kept = {}, set()
    for item in items:
        tests.setdefault(_test_of(item), []).append(item)
    for cases in tests.values():
        some = _covering(cases, 1 if quick else 2)
        if quick:
            some = _spread(some, _most_quick(cases[0]))
        kept.update(some)
    return kept


def _most_quick(case):
    """How many cases of a test --quick runs at most."""
    mark = case.get_closest_marker("thorough")
    if mark:
        return mark.args[0] if mark.args else 0
    if case.get_closest_marker("mpi"):
        return _MOST_QUICK_OF_RANKS
    return _MOST_QUICK.get(case.path.parent.name, sys.maxsize)


def _covering(cases, together):
    """Cases, in their order, such that so many values `together` that a case has are met in one of them."""
    sets = [set(combinations(sorted(_values_of(case)), together)) for case in cases]
    whole = set().union(*sets)
    if not whole:
        return cases
    met, chosen = set(), []
    waiting = [(-len(one), number) for number, one in enumerate(sets)]  # sorted by what it adds, then by its place
    heapify(waiting)
    while len(met) < len(whole):
        _, number = heappop(waiting)
        adds = len(sets[number] - met)
        if waiting and (-adds, number) > waiting[0]:
            heappush(waiting, (-adds, number))
        else:
            chosen.append(number)
            met |= sets[number]
    return [cases[number] for number in sorted(chosen)]


def _spread(cases, count):
    """So many of the cases at most, from all over; tests that have the same cases take different ones."""
    count = min(count, len(cases))
    first = zlib.crc32(cases[0].nodeid.encode())
    return [cases[(first + number * len(cases) // count) % len(cases)] for number in range(count)]


def _values_of(case):
    """{(parameter, value)} of a case; of a value that is not plain, its place among those of the parameter."""
    call = getattr(case, "callspec", None)
    if call is None:
        return set()
    plain = (str, int, float, type(None), tuple)
    return {
        (name, repr(value) if isinstance(value, plain) else f"{call.indices[name]}")
        for name, value in call.params.items()
        if name not in _SCHEDULES
    }


def _shuffle(items, seed):
    """A random order of files, and of the tests of each; the same on all ranks."""
    chance, files = random.Random(seed), {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    chance.shuffle(groups)
    for group in groups:
        chance.shuffle(group)
    items[:] = [item for group in groups for item in group]


def _of_other_numbers_of_ranks(items, ranks, quick):
    """The tests marked mpi whose turn it is on another number of ranks.

    They are counted file by file, each from a number of its own, so that a case's turn does not depend on what else is collected.
    """
    shared, counts = [item for item in items if item.get_closest_marker("mpi") and item.path.parent.name not in EVERYWHERE], {}
    cases, others = Counter(map(_test_of, shared)), set()
    for item in shared:
        number = counts[item.path] = counts.get(item.path, zlib.crc32(item.path.name.encode())) + 1
        mark = item.get_closest_marker("in_turns")
        if not quick and mark is None and cases[_test_of(item)] < _MANY:
            numbers = 1, 2 + number % 3
        else:
            numbers = (1 + number % (mark.args[0] if mark and mark.args else 4),)
        known = os.environ.get("DESHPC_SECOND_MPI") and len(numbers) == 1 and number // 4 % 4
        if known or ranks not in numbers:
            others.add(item)
    return others


def _test_of(item):
    return item.path, getattr(item, "originalname", item.name)


def pytest_runtest_logreport(report):
    if UNDER_MPI and report.failed:
        _abort(f"{report.nodeid} ({report.when})", report.longreprtext)


def pytest_collectreport(report):
    if UNDER_MPI and report.failed:
        _abort(f"collecting {report.nodeid}", report.longreprtext)


@pytest.fixture
def world():
    """COMM_WORLD: one rank in a serial run."""
    return _world()


@pytest.fixture
def directory(world, tmp_path):
    """One folder for all ranks."""
    return Path(world.bcast(str(tmp_path)))


def _world():
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _abort(what, text):
    comm = _world()
    sys.__stderr__.write(f"\nrank {comm.rank} of {comm.size} failed: {what}\n{text}\n")
    sys.__stderr__.flush()
    time.sleep(0.2)  # the launcher passes the message on before it ends the job
    comm.Abort(1)
