"""Groups whose arrays lie on the executor's device, by every transport."""

from contextlib import contextmanager

from nccl_stand_in import NcclStandIn

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.comm import door
from deshpc.comm.group import Group

TRANSPORTS = ("host", "cuda-aware", "nccl")


@contextmanager
def every_transport(comm, device, monkeypatch):
    """The stand-in for NCCL; while it lasts, `device` has it, and the MPI library counts as one that knows CUDA.  Collective.

    The executor's arrays are memory of the host, so an MPI library that knows nothing of CUDA moves them, too.
    """
    nccl = NcclStandIn(comm, device.stream)
    monkeypatch.setattr(device, "nccl", lambda: nccl)
    monkeypatch.setattr(door, "require_cuda_aware", lambda *_: None)
    yield nccl
    nccl.comm.Free()


@contextmanager
def group_by(transport, comm, device):
    """(Group, CudaBackend) whose arrays travel by a transport.  Collective."""
    group, backend = Group(comm), CudaBackend(device)
    group.take_arrays_of(backend, transport)
    yield group, backend
    backend.close()
    group.free()
