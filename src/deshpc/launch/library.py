"""The MPI library that mpi4py has loaded: whose it is, what it can join.

Loading it does not initialise MPI.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

from deshpc.comm.cuda_support import library_path
from deshpc.comm.shared_memory import has_room, no_room
from deshpc.errors import LaunchError

_MPICH_SHARED_BYTES = 6 << 20  # of /dev/shm for each rank, by MPICH 4 and 5; 5.4 measured


@dataclass(frozen=True)
class Library:
    """name : vendor
    version : (major, minor, micro)
    text : what it says of itself, with its build options."""

    name: str
    version: tuple
    text: str

    def __str__(self):
        return f"{self.name} {'.'.join(map(str, self.version))}"

    def joins(self, launcher):
        """False where it is known that ranks started by `launcher` cannot find each other; True: not known to fail."""
        if self.name == "MPICH" and launcher.wireup == ("pmix",):
            return "pmix" in self.text.lower()  # only if it was built for it; else MPI's start-up kills the process
        if self.name == "Open MPI" and self.version >= (5,) and launcher.ranks > 1:
            return "pmix" in launcher.wireup
        return True

    def lacks_room(self, launcher):
        """Why MPI would be killed while it starts, or None: MPICH writes to files in /dev/shm without asking for room."""
        ranks = launcher.ranks_on_node
        if self.name == "MPICH" and ranks > 1 and not has_room(_MPICH_SHARED_BYTES, ranks):
            return str(no_room(ranks * _MPICH_SHARED_BYTES, f" for MPICH and {ranks} ranks"))
        return None

    def mpiexec(self):
        """The mpiexec that belongs to it: its path, or in words."""
        path = library_path()
        beside = path and Path(path).parent.with_name("bin") / "mpiexec"
        return str(beside) if beside and beside.exists() else f"the mpiexec of {self.name}"

    def srun_option(self):
        """The --mpi option that srun needs for it."""
        return {"Open MPI": "--mpi=pmix", "MPICH": "--mpi=pmi2", "Intel MPI": "--mpi=pmi2"}.get(self.name)


def load_library():
    """Load the MPI library; a LaunchError says what to install where there is none."""
    try:
        import mpi4py

        mpi4py.rc(initialize=False, finalize=True)  # launch.start() initialises, when all is known to fit
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # mpi4py's own suspicion, on every rank
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            f"no MPI library could be loaded ({error}); use your site's MPI, or: pip install 'deshpc[mpich]'"
        ) from None
    return Library(*MPI.get_vendor(), MPI.Get_library_version())


def thread_level():
    """The level of thread support that MPI was initialised with, such as "multiple"."""
    from mpi4py import MPI

    names = ("single", "funneled", "serialized", "multiple")
    levels = (MPI.THREAD_SINGLE, MPI.THREAD_FUNNELED, MPI.THREAD_SERIALIZED, MPI.THREAD_MULTIPLE)
    return dict(zip(levels, names, strict=True))[MPI.Query_thread()]
