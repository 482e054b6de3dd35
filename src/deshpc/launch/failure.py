"""How a run ends that fails: one rank says why, and the whole job is aborted, so that nobody waits for ever.

An error that all ranks share (`Group.agree`) is an ordinary exception.  Any other leaves the other ranks in a
collective that will never complete, and MPI has no way to call them out of it: `fail` ends them.
"""

import faulthandler
import inspect
import os
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import wraps
from typing import ParamSpec, TypeVar

from deshpc.errors import DeshpcError, OutOfMemory
from deshpc.launch.console import flush, say
from deshpc.launch.signals import Terminated, heard_in_time, ignore_signals, signals_raise

_FLUSH_S = 0.2  # the launcher passes a message on before it ends the job
_TURNS_S = 2.0  # ranks that fail together speak in rank order within this time; the first silences the others
_SIGTERM_S = 1.5  # Open MPI's launcher sends SIGTERM to the ranks that are left over, and SIGKILL a second later
_SILENCE_S = 5.0  # a silent rank is ended by the one that speaks; if not, it ends the job itself
_FAILED = 7  # tag of "I speak"

_ending = threading.Lock()
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def exit_code(error):
    """The exit code that an exception means."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    return getattr(error, "exit_code", 1)


def report(error, prefix=""):
    """Write what happened to standard error, in one piece: a line, or "failed" and the traceback."""
    try:
        text = f"deshpc: {prefix}{_description(error)}\n"
    except BaseException:  # no memory, or an exception that cannot be printed
        text = f"deshpc: {prefix}failed: {type(error).__name__}\n"
    with suppress(MemoryError):
        say(text)  # one write, so that ranks do not mix their lines
        flush()


def _description(error):
    if isinstance(error, DeshpcError):
        return str(error)
    if isinstance(error, MemoryError):
        where = error.where if isinstance(error, OutOfMemory) else ""
        return "out of memory" + (f": {error}" if str(error) else "") + (f" ({where})" if where else "")
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, Terminated):
        return f"terminated by {error.args[0] if error.args else 'SIGTERM'}"
    return "failed\n" + "".join(traceback.format_exception(error)).rstrip("\n")


@contextmanager
def failing_together(comm):
    """Run a block as all ranks of `comm` do: an exception on one of them ends the whole job, with its message once.

    Exceptions on which all ranks agreed, and those of a single rank, pass.  Gives a duplicate of `comm`, for `fail`.
    Entering is collective, and so is leaving without an error.
    """
    line = comm.Dup() if comm.size > 1 else comm
    try:
        yield line
    except BaseException as error:
        if comm.size > 1 and getattr(error, "agreed", 1) < comm.size:
            fail(line, error)
        raise
    finally:  # all ranks are here
        if comm.size > 1:
            line.Free()


def fails_together(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a collective function that has an argument `comm`: `failing_together` on it from begin to end.

    Where comm is None, it is COMM_WORLD: a script on one rank, or a notebook, need not name it.
    """
    parameters = inspect.signature(function)

    @wraps(function)
    def guarded(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        given = parameters.bind(*arguments, **named)
        if given.arguments.get("comm") is None:
            from deshpc.launch.start import world

            given.arguments["comm"] = world()
        with failing_together(given.arguments["comm"]):
            return function(*given.args, **given.kwargs)

    return guarded


def fail(comm, error, prefix=None):
    """End the job because of an error that this rank has met alone.  Does not return.  Not collective.

    Where several ranks fail, the first one speaks; in 10 s the job is over in any case.  May be called from any
    thread.  comm : one that carries no other messages with our tag
    """
    _ending.acquire()  # for good: another thread that fails has nothing to add
    code = exit_code(error) or 1  # a rank that leaves alone has failed, whatever it says
    try:
        ignore_signals()
        if _speaks(comm, _SIGTERM_S if isinstance(error, Terminated) else 0.0):
            report(error, f"rank {comm.rank} of {comm.size}: " if prefix is None and comm.size > 1 else prefix or "")
            _progress(comm, _FLUSH_S)
        else:
            time.sleep(_SILENCE_S)
    finally:
        try:
            _abort(code)
        finally:
            os._exit(code)  # Abort may return before it ends this process


def _speaks(comm, wait_s):
    """Whether this rank is the one that reports.  Waits for its turn; the first to have it tells the others."""
    if comm.size == 1 or not may_call_mpi():
        return True
    from mpi4py import MPI

    until = time.monotonic() + wait_s + _TURNS_S * comm.rank / comm.size
    try:
        while True:
            if comm.Iprobe(MPI.ANY_SOURCE, _FAILED):
                return False
            if time.monotonic() >= until:
                break
            time.sleep(0.01)
        for rank in range(comm.size):
            if rank != comm.rank:
                comm.Isend(b"", rank, _FAILED)
    except MPI.Exception:  # MPI itself is what failed
        pass
    return True


def _progress(comm, seconds):
    """Sleep, and let MPI deliver what was sent."""
    from mpi4py import MPI

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if comm.size > 1 and may_call_mpi():
            comm.Iprobe(MPI.ANY_SOURCE, _FAILED)
        time.sleep(0.01)


def _abort(code):
    from mpi4py import MPI

    MPI.COMM_WORLD.Abort(code)  # of a duplicate, MPICH's launcher learns only that a process has ended, not the code


def may_call_mpi():
    """Whether this thread may call MPI while another thread of the process is inside MPI."""
    from mpi4py import MPI

    return MPI.Query_thread() == MPI.THREAD_MULTIPLE or MPI.Is_thread_main()


@contextmanager
def this_process():
    """Let signals end a process that has no other ranks, with a message, whatever it is busy with."""

    def end(error):
        report(error)
        os._exit(exit_code(error))

    with signals_raise(), heard_in_time(end):
        yield


@contextmanager
def whole_process(comm):
    """Let signals, an exception in any thread, and a crash end the job of `comm` too, with a message."""
    before = threading.excepthook
    threading.excepthook = lambda what: what.exc_type is SystemExit or fail(comm, what.exc_value)
    if not faulthandler.is_enabled():
        faulthandler.enable(2)  # where Python was at a segmentation fault
    try:
        with signals_raise(), heard_in_time(lambda error: fail(comm, error)):
            yield
            with _ending:  # a thread that is failing does not give it back: it ends the process
                pass
    finally:
        threading.excepthook = before
