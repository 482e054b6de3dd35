"""By which transports arrays of a device could travel, and by which they do where nothing else is asked for."""

from typing import NamedTuple

from deshpc.comm.cuda_support import Support, asked, probe
from deshpc.config.schema import AUTO_TRANSPORT


class Way(NamedTuple):
    """name : of `compute.transport`
    works : True, False, or None where it cannot be told
    how : what was found, in words
    """

    name: str
    works: bool | None
    how: str


def find_transports(facts):
    """[Way] of this rank, from the Facts of all.  Call it after MPI is initialised.

    Whether MPI and a device fit is found out by another process.  Where there is no device, it is what the libraries say.
    """
    device = facts[0].device
    claims = asked()
    aware = claims if device is None or claims.works is False else probe(device.number)
    ways = ("host", Support(True, "through pinned memory, with every MPI")), ("cuda-aware", aware), ("nccl", _nccl(facts))
    return [Way(name, found.works, found.how + " (auto)" * (name == AUTO_TRANSPORT)) for name, found in ways]


def _nccl(facts):
    shared = [(one.node, one.device.identity) for one in facts if one.device]
    try:
        from cupy.cuda import nccl
    except ImportError as error:
        return Support(False, f"no CuPy: {error}")
    if not nccl.available:
        return Support(False, "CuPy finds no NCCL: pip install nvidia-nccl-cu13, or the library of the site's CUDA")
    version = f"NCCL {nccl.get_version()}"
    if len(set(shared)) < len(shared):
        return Support(False, f"{version}, but ranks share a device")
    return Support(True if shared else None, version if shared else f"{version}, but no device")
