"""The one door between a device's memory and MPI.

Exchanges see host arrays only.  Where a backend computes on a device, an array goes out through pinned memory before an
exchange, and what has come is copied back after it; host arrays pass as they are.  PyPI's MPI libraries know nothing of
CUDA, and one that does is not needed for right results.
"""

import numpy as np


class HostDoor:
    """Arrays are in host memory already."""

    def out(self, array):
        """`array` in host memory, contiguous."""
        return np.ascontiguousarray(array)

    def room(self, array):
        """Host memory to receive what `back` is to copy to `array`."""
        return array

    def back(self, host, array):
        """`array`, holding what `host` holds."""
        return host

    def new(self, host, like):
        """What `host` holds, in an array that lies where `like` does."""
        return host

    def sent(self, host):
        """What `out` gave is not needed any more."""


class StagedDoor:
    """Arrays of `device` go through pinned memory, which is used again when what was sent back has arrived."""

    def __init__(self, device):
        self._device, self._free, self._lent = device, [], {}

    def out(self, array):
        if isinstance(array, np.ndarray):
            return np.ascontiguousarray(array)
        host = self._take(array)
        self._device.into_host(array, host)
        return host

    def room(self, array):
        return array if isinstance(array, np.ndarray) else self._take(array)

    def back(self, host, array):
        if isinstance(array, np.ndarray):
            return host
        self._device.to_device(host.reshape(array.shape), array)
        self._give(host)
        return array

    def new(self, host, like):
        if isinstance(like, np.ndarray):
            return host
        return self.back(host, self._device.empty(host.shape, host.dtype))

    def sent(self, host):
        self._give(host)

    def _take(self, array):
        fitting = [place for place, (memory, _) in enumerate(self._free) if len(memory) >= array.nbytes]
        if fitting:  # the smallest: a large one may be needed in the same step
            memory, mark = self._free.pop(min(fitting, key=lambda place: len(self._free[place][0])))
            self._device.wait(mark)
        else:
            memory = self._device.host_memory((array.nbytes + array.nbytes // 2,), np.uint8)
        host = memory[: array.nbytes].view(array.dtype).reshape(array.shape)
        self._lent[host.ctypes.data] = memory
        return host

    def _give(self, host):
        memory = self._lent.pop(host.ctypes.data, None)
        if memory is not None:
            self._free.append((memory, self._device.mark()))


def open_door(backend):
    """The door for the arrays of a backend."""
    return HostDoor() if backend.device is None else StagedDoor(backend.device)
