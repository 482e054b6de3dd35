"""Start-up and the end of a rank: where COMM_WORLD comes from, and where an exception becomes an exit code."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deshpc.comm.shared_memory import unlink_segments
from deshpc.errors import LaunchError
from deshpc.launch.failure import Terminated, exit_code, failing_together, report, whole_process
from deshpc.launch.launcher import Launcher, launcher
from deshpc.launch.library import Library, load_library
from deshpc.launch.mpich import end_job_of_mpich, end_with_parent, under_mpich

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

_ALL_ARRIVE_S = 2.0


@dataclass(frozen=True)
class Start:
    """How this process was started.

    library : None where none could be loaded
    comm : COMM_WORLD, None where MPI was not initialised
    problem : why the ranks cannot work together and what to do, or None
    everywhere : whether every process has met it
    """

    launcher: Launcher
    library: Library | None
    comm: object
    problem: str | None
    everywhere: bool = True


def start():
    """Initialise MPI, unless it is known that this would end the process; returns the Start."""
    found = launcher()
    try:
        library = load_library()
    except LaunchError as error:
        return Start(found, None, None, str(error))
    from mpi4py import MPI

    if not MPI.Is_initialized():
        if not library.joins(found):
            return Start(found, library, None, _mismatch(found, library))
        if library.name == "Open MPI":  # its one-sided UCX part complains on every rank; windows stay inside nodes here
            os.environ.setdefault("OMPI_MCA_osc", "^ucx")
        if under_mpich() or found.name.startswith("srun"):  # their daemons may be killed, and leave their ranks behind
            end_with_parent(os.getppid())
        if problem := library.lacks_room(found):
            return Start(found, library, None, problem, everywhere=False)
        MPI.Init_thread()
        unlink_segments(MPI.COMM_WORLD)
    comm = MPI.COMM_WORLD
    return Start(found, library, comm, _mismatch(found, library, comm.size) if comm.size < found.ranks else None)


def world():
    """COMM_WORLD.  Initialises MPI; a LaunchError on every process if N processes would be N runs of one rank."""
    started = start()
    if started.problem:
        error = LaunchError(started.problem)
        if started.library and started.everywhere:
            error.shared_by(started.launcher.ranks)  # every process sees the same launcher and the same library
        raise error
    return started.comm


def _mismatch(found, library, size=1):
    """What is wrong where each of the launched processes sees a run of `size` ranks, and how to start it instead."""
    ranks = "rank" if size == 1 else "ranks"
    what = f"{found.ranks} processes would be runs of {size} {ranks} each" if found.ranks > 1 else "MPI cannot start"
    mpiexec, option = f"{library.mpiexec()} -n {found.ranks} ...", library.srun_option()
    if option is None or option in found.name:
        way = mpiexec
    elif found.name.startswith("srun"):
        way = f"srun -K {option} -n {found.ranks} ...  or  {mpiexec}"
    else:
        way = f"{mpiexec}  or, in a Slurm job,  srun -K {option} -n {found.ranks} ..."
    return f"{found.name} and the MPI library, {library}, do not fit: {what}; start it by  {way}"


def run(main, comm):
    """Call main(comm) and return the exit code.  If this rank fails alone, the whole job ends with its message.

    An error on which all ranks agreed (`Group.agree`) is reported by rank 0 and every rank returns its exit code;
    any other is reported by its rank, and MPI's abort ends all the others.  Collective.
    """
    try:
        with failing_together(comm) as line, whole_process(line):
            return main(comm)
    except BaseException as error:
        if comm.rank == 0:
            report(error)
        return exit_code(error)


@contextmanager
def ranks() -> Iterator["Intracomm"]:
    """COMM_WORLD for a script that runs under mpiexec: `with deshpc.ranks() as comm: ...`

    As for the command line, an error of one rank ends the whole job with its message, and one that all ranks share
    is said once and becomes the exit code.  A script that runs alone sees its exceptions as always.  Collective.
    """
    try:
        comm = world()
    except LaunchError as error:
        raise SystemExit(leave(error)) from None
    try:
        with failing_together(comm) as line, whole_process(line):
            yield comm
    except BaseException as error:
        if comm.size == 1 and not isinstance(error, Terminated):
            raise
        if comm.rank == 0:
            report(error)
        raise SystemExit(exit_code(error)) from None


def leave_together(code):
    """Wait until rank 0 has said what is wrong, and all ranks have met it, before MPI runs.

    Launchers end the job with the first process that leaves.  A rank that is ended while it waits says nothing and
    leaves with `code`, too.  From the main thread only.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
    time.sleep(_ALL_ARRIVE_S)


def leave(error):
    """Report an error that this rank has met before MPI runs; returns the exit code.  Not collective.

    What every rank meets is said by the first.  The other ranks, which may wait for this one in MPI's start, are ended
    by the launcher.
    """
    code, found, agreed = exit_code(error), launcher(), getattr(error, "agreed", 1) > 1
    if found.ranks > 1 and isinstance(error, Terminated):
        leave_together(code)  # it may be the launcher that ends the job, and has said why
    if found.rank == 0:
        report(error)
    if found.rank > 0 or (found.ranks > 1 and agreed):
        leave_together(code)
    if found.rank > 0 and not agreed:
        report(error, f"rank {found.rank} of {found.ranks}: ")
    if found.ranks > 1 and under_mpich():
        end_job_of_mpich(code)
    return code
