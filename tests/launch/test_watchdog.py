"""The watchdog on real processes: a run that hangs ends with one line that names who and where; one that moves goes on."""

import os
import re
import time
from types import SimpleNamespace

import pytest
from launching import errors, run

from deshpc.errors import DataError
from deshpc.launch.place import Place, describe
from deshpc.launch.watchdog import Watchdog

LIMIT_S = 1.0
REPORTS_WITHIN_S = 15  # the limit, the time for answers, and the same again for ranks that are not the first to ask

LOOP = """
import ctypes
import os
import signal
import sys
import time

{before}
from mpi4py import MPI
from deshpc.launch import start
from deshpc.comm.group import Group
from deshpc.launch.watchdog import Watchdog
from deshpc.errors import DataError

def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def main(comm):
    group, rank = Group(comm), comm.rank
    with Watchdog(comm, {limit}) as watchdog:
        for step in range({steps}):
            watchdog.begin_step(step)
            watchdog.enter("look up")
            {look_up}
            watchdog.enter("exchange")
            {exchange}
    return 0

sys.exit(start.run(main, start.world()))
"""


def loop(look_up="pass", exchange="group.sum(1.0)", steps=6, limit=LIMIT_S, before="", ranks=3):
    """Run so many ranks; returns the finished process."""
    script = LOOP.format(look_up=look_up, exchange=exchange, steps=steps, limit=limit, before=before)
    begin = time.monotonic()
    done = run("-c", script, ranks=ranks)
    assert time.monotonic() - begin < REPORTS_WITHIN_S + 60  # the machine may be busy
    return done


WAITS = r"in 'exchange' of step 3 for \d+ s \(handle.py:\d+\)"
SLEEPS = r"in 'look up' of step 3 for \d+ s \(<string>:\d+\)"
HOG = "ctypes.PyDLL(None).sleep(60)"  # keeps Python's lock
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.mark.parametrize(
    ("stuck", "exchange", "pattern"),
    [
        ("rank == 1 and time.sleep(60)", "group.sum(1.0)", f"rank 1 {SLEEPS}; ranks 0, 2 {WAITS}"),
        ("watchdog.enter('look up', works=True); rank == 1 and time.sleep(60)", "group.sum(1.0)", f"rank 1 {SLEEPS}; ranks 0, 2 {WAITS}"),
        ("rank == 0 and time.sleep(60)", "group.sum(1.0)", f"rank 0 {SLEEPS}; ranks 1-2 {WAITS}"),
        ("time.sleep(60)", "group.sum(1.0)", f"ranks 0-2 {SLEEPS}"),
        ("rank == 1 and time.sleep(60)", "comm.Barrier()", rf"rank 1 {SLEEPS}; ranks 0, 2 in 'exchange' .*"),  # inside MPI
        (f"rank == 2 and {STOP}", "group.sum(1.0)", f"rank 2 does not answer; ranks 0-1 {WAITS}"),
        (f"rank == 0 and {STOP}", "comm.Barrier()", r"rank 0 does not answer; ranks 1-2 in 'exchange' .*"),
        (f"rank == 1 and {HOG}", "group.sum(1.0)", f"rank 1 does not answer; ranks 0, 2 {WAITS}"),
        (f"rank > 0 and {STOP}", "group.sum(1.0)", f"ranks 1-2 do not answer; rank 0 {WAITS}"),
    ],
)
def test_a_run_that_hangs_is_ended_by_one_line(stuck, exchange, pattern):
    done = loop(f"if step == 3: {stuck}", exchange)
    assert done.returncode == 1 and len(errors(done)) == 1, done.stderr
    line = rf"deshpc: no progress for 1 s \(train.watchdog_s\): {pattern}"
    assert re.fullmatch(line, errors(done)[0]), errors(done)[0]


def test_one_rank_that_hangs():
    done = loop("if step == 3: time.sleep(60)", ranks=1)
    assert done.returncode == 1
    assert re.fullmatch(rf"deshpc: no progress for 1 s \(train.watchdog_s\): rank 0 {SLEEPS}", errors(done)[0])


def test_where_one_thread_alone_may_call_mpi_a_rank_judges_by_itself():
    done = loop("if step == 3: time.sleep(60)", before="import mpi4py; mpi4py.rc.thread_level = 'serialized'")
    assert done.returncode == 1 and errors(done)
    for line in errors(done):
        assert re.fullmatch(rf"deshpc: no progress for 1 s \(train.watchdog_s\): rank [012] {SLEEPS}", line)


@pytest.mark.parametrize(
    ("look_up", "steps", "limit"),
    [
        ("time.sleep(0.05)", 60, 0.5),  # every step is far shorter than the limit
        ("if rank == 1: [(watchdog.enter(str(i)), time.sleep(0.6)) for i in range(5)]", 2, 1.0),  # the others wait for 3 s
        ("time.sleep(3)", 1, 0),  # switched off
        ("watchdog.enter('compile', works=True); rank == 1 and busy(2.0)", 1, 1.0),  # without a word, but busy
        ("time.sleep(rank)", 2, 1.5),  # some ask, and close while the others have not yet
    ],
)
def test_work_that_goes_on_is_left_alone(look_up, steps, limit):
    done = loop(look_up, steps=steps, limit=limit)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_that_was_stopped_goes_on():
    """The clock runs on while a process is stopped, as when a queueing system suspends a job or a laptop sleeps."""
    pause = (
        "if step == 2:\n"
        "                pids = ' '.join(map(str, group.gather(os.getpid())))\n"
        "                rank == 0 and os.system(f'(sleep 0.2; kill -STOP {pids}; sleep 5; kill -CONT {pids}) &')\n"
        "                [time.sleep(0.02) for _ in range(30)]"
    )
    done = loop(pause, steps=5)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_one_rank_is_reported_by_itself():
    done = loop("if step == 3 and rank == 1: raise ValueError('mine')")
    assert done.returncode == 1 and errors(done) == ["deshpc: rank 1 of 3: failed"]
    assert done.stderr.count("ValueError: mine") == 1


def test_an_error_that_all_ranks_share_closes_the_watchdog():
    done = loop("group.agree(DataError('all') if step == 3 else None)", before="")
    assert (done.returncode, errors(done)) == (3, ["deshpc: all"])


def test_an_error_in_the_watchdog_ends_the_run():
    broken = "import deshpc.launch.watchdog as w; w.Watchdog._look = lambda self, s: 1 / (self._comm.rank - 1)"
    done = loop("time.sleep(60)", before=broken)
    assert done.returncode == 1 and errors(done) == ["deshpc: rank 1 of 3: failed"]
    assert done.stderr.count("ZeroDivisionError") == 1


@pytest.mark.mpi
@pytest.mark.parametrize("share", [False, True])
def test_open_and_close_on_any_ranks(world, share):
    comm = world.Split(world.rank % 2 if share else 0)
    for limit_s in (0, 0.2, 30):
        watchdog = Watchdog(comm, limit_s)
        for step in range(20):
            watchdog.begin_step(step)
            watchdog.enter("look up")
            time.sleep(0.002 * (1 + comm.rank))
        watchdog.close()
        watchdog.close()
    comm.Free()


@pytest.mark.mpi
def test_questions_under_way_when_it_closes(world):
    """Rank 0 is idle and asks; some ranks move and answer, others close and leave the question for the end."""
    for seed in range(4):
        watchdog = Watchdog(world, 0.2)
        begin = time.monotonic()
        while time.monotonic() - begin < 0.6 and (world.rank + seed) % 3 != 1:
            if world.rank > 0 or world.size == 1:
                watchdog.enter("look up")
            time.sleep(0.02)
        watchdog.close()
        assert world.allreduce(watchdog._received) == world.allreduce(int(watchdog._sent.sum()))


@pytest.mark.mpi
def test_the_block_closes_after_an_error_that_is_shared(world):
    with pytest.raises(DataError), Watchdog(world, 30):
        raise DataError("all").shared_by(world.size)


def test_entering_a_stage_costs_less_than_a_microsecond():
    watchdog = Watchdog(SimpleNamespace(size=1, rank=0), 0)
    best = min(timed(watchdog.enter) for _ in range(20))
    assert best < 1e-6


def timed(enter):
    begin = time.perf_counter()
    for _ in range(10_000):
        enter("look up")
    return (time.perf_counter() - begin) / 10_000


def test_an_idle_watchdog_takes_no_time():
    from mpi4py import MPI

    with Watchdog(MPI.COMM_SELF, 10.0):
        before = os.times()
        time.sleep(2.5)
        after = os.times()
    assert after.user + after.system - before.user - before.system < 0.25  # spinning would take 2.5


@pytest.mark.parametrize(
    ("places", "silent", "text"),
    [
        ({0: ("b", 5, 8), 1: ("b", 6, 8), 2: ("a", 5, 7), 3: ("b", 5, 8)}, (), "rank 2 in 'a' of step 1 for 5 s; ranks 0-1, 3 in 'b' of step 1 for 6 s"),
        ({0: ("compile", 5, 8), 1: ("wait", 6, 7)}, (), "rank 0 in 'compile' of step 1 for 5 s; rank 1 in 'wait' of step 1 for 6 s"),
        ({1: ("a", 5, 7)}, (0, 2, 3), "ranks 0, 2-3 do not answer; rank 1 in 'a' of step 1 for 5 s"),
        ({0: ("a", 5.4, 7)}, (7,), "rank 7 does not answer; rank 0 in 'a' of step 1 for 5 s"),
    ],
)  # fmt: skip
def test_places_in_words(places, silent, text):
    places = {rank: Place(moves, 1, stage, idle_s, "") for rank, (stage, idle_s, moves) in places.items()}
    assert describe(places, silent, 4.5) == f"no progress for 4.5 s (train.watchdog_s): {text}"
