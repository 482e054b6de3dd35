"""Scratch arrays on a device that are reused from step to step."""

import numpy as np


class Buffers:
    """Arrays by name; one that is too small is made anew, half as large again as needed."""

    def __init__(self, device):
        self._device, self._arrays, self._last = device, {}, {}

    def array(self, name, shape, dtype):
        """A contiguous array of `shape`; contents are whatever was there."""
        return self._take(name, shape, dtype, self._device.empty)

    def zeros(self, name, shape, dtype):
        """An array that is zero when its memory is first made; whoever writes to it leaves it zero again."""
        return self._take(name, shape, dtype, self._device.zeros)

    def _take(self, name, shape, dtype, make):
        form, last = (shape, dtype), self._last.get(name)
        if last is not None and last[0] == form:
            return last[1]
        shape = shape if isinstance(shape, tuple) else (shape,)
        count = int(np.prod(shape, dtype=np.int64))
        held = self._arrays.get(name)
        if held is None or held.size < count or held.dtype != dtype:
            held = self._arrays[name] = make((count + count // 2,), np.dtype(dtype))
        result = held[:count].reshape(shape)
        self._last[name] = form, result
        return result

    @property
    def nbytes(self):
        """Bytes held."""
        return sum(array.nbytes for array in self._arrays.values())
