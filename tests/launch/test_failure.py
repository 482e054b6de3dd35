"""How a job ends that goes wrong: real processes under mpiexec.

Proves that a rank that fails alone takes the whole job with it, at once, with one message that names the rank, wherever
it fails; that what all ranks meet or agree on is said once; that signals end the job and are named; and that ranks
that were started differently are refused before they wait for each other.
"""

import re
import time
from pathlib import Path

import pytest
from launching import MPIEXEC, SMALL_RUN, errors, run

ENDS_WITHIN_S = 60  # "within seconds", on a machine that may be busy; who waits for a peer waits for ever
OPEN_MPI = MPIEXEC.with_name("prterun").exists()

CONFIG = SMALL_RUN + """[compute]
threads_per_rank = 2
[run]
save_model = false
"""

BREAK = """
import importlib
import os
import signal
import sys
import time

import deshpc
from deshpc.cli.main import main
from deshpc.launch.launcher import launcher

def broken_on_purpose():
    with open(sys.argv[2], "w") as file:
        file.write(str(time.time()))
    {what}

module, name, calls = "{where}".split(":")
holder = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    holder = getattr(holder, part)
original = getattr(holder, name)
left = [int(calls)]

def replacement(*arguments, **named):
    left[0] -= 1
    if left[0] == 0 and launcher().rank in {ranks}:
        broken_on_purpose()
    return original(*arguments, **named)

setattr(holder, name, replacement)
"""
"""Raise or die on some ranks at a call of a function: where = "module:function:call"."""

COMMAND_LINE = BREAK + """
sys.exit(main(["train", sys.argv[1]]))
"""

A_STEP = "deshpc.model.model:Model.update:12"  # later than those of the warm-up

MAIN = """
import os
import signal
import sys
import threading
import time

import numpy as np

from deshpc.backend.cpu.buffers import aligned
from deshpc.launch import start
from deshpc.comm.group import Group
from deshpc.launch.watchdog import Watchdog
from deshpc.errors import DataError

def main(comm):
    pids, launcher = comm.allgather(os.getpid()), os.getppid()
    {body}
    comm.Barrier()  # never complete: only an abort ends the others
    return 0

if __name__ == "__main__":
    sys.exit(start.run(main, start.world()))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def broken(script, config, **how):
    """Run a script that breaks; it has broken, and the job ended soon after."""
    moment = config.with_name("moment")
    done = run("-c", script, config, moment, cwd=config.parent, **how)
    assert time.time() - float(moment.read_text()) < ENDS_WITHIN_S
    return done


def a_main(body, ranks=3):
    """Run ranks whose main has the line `body`; returns the finished process and the seconds."""
    begin = time.monotonic()
    done = run("-c", MAIN.format(body=body), ranks=ranks)
    assert time.monotonic() - begin < ENDS_WITHIN_S
    return done


@pytest.mark.parametrize(
    ("where", "rank"),
    [
        (A_STEP, 1),
        ("deshpc.metrics.scores:area_under_curve:1", 2),
        ("deshpc.data.input:SyntheticInput.load:1", 0),  # the node's first rank reads, the others wait for it
        ("deshpc.training.session:warm_up:1", 0),
        ("deshpc.launch.start:world:1", 1),  # before the others come out of MPI's start
    ],
)
def test_an_exception_anywhere_ends_all_ranks(config, where, rank):
    done = broken(COMMAND_LINE.format(what="raise ValueError('on purpose')", where=where, ranks=[rank]), config, ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert done.stderr.count("ValueError: on purpose") == 1
    name = f"rank {rank} of 3: " if rank or "world" not in where else ""
    assert errors(done) == [f"deshpc: {name}failed"] and done.stdout == ""


def test_an_exception_in_a_thread_of_the_backend_ends_all_ranks(config):
    what = "import threading; assert threading.current_thread() is threading.main_thread(), 'in a thread'"
    script = COMMAND_LINE.format(what=what, where="deshpc.table.table:Table._look_up:1", ranks=[])
    every_call_of_rank_1 = script.replace("left[0] == 0 and launcher().rank in []", "launcher().rank == 1")
    done = broken(every_call_of_rank_1, config, ranks=3)
    assert done.returncode == 1 and done.stderr.count("AssertionError: in a thread") == 1
    assert errors(done) == ["deshpc: rank 1 of 3: failed"]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise DataError('a.csv, line 3: bad')", 3, "a.csv, line 3: bad"),
        ("raise SystemExit(7)", 7, "failed"),
        ("sys.exit(0)", 1, "failed"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("aligned(1 << 60, np.uint8, 'the buffer x')", 1, "out of memory: 1,099,511,627,776.0 MiB for the buffer x were refused"),
        ("raise MemoryError", 1, "out of memory"),
        (
            "\n        with Watchdog(comm, 0) as w: w.begin_step(3); w.enter('look up'); raise MemoryError('9 GiB')", 1,
            "out of memory: 9 GiB (in 'look up' of step 3)",
        ),
        ("threading.Thread(target=lambda: 1 / 0).start(); time.sleep(9)", 1, "failed"),
        ("threading.Thread(target=lambda: 1 / 0).start(); time.sleep(0.3); return 0", 1, "failed"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, "terminated by SIGTERM"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 130, "interrupted"),
    ],
)
def test_a_rank_that_fails_alone(body, code, text):
    done = a_main(f"if comm.rank == 1: {body}")
    assert done.returncode == code
    assert errors(done) == [f"deshpc: rank 1 of 3: {text}"]
    assert done.stderr.count("Traceback") == (1 if text == "failed" else 0)


def said_once(done, ranks, text):
    """Whether one rank has spoken: the lowest, as a rule, but on a busy machine another's turn may come before it."""
    return len(errors(done)) == 1 and re.fullmatch(rf"deshpc: rank \d+ of {ranks}: {text}", errors(done)[0])


@pytest.mark.parametrize(
    ("body", "ranks"),
    [
        ("raise ValueError('the same for all')", 4),
        ("raise ValueError('the same for all')", 12),  # whose turns are shorter than a message takes
        ("time.sleep(0.3 * (3 - comm.rank)); raise ValueError('the same for all')", 4),
        ("time.sleep(comm.rank); raise ValueError('the same for all')", 4),
        ("if comm.rank: raise ValueError('the same for all')", 4),
    ],
)
def test_the_same_exception_on_many_ranks_is_said_once(body, ranks):
    done = a_main(body, ranks)
    assert done.returncode == 1 and done.stderr.count("ValueError: the same for all") == 1
    assert said_once(done, ranks, "failed")


@pytest.mark.parametrize(("name", "code", "text"), [("SIGTERM", 143, "terminated by SIGTERM"), ("SIGINT", 130, "interrupted")])
@pytest.mark.parametrize("to", ["every rank", "the launcher"])
def test_a_signal_to_the_whole_job_is_one_line(name, code, text, to):
    if to == "the launcher":
        if OPEN_MPI:
            pytest.skip("Open MPI's mpiexec passes on neither SIGTERM nor what ranks then say: it ends them with code 1")
        kill = "os.kill(int(open(f'/proc/{launcher}/stat').read().split(')')[1].split()[1]), signal.{name})"
    else:
        kill = "[os.kill(pid, signal.{name}) for pid in pids]"
    done = a_main(f"if comm.rank == 2: {kill.replace('{name}', name)}\n    time.sleep(9)")
    assert done.returncode == code and said_once(done, 3, text)


def test_sigterm_while_the_compiler_has_called_python_is_not_lost():
    """An exception there is printed and forgotten."""
    body = (
        "import ctypes\n    def _raw_object_cache_notify(): os.kill(os.getpid(), signal.SIGTERM); sum(range(1000))\n"
        "    ctypes.CFUNCTYPE(None)(_raw_object_cache_notify)(); time.sleep(9)"
    )
    done = a_main(body, ranks=1)
    assert (done.returncode, done.stderr) == (143, "deshpc: terminated by SIGTERM\n")


@pytest.mark.parametrize(("name", "code", "text"), [("SIGTERM", 143, "terminated by SIGTERM"), ("SIGINT", 130, "interrupted")])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_signal_while_a_call_does_not_return_to_python(name, code, text, ranks):
    """As a call of the compiler may last half a minute: here one that waits for ever, since it locks what it has locked."""
    body = (
        f"import ctypes\n    mutex, pthread = ctypes.create_string_buffer(64), ctypes.CDLL(None)\n    last = comm.rank == {ranks - 1}\n"
        f"    last and threading.Timer(0.3, os.kill, (os.getpid(), signal.{name})).start()\n"
        "    [pthread.pthread_mutex_lock(mutex) for _ in range(2 * last)]"
    )
    done = a_main(body, ranks)
    who = f"rank {ranks - 1} of {ranks}: " if ranks > 1 else ""
    assert (done.returncode, errors(done)) == (code, [f"deshpc: {who}{text}"])


def test_sigterm_of_a_run_without_a_launcher():
    done = a_main("os.kill(os.getpid(), signal.SIGTERM)", ranks=1)
    assert (done.returncode, errors(done)) == (143, ["deshpc: terminated by SIGTERM"])


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_rank_that_is_killed_is_named(config, name):
    done = broken(
        COMMAND_LINE.format(what=f"os.kill(os.getpid(), signal.{name})", where=A_STEP, ranks=[1]), config, ranks=3
    )
    number = {"SIGKILL": 9, "SIGSEGV": 11}[name]
    assert done.returncode == 128 + number
    if OPEN_MPI:
        assert "process rank 1 with PID" in done.stderr and f"signal {number}" in done.stderr and errors(done) == []
    else:
        (line,) = errors(done)
        assert line.startswith(f"deshpc: rank 1 of 3: killed by signal {number} ({name})")
    assert ("Fatal Python error: Segmentation fault" in done.stderr) == (name == "SIGSEGV")


def test_a_step_that_hangs_is_named(config):
    config.write_text(CONFIG.replace("[train]", "[train]\nwatchdog_s = 1"), encoding="utf-8")
    done = broken(COMMAND_LINE.format(what="time.sleep(60)", where=A_STEP, ranks=[1]), config, ranks=3)
    (line,) = errors(done)
    place = r"in '[a-z ]+' of step \d+ for \d+ s \(\S+:\d+\)"
    assert done.returncode == 1
    assert re.fullmatch(rf"deshpc: no progress for 1 s \(train.watchdog_s\): rank 1 {place}; ranks 0, 2 {place}", line), line


@pytest.mark.parametrize(
    ("where", "stage"), [("deshpc.data.synthetic:generate:2", "load"), ("deshpc.training.session:warm_up:1", "compile")]
)
def test_what_hangs_before_training_is_named(config, where, stage):
    config.write_text(CONFIG.replace("[train]", "[train]\nwatchdog_s = 2"), encoding="utf-8")
    done = broken(COMMAND_LINE.format(what="time.sleep(60)", where=where, ranks=[0]), config, ranks=3)
    (line,) = errors(done)
    waits = r"ranks 1-2 in '(wait|load)' of step 0 for \d+ s \(node.py:\d+\)"
    assert done.returncode == 1
    assert re.fullmatch(rf"deshpc: no progress for 2 s \(train.watchdog_s\): rank 0 in '{stage}' of step 0 for \d+ s \(\S+\); {waits}", line), line


@pytest.mark.parametrize(("name", "again"), [("SIGTERM", False), ("SIGINT", True)])
def test_a_signal_to_one_process_of_the_command_line(config, name, again):
    """The process that the launcher knows may be the rank's parent: it passes signals on.  The first stops all ranks behind a checkpoint."""
    kill = f"os.kill({'os.getpid()' if OPEN_MPI else 'os.getppid()'}, signal.{name}); time.sleep({1.2 if again else 0.2})"
    what = f"{kill}; {kill}; time.sleep(9)" if again else kill
    done = broken(COMMAND_LINE.format(what=what, where=A_STEP, ranks=[1]), config, ranks=3)
    if again:
        assert (done.returncode, errors(done)) == (130, ["deshpc: rank 1 of 3: interrupted"])
        return
    (line,) = errors(done)
    assert done.returncode == 75 and line.startswith("deshpc: stopped by SIGTERM after step 8; the checkpoint is in runs/")
    assert re.search(r"go on: mpiexec -n 3 deshpc train \S+a.toml --set run.directory=runs/\S+ --resume$", line), line
    assert len(list(config.parent.glob("runs/latest/checkpoints/step-000000000008/manifest.json"))) == 1


def test_nobody_outlives_a_parent_that_is_killed(config):
    if OPEN_MPI:
        pytest.skip("ranks have a parent process only where the launcher does not name who was killed")
    what = "print(os.getpid(), flush=True); os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    done = broken(COMMAND_LINE.format(what=what, where=A_STEP, ranks=[1]), config, ranks=3)
    told = [f"deshpc: rank {rank} of 3: killed, as was its parent process: out of memory?" for rank in range(3)]
    assert done.returncode == 137 and errors(done) and set(errors(done)) <= set(told)  # the parent of all three: who is first says so
    status = Path(f"/proc/{int(done.stdout.split()[0])}/status")
    assert not status.exists() or "State:\tZ" in status.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("DataError('no file')", 3, "deshpc: no file"),
        ("DataError('no file') if comm.rank == 2 else None", 3, "deshpc: no file (rank 2)"),
        ("ValueError('odd') if comm.rank else None", 1, "deshpc: ranks 1, 2: ValueError: odd"),
    ],
)
def test_an_error_that_all_ranks_share_is_said_once(error, code, text):
    done = a_main(f"Group(comm).agree({error})")
    assert (done.returncode, errors(done)) == (code, [text])


def test_an_error_that_only_some_ranks_share_ends_the_others():
    """What the ranks of a part of the job agreed on is news to the rest of it."""
    done = a_main("if comm.rank > 0: Group(comm.Create_group(comm.group.Excl([0]))).agree(DataError('odd'))\n    1", 3)
    assert (done.returncode, errors(done)) == (3, ["deshpc: rank 1 of 3: odd"])


APART = """
import os
import sys
import deshpc
from deshpc.launch.launcher import launcher
from deshpc.cli.main import main

rank, arguments = launcher().rank, ["train", "a.toml"]
{difference}
sys.exit(main(arguments))
"""


@pytest.mark.parametrize(
    ("difference", "code", "text"),
    [
        ("arguments[1] = 'b.toml' if rank else 'a.toml'", 2, "b.toml: no such configuration file (ranks 1, 2)"),
        ("os.chdir('/' if rank == 0 else '.')", 2, "a.toml: no such configuration file (rank 0)"),
        ("arguments += ['--set', 'train.sed=2'] * (rank == 1)", 2, "unknown option train.sed; did you mean train.seed?"),
        ("arguments += ['--set', 'train.seed=2'] * rank", 4, "the ranks differ: train.seed is 2, on rank 0 it is 1 (ranks 1, 2)"),
        ("arguments += ['--set', 'data.fields=[{name=\"x\"}]'] * (rank == 2)", 4, "data.fields.0.name is 'x', on rank 0 it is missing (rank 2)"),
        ("arguments += ['--bogus'] * (rank == 1)", 2, "rank 1 of 3: unrecognized arguments: --bogus"),
        ("arguments += ['--bogus']", 2, "deshpc: unrecognized arguments: --bogus"),
        ("deshpc.__version__ = f'9.{rank // 2}'", 4, "deshpc is '9.1', on rank 0 it is '9.0' (rank 2)"),
        ("arguments[1] = os.path.abspath('a.toml'); os.chdir('/tmp' if rank == 1 else '.')", 4, "run folder is '/tmp', on rank 0"),
        ("arguments[:] = ['eval', 'saved'] if rank else arguments", 3, "no saved model there; give the run's directory ([run] directory of its config), or one of its checkpoints (ranks 1, 2)"),
    ],
)  # fmt: skip
def test_ranks_that_were_started_differently_are_refused(config, difference, code, text):
    begin = time.monotonic()
    done = run("-c", APART.format(difference=difference), ranks=3, cwd=config.parent)
    assert time.monotonic() - begin < ENDS_WITHIN_S
    assert done.returncode == code and done.stdout == "" and len(errors(done)) == 1
    assert text in errors(done)[0], done.stderr
    assert [path.name for path in config.parent.iterdir()] == ["a.toml"]  # refused before anything was written


PLAIN = BREAK + """
from mpi4py import MPI

deshpc.train(sys.argv[1], MPI.COMM_WORLD)
"""

WITH_RANKS = """
with deshpc.ranks() as comm:
    {body}
"""


def test_training_from_a_script_fails_together_by_itself(config):
    done = broken(PLAIN.format(what="raise ValueError('on purpose')", where=A_STEP, ranks=[2]), config, ranks=3)
    assert (done.returncode, errors(done)) == (1, ["deshpc: rank 2 of 3: failed"])
    assert done.stderr.count("ValueError: on purpose") == done.stderr.count("Traceback") == 1


@pytest.mark.parametrize(
    ("body", "code", "line", "ranks"),
    [
        ("steps = deshpc.train(sys.argv[1], comm).steps\n    comm.rank or print(steps)", 0, None, 3),
        ("deshpc.train(sys.argv[1], comm, ['train.sed=1'])", 2, "unknown option train.sed", 3),  # once, by rank 0
        ("if comm.rank == 1: raise ValueError('mine')\n    comm.Barrier()", 1, "rank 1 of 3: failed", 3),
        ("if comm.rank == 1: sys.exit(5)\n    comm.Barrier()", 5, "rank 1 of 3: failed", 3),
        ("raise ValueError('mine')", 1, None, 1),
    ],
)
def test_a_script_fails_together_in_a_block(config, body, code, line, ranks):
    begin = time.monotonic()
    done = run("-c", "import sys\nimport deshpc\n" + WITH_RANKS.format(body=body), config, ranks=ranks, cwd=config.parent)
    assert time.monotonic() - begin < ENDS_WITHIN_S + 20 * (code == 0) and done.returncode == code, done.stderr
    assert len(errors(done)) == (line is not None) and (line is None or line in errors(done)[0])
    assert done.stdout.split() == (["8"] if code == 0 else [])
    assert done.stderr.count("Traceback") == (1 if "ValueError" in body or "exit" in body else 0)


def test_a_script_fails_together_under_mpi4pys_runner(tmp_path):
    """What needs nothing of ours: an exception outside of deshpc's functions."""
    script = tmp_path / "script.py"
    script.write_text("from mpi4py import MPI\nc = MPI.COMM_WORLD\nassert c.rank != 1, 'mine'\nc.Barrier()\n", encoding="utf-8")
    begin = time.monotonic()
    done = run("-m", "mpi4py", script, ranks=3)
    assert time.monotonic() - begin < ENDS_WITHIN_S
    assert done.returncode == 1 and done.stderr.count("AssertionError: mine") == 1


@pytest.mark.parametrize("how", ["-c", "alone"])
def test_what_cannot_be_printed_still_ends_the_run(how):
    odd = "class Odd(DataError):\n        def __str__(self): raise MemoryError\n    raise Odd"
    body = f"if comm.rank > 0: time.sleep(9)\n    {odd}" if how == "-c" else odd
    done = a_main(body, ranks=3 if how == "-c" else 1)
    assert done.returncode == 3 and len(errors(done)) == 1 and "failed" in errors(done)[0]


@pytest.mark.skipif(OPEN_MPI, reason="it is MPICH that passes the machine's topology by a file")
def test_an_aborted_job_leaves_no_file_of_the_launcher():
    """The launcher names its file to the ranks in HWLOC_XMLFILE, unless it has a value already."""
    code = "import os; from mpi4py import MPI; print(repr(os.environ.get('HWLOC_XMLFILE')), flush=True); MPI.COMM_WORLD.Abort(3)"
    done = run("-c", code, ranks=2)
    assert done.returncode == 3 and "''" in done.stdout and "hydra" not in done.stdout
