"""The one door between arrays and what travels: for each array, the transport of the memory that it lies in.

What lies in host memory always travels by the host, whatever the transport of a device is: counts, control numbers, labels.
"""

import numpy as np

from deshpc.comm.cuda_support import require_cuda_aware
from deshpc.comm.mpi_transport import MpiTransport
from deshpc.comm.nccl_transport import open_nccl
from deshpc.comm.staged_transport import StagedTransport
from deshpc.config.schema import AUTO_TRANSPORT


class HostDoor:
    """All arrays are in host memory.

    host : the HostTransport; `comm` its communicator
    narrow : the transport whose numbers travel as halves, or None
    """

    def __init__(self, host, narrow=None):
        self._host, self._narrow, self.comm = host, narrow, host.comm

    def of(self, array, narrow=False):
        """The transport of an array.  narrow : whether its numbers travel as halves"""
        return self._narrow if narrow else self._host

    def close(self):
        """Nothing is held."""


class DeviceDoor:
    """Arrays are in host memory, or on a device, whose transport is `device`; narrow, narrow_device : those of halves, or None."""

    def __init__(self, host, device, narrow=None, narrow_device=None):
        self._host, self._device, self._narrow, self._narrow_device = host, device, narrow, narrow_device

    @property
    def comm(self):
        """The communicator, on which all that was asked for has begun: collectives keep their order."""
        self._device.begin_all()
        return self._host.comm

    def of(self, array, narrow=False):
        """The transport of an array.  narrow : whether its numbers travel as halves"""
        if not isinstance(array, np.ndarray):
            return self._narrow_device if narrow else self._device
        self._device.begin_all()
        return self._narrow if narrow else self._host

    def close(self):
        """Give back what the device's transport holds.  Collective."""
        self._device.close()


def open_door(backend, name, host, narrow, together):
    """The door for the arrays of a backend.

    name : of `compute.transport`
    host : the HostTransport
    narrow : that of halves, None where numbers travel as they are;  arrays of a device have it by the transport "host" alone
    together : see `Group.together`
    Collective for "cuda-aware" and "nccl" on several ranks: a LaunchError on all of them where that cannot work.
    """
    if backend.device is None:
        return HostDoor(host, narrow)
    name = AUTO_TRANSPORT if name == "auto" else name
    if name == "host" or host.comm.size == 1:  # one rank sends nothing
        staged = StagedTransport(backend.device, host)
        return DeviceDoor(host, staged, narrow, narrow and StagedTransport(backend.device, narrow, staged.turns))
    if name == "nccl":
        return DeviceDoor(host, open_nccl(host.comm, backend, together))
    require_cuda_aware(host.comm, backend.device, together)
    return DeviceDoor(host, MpiTransport(host.comm, backend))
