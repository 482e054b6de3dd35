"""Memory of arrays, and scratch arrays that are reused from step to step."""

import mmap
from contextlib import suppress

import numpy as np

from deshpc.backend.record import CACHE_LINE

_HUGE_PAGE = 2 << 20
_ROWS = 64  # by which arrays that are lent grow


def aligned(count, dtype, what="an array"):
    """`count` zeros that start at a cache line, in huge pages where they fill one.  MemoryError, naming `what` they are for.

    Rows are read at random: with pages of 4 KiB the processor would look up an address for nearly every row.  Memory
    fresh from the system is asked for, since only pages that nobody has touched become huge; the system has cleared it.
    """
    dtype = np.dtype(dtype)
    size = count * dtype.itemsize
    if size < _HUGE_PAGE:
        raw = _granted(lambda: np.zeros(size + CACHE_LINE, np.uint8), size, what)
        start = -raw.ctypes.data % CACHE_LINE
        return raw[start : start + size].view(dtype)
    pages = _granted(lambda: mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), size, what)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype)


def _granted(ask, size, what):
    try:
        return ask()
    except (OSError, MemoryError, OverflowError):
        raise MemoryError(f"{size / 2**20:,.1f} MiB for {what} were refused") from None


class Buffers:
    """Named scratch arrays, allocated once and grown by half when a batch is larger.  A name keeps its memory, so the contents of the last call are overwritten."""

    def __init__(self):
        self._arrays, self._last, self._free = {}, {}, {}

    def array(self, name, shape, dtype):
        """A C-contiguous array of `shape`; contents are whatever was there."""
        form, last = (shape, dtype), self._last.get(name)
        if last is not None and last[0] == form:  # nearly always, and a step asks for a dozen
            return last[1]
        shape = shape if isinstance(shape, tuple) else (shape,)
        count = 1
        for extent in shape:
            count *= int(extent)
        held = self._arrays.get(name)
        if held is None or len(held) < count or held.dtype != dtype:
            held = self._arrays[name] = aligned(count + count // 2, dtype, f"the buffer {name!r}")
        result = held[:count].reshape(shape)
        self._last[name] = form, result
        return result

    def zeros(self, name, shape, dtype):
        """An array that is zero when its memory is first made; whoever writes to it leaves it zero again."""
        return self.array(name, shape, dtype)

    def lend(self, shape, dtype):
        """An array (>= rows, ...) for `shape` (rows, ...), nobody else's until it is given back; if possible the one that was last."""
        dtype = np.dtype(dtype)
        free = self._free.setdefault((shape[1:], dtype), [])
        if free and len(free[-1]) >= shape[0]:
            return free.pop()
        if free:  # too small: a larger one takes its place
            free.pop()
        rows = -(-shape[0] // _ROWS) * _ROWS
        return aligned(rows * int(np.prod(shape[1:])), dtype).reshape(rows, *shape[1:])

    def give_back(self, array):
        """Take back an array that was lent."""
        self._free[array.shape[1:], array.dtype].append(array)

    @property
    def nbytes(self):
        """Bytes held, without those lent."""
        free = [array for arrays in self._free.values() for array in arrays]
        return sum(array.nbytes for array in [*self._arrays.values(), *free])
