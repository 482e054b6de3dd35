"""Memory of arrays on the CPU, and scratch arrays."""

import mmap
from contextlib import suppress

import numpy as np

from deshpc.backend.record import CACHE_LINE
from deshpc.backend.scratch import Scratch

_HUGE_PAGE = 2 << 20


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


class Buffers(Scratch):
    """Scratch arrays in host memory, whose fresh memory is zero."""

    def __init__(self):
        super().__init__(aligned, aligned)
