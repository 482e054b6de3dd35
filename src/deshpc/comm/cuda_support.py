"""Whether the MPI library takes arrays of a device.

A library that does not reads a device's address as one of the host, and is killed; some end the process when they are only asked before
they have been initialised.  So another process finds out: it asks the library, and sends itself an array of the device.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from deshpc.errors import LaunchError

_CUDA = 0  # MPIX_GPU_SUPPORT_CUDA
_LAUNCHERS = (
    "PMI", "PRTE", "HYDI", "HYDRA", "MPIR_", "MPI_LOCAL", "SLURM", "PALS", "ALPS", "OMPI_COMM_WORLD", "OMPI_UNIVERSE", "OMPI_MCA_ess",
    "OMPI_MCA_orte",
)  # fmt: skip
_KEPT = ("MPIR_CVAR_",)  # settings, not what a launcher tells its processes
_TIMEOUT_S = 120


class Support(NamedTuple):
    """works : True, False, or None where it cannot be told
    how : what was found, in words
    """

    works: bool | None
    how: str


def asked(environment=os.environ):
    """The Support that the loaded library claims.  Call it after MPI is initialised."""
    from mpi4py import MPI

    if "CRAY" in MPI.Get_library_version().upper() and environment.get("MPICH_GPU_SUPPORT_ENABLED") != "1":
        return Support(False, "MPICH_GPU_SUPPORT_ENABLED is not 1")
    for switch in ("MPIR_CVAR_ENABLE_GPU", "MPICH_GPU_SUPPORT_ENABLED"):
        if environment.get(switch) == "0":
            return Support(False, f"{switch}=0")
    path = library_path()
    if path is None:
        return Support(None, "the library's file was not found")
    library = ctypes.CDLL(path)  # already loaded: the same instance
    if hasattr(library, "MPIX_Query_cuda_support"):  # MPICH, Open MPI, MVAPICH
        return Support(bool(library.MPIX_Query_cuda_support()), "MPIX_Query_cuda_support")
    if hasattr(library, "MPIX_GPU_query_support"):
        supported = ctypes.c_int(0)
        if library.MPIX_GPU_query_support(_CUDA, ctypes.byref(supported)) == 0:
            return Support(bool(supported.value), "MPIX_GPU_query_support")
    return _built(Path(path)) or Support(None, "the library offers no query")


def _built(path):
    """What Open MPI says of its build; None where it says nothing."""
    program = path.resolve().parent.with_name("bin") / "ompi_info"
    try:
        done = subprocess.run([program, "--parsable", "--all"], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = [line.rpartition(":")[2] for line in done.stdout.splitlines() if "mpi_built_with_cuda_support:value" in line]
    return Support(found[0] == "true", "mpi_built_with_cuda_support") if found else None


def probe(device=None, command=(sys.executable, "-m", "deshpc.comm.cuda_probe"), environment=os.environ):
    """The Support that another process finds: it asks the library and, where a device is given, sends an array of it to itself.

    device : its number, as CUDA counts those that this process may use
    """
    own = {name: value for name, value in environment.items() if name.startswith(_KEPT) or not name.startswith(_LAUNCHERS)}
    words = [*command, *([] if device is None else [str(device)])]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_S, env=own, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Support(None, f"it could not be asked: {error}")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not found:
        return Support(None, f"it could not be asked: {_end(done)}")
    claims = Support(found[0]["works"], found[0]["how"])
    if device is None or claims.works is False:
        return claims
    if len(found) < 2:
        return Support(False, f"{_claim(claims)}, but a process that sent an array of the device {_end(done)}")
    sent = found[1]["sent"]
    return Support(sent, f"{_claim(claims)}, and an array of the device {'arrived' if sent else 'arrived with other contents'}")


def require_cuda_aware(comm, device, together):
    """LaunchError on all ranks of `comm` where an MPI library does not take arrays of a device.  Collective.

    A process of each node finds out.  together : see `Group.together`
    """
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    first = node.rank == 0
    node.Free()
    together(lambda: _require(probe(device.number)) if first else None)


def _require(found):
    if not found.works:
        from mpi4py import MPI

        name, version = MPI.get_vendor()
        raise LaunchError(
            f"compute.transport = 'cuda-aware': {name} {'.'.join(map(str, version))} does not take arrays of a CUDA device ({found.how}); "
            "choose 'host', which is right with every MPI, or use an MPI that was built with CUDA and has it switched on "
            "(MPICH: MPIR_CVAR_ENABLE_GPU=1; Cray MPICH: MPICH_GPU_SUPPORT_ENABLED=1)"
        )


def _claim(claims):
    if claims.works is None:
        return claims.how
    return f"{claims.how} says {'yes' if claims.works else 'no'}"


def _end(done):
    if done.returncode < 0:
        return f"was ended by signal {-done.returncode}"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"ended with {done.returncode}: {last}"


def library_path():
    """File of the loaded MPI library."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    paths = [line.split(maxsplit=5)[5] for line in lines if "/libmpi" in line and ".so" in line]
    return next(iter(sorted(paths, key=len)), None)
