"""Scratch arrays that are reused from step to step: allocated once, grown by half when a batch is larger."""

import numpy as np

from deshpc.backend.record import CACHE_LINE


def aligned(count, dtype):
    """`count` uninitialised numbers that start at a cache line."""
    dtype = np.dtype(dtype)
    raw = np.empty(count * dtype.itemsize + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + count * dtype.itemsize].view(dtype)


class Buffers:
    """Named scratch arrays.  A name keeps its memory, so the contents of the last call are overwritten."""

    def __init__(self):
        self._arrays = {}

    def array(self, name, shape, dtype):
        """A C-contiguous array of `shape`; contents are whatever was there."""
        shape = shape if isinstance(shape, tuple) else (shape,)
        count = 1
        for extent in shape:
            count *= int(extent)
        held = self._arrays.get(name)
        if held is None or len(held) < count or held.dtype != dtype:
            held = self._arrays[name] = aligned(count + count // 2, dtype)
        return held[:count].reshape(shape)

    def zeros(self, name, shape, dtype):
        """An array that is zero when its memory is first made; whoever writes to it leaves it zero again."""
        held = self._arrays.get(name)
        result = self.array(name, shape, dtype)
        if self._arrays[name] is not held:
            self._arrays[name].fill(0)
        return result

    @property
    def nbytes(self):
        """Bytes held."""
        return sum(array.nbytes for array in self._arrays.values())
