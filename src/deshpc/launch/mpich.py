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

from deshpc.launch.launcher import launcher

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl
_LAUNCHER_ENDS_S = 0.5


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

    Call it before MPI is loaded and before threads exist.  The parent keeps 10 MB, and uses no time.  Nobody outlives the one
    above: the launcher's process takes the parent along, and the parent the child.  What the parent cannot say where it is killed
    itself, a third process says, which waits for its end.
    """
    found = launcher()
    if found.ranks == 1 or not under_mpich() or sys.platform != "linux" or "mpi4py.MPI" in sys.modules:
        return
    end_with_parent(os.getppid())
    parent, name = os.getpid(), f"rank {found.rank} of {found.ranks}"
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    end, says_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.close(says_end)
        os.setpgid(0, 0)  # what the launcher sends to the group comes from the parent, once
        end_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        return
    witness = os.fork()
    if witness == 0:
        os.close(says_end)
        os.setpgid(0, 0)
        os._exit(_witness(end, name))
    os.close(end)
    code = _wait_for(child, name)
    with suppress(OSError):
        os.write(says_end, b".")
        os.waitpid(witness, 0)
    os._exit(code)


def end_with_parent(parent):
    """Have Linux kill this process when its parent ends: MPICH's launcher does not, where it is killed itself."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before it could be heard
        os._exit(1)


def _witness(end, name):
    """Wait for the end of the parent, the only one to hold the other side of a pipe; say so if it did not come by itself.

    Where the launcher has killed all parents, it is gone before it could be told.
    """
    if not os.read(end, 1):
        time.sleep(_LAUNCHER_ENDS_S)
        _say(f"{name}: killed, as was its parent process: out of memory?")
        end_job_of_mpich(128 + signal.SIGKILL)
    return 0


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
    _say(f"{name}: killed by signal {number} ({_signal_name(number)}){why}")
    end_job_of_mpich(128 + number)
    return 128 + number


def _say(text):
    with suppress(OSError):  # nobody listens any more
        os.write(2, f"deshpc: {text}\n".encode())


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "no name"
