"""What each rank finds on its node: cores, devices, shared memory, versions.  Gathered for `deshpc doctor`."""

import os
import platform
import socket
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from deshpc.backend.versions import unmet
from deshpc.comm.cores import allocated_cores, cores_for, cores_on_node, own_cores
from deshpc.comm.shared_memory import FOLDER, free_bytes
from deshpc.doctor.devices import Device, device_of_rank, visible_devices

_SEGMENTS = ("mpich_shm_*", "sm_segment.*", "vader_segment.*")
_STARTING_S = 60  # a file so young may belong to a job that is about to map it
_VARIABLES = ("SLURM_JOB_NUM_NODES", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Facts:
    """One rank's.

    node : number of its node
    local_rank : its number there
    cores : on which it may run
    threads : how many it would start
    node_cores : cores of the machine, or of the job on it
    devices : all that it sees
    device : the one that it would take
    shared_memory : free bytes of /dev/shm, None where there is none
    leftovers : files of this user in /dev/shm which belong to no living process (the node's first rank only)
    kernel_cache : why compiled kernels cannot be kept, or ""
    versions : of what has to be equal on all ranks
    unmet, unmet_device : versions that do not go together with deshpc, and with its device backend; or ""
    variables : those that matter, where they are set
    """

    host: str
    node: int
    local_rank: int
    cores: list[int]
    threads: int
    node_cores: int
    devices: list[Device]
    device: Device | None
    shared_memory: int | None
    leftovers: list[str]
    kernel_cache: str
    versions: str
    unmet: str
    unmet_device: str
    variables: dict[str, str]


def gather(comm):
    """[Facts of rank 0, Facts of rank 1, ...] on every rank.  Collective; `comm` may be None: one rank without MPI."""
    if comm is None:
        return [_facts(0, 0, [own_cores()])]
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    firsts = sorted(set(comm.allgather(node.bcast(comm.rank))))
    facts = _facts(firsts.index(node.bcast(comm.rank)), node.rank, node.allgather(own_cores()))
    node.Free()
    return comm.allgather(facts)


def _facts(node, local_rank, cores_of_ranks):
    from deshpc.jit import cache_problem

    devices, ranks_on_node = visible_devices(), len(cores_of_ranks)
    threads = cores_for(local_rank, cores_of_ranks, allocated_cores(ranks_on_node))
    return Facts(
        socket.gethostname(), node, local_rank, cores_of_ranks[local_rank], threads,
        cores_on_node(), devices, device_of_rank(devices, local_rank), free_bytes(),
        leftovers() if local_rank == 0 else [], cache_problem(), _versions(), unmet(), unmet("cuda"),
        {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    )  # fmt: skip


def kill_on_bad_exit(environment=os.environ):
    """True if srun is known to end a step when one of its tasks fails, by a variable or by Slurm's configuration.

    The option -K on srun's command line cannot be seen: then, None.
    """
    if environment.get("SLURM_KILL_BAD_EXIT") == "1":
        return True
    if "SLURM_JOB_ID" not in environment:
        return None
    try:
        done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = [line.split("=")[1].strip() for line in done.stdout.splitlines() if line.startswith("KillOnBadExit")]
    return True if values == ["1"] else None


def _versions():
    packages = [f"{name} {metadata.version(name)}" for name in ("deshpc", "numpy", "numba")]
    return ", ".join([*packages, f"Python {platform.python_version()}"])


def leftovers(folder=Path(FOLDER), young_s=_STARTING_S):
    """Shared-memory files of MPI libraries in `folder` that belong to this user and that no process of his maps."""
    found = {
        str(path)
        for pattern in _SEGMENTS
        for path in folder.glob(pattern)
        if (status := _status(path)) and status.st_uid == os.getuid() and time.time() - status.st_mtime > young_s
    }
    if found:
        found -= {line.split(maxsplit=5)[5] for line in _maps() if "/" in line}
    return sorted(found)


def _status(path):
    try:
        return path.stat()
    except OSError:  # gone meanwhile
        return None


def _maps():
    """Lines of all processes' memory maps, as far as they can be read."""
    for path in Path("/proc").glob("[0-9]*/maps"):
        try:
            yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
