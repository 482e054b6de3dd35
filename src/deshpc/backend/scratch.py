"""Scratch arrays that are reused from step to step, wherever a backend keeps them."""

import math

import numpy as np

_ROWS = 64  # by which arrays that are lent grow


class Scratch:
    """Named arrays, allocated once and grown by half when a batch is larger, and arrays that are lent.

    A name keeps its memory, so the contents of the last call are overwritten.
    """

    def __init__(self, empty, zeros):
        """empty, zeros : function(count, NumPy type, what it is for) that gives a flat array"""
        self._empty, self._zeros = empty, zeros
        self._arrays, self._last, self._free = {}, {}, {}

    def array(self, name, shape, dtype):
        """A C-contiguous array of `shape`; contents are whatever was there."""
        last = self._last.get(name)
        if last is not None and last[0] == shape and last[1] is dtype:  # nearly always, and a step asks for a dozen
            return last[2]
        return self._take(name, shape, dtype, self._empty)

    def zeros(self, name, shape, dtype):
        """An array that is zero when its memory is first made; whoever writes to it leaves it zero again."""
        last = self._last.get(name)
        if last is not None and last[0] == shape and last[1] is dtype:
            return last[2]
        return self._take(name, shape, dtype, self._zeros)

    def _take(self, name, asked, dtype, make):
        shape = asked if isinstance(asked, tuple) else (asked,)
        count = 1
        for extent in shape:
            count *= int(extent)
        held = self._arrays.get(name)
        if held is None or len(held) < count or held.dtype != dtype:
            held = self._arrays[name] = make(count + count // 2, np.dtype(dtype), f"the buffer {name!r}")
        result = held[:count].reshape(shape)
        self._last[name] = asked, dtype, result
        return result

    def lend(self, shape, dtype):
        """An array (>= rows, ...) for `shape` (rows, ...), nobody else's until it is given back; if possible the one that was last."""
        dtype = np.dtype(dtype)
        free = self._free.setdefault((shape[1:], dtype), [])
        if free and len(free[-1]) >= shape[0]:
            return free.pop()
        if free:  # too small: a larger one takes its place
            free.pop()
        rows = -(-shape[0] // _ROWS) * _ROWS
        return self._empty(rows * math.prod(map(int, shape[1:])), dtype, "a layer").reshape(rows, *shape[1:])

    def give_back(self, array):
        """Take back an array that was lent."""
        self._free[array.shape[1:], array.dtype].append(array)

    @property
    def nbytes(self):
        """Bytes held, without those lent."""
        free = [array for arrays in self._free.values() for array in arrays]
        return sum(array.nbytes for array in [*self._arrays.values(), *free])
