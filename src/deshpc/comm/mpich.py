"""What MPICH's launcher, and Intel MPI's, which is made from it, have to be told.

A rank that is killed (out of memory) or crashes cannot report.  Open MPI and Slurm name the rank and the signal.
MPICH names the signal alone, with the number of another process: a parent process of each rank says which it was.
"""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress

from deshpc.comm.launcher import launcher

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl


def under_mpich():
    """Whether MPICH's launcher, or a relative of it, started this process."""
    return "HYDI_CONTROL_FD" in os.environ


def end_job_of_mpich(code):
    """Let MPICH's launcher end all ranks with this exit code, as MPI's abort does, without MPI in this process.

    Otherwise it waits for ranks that leave before MPI has started, and mixes up exit codes.
    """
    time.sleep(0.2)  # it passes a message on before it ends the job
    with suppress(OSError, ValueError, KeyError):
        os.write(int(os.environ["PMI_FD"]), f"cmd=abort exitcode={code}\n".encode())


def under_a_parent():
    """Under MPICH's launcher on Linux, go on in a child process; the parent waits, and ends as the child did.

    Call it before MPI is loaded and before threads exist.  The parent keeps 10 MB, and uses no time.
    """
    found = launcher()
    if found.ranks == 1 or not under_mpich() or sys.platform != "linux" or "mpi4py.MPI" in sys.modules:
        return
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # what the launcher sends to the group comes from the parent, once
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before it could be heard
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        return
    os._exit(_wait_for(child, f"rank {found.rank} of {found.ranks}"))


def _wait_for(child, name):
    """Wait for the end of `child`; returns the exit code to end with, after a line if a signal has killed it."""
    for number in _PASSED_ON:
        signal.signal(number, lambda number, frame: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    number = -code
    why = ": out of memory?" if number == signal.SIGKILL else ""
    os.write(2, f"deshpc: {name}: killed by signal {number} ({_signal_name(number)}){why}\n".encode())
    end_job_of_mpich(128 + number)
    return 128 + number


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "no name"
