"""Scratch arrays on a device."""

from deshpc.backend.scratch import Scratch


class Buffers(Scratch):
    """Scratch arrays on `device`."""

    def __init__(self, device):
        super().__init__(lambda count, dtype, what: device.empty((count,), dtype), lambda count, dtype, what: device.zeros((count,), dtype))
        self._device = device
