"""Start-up and the end of a rank: the only place that knows COMM_WORLD, and that turns an exception into an abort."""

import os
import sys
import time
import traceback

from deshpc.errors import DeshpcError, LaunchError

_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


def launched_ranks():
    """Number of ranks that the launcher's environment announces; 1 where there is no launcher."""
    return max((int(os.environ[name]) for name in _SIZE_VARIABLES if os.environ.get(name, "").isdigit()), default=1)


def world():
    """COMM_WORLD.  Initialises MPI; a LaunchError says what to install where there is none."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            f"no MPI library could be loaded ({error}); use your site's MPI, or: pip install 'deshpc[mpich]'"
        ) from None
    comm = MPI.COMM_WORLD
    if launched_ranks() != comm.size and comm.size == 1:
        raise LaunchError(
            f"the launcher started {launched_ranks()} processes but MPI sees one rank each: mpiexec and the MPI library "
            "belong to different MPIs; use the mpiexec of the environment that deshpc is installed in"
        )
    return comm


def run(main, comm):
    """Call main(comm) and return the exit code.  If this rank fails alone, the whole job ends with its message.

    An error on which all ranks agreed (`Group.agree`) is reported by rank 0 and every rank returns its exit code;
    any other is reported by its rank, and MPI's abort ends all the others.
    """
    try:
        return main(comm)
    except BaseException as error:
        code = _exit_code(error)
        if comm.size == 1 or getattr(error, "agreed", False):
            if comm.rank == 0:
                _report(error, "")
            return code
        _report(error, f"rank {comm.rank} of {comm.size}: ")
        time.sleep(0.2)  # the launcher passes the message on before it ends the job
        comm.Abort(code or 1)  # a rank that leaves alone has failed, whatever it says
        return code or 1  # Abort may return before it ends this process


def _exit_code(error):
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    return getattr(error, "exit_code", 1)


def _report(error, prefix):
    sys.stdout.flush()
    if isinstance(error, DeshpcError):
        text = f"deshpc: {prefix}{error}\n"
    elif isinstance(error, KeyboardInterrupt):
        text = f"deshpc: {prefix}interrupted\n"
    else:
        text = f"deshpc: {prefix}failed\n" + "".join(traceback.format_exception(error))
    sys.stderr.write(text)  # one write, so that ranks do not mix their lines
    sys.stderr.flush()
