"""Memory that the system gives, or gets back, while nobody waits for it.

A page costs time when it is touched first: it has to be found and cleared.  A thread has this done for what a table is about to grow into.
Where the system cannot do so without changing the page (Linux before 5.14), it is done when the page is touched, as ever.
"""

import ctypes
import mmap
from queue import SimpleQueue
from threading import Lock, Thread

_PIECE = 4 << 20
"""Bytes that are asked for in one call: others who map memory wait for it."""

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, for which Python has no name


class FreshMemory:
    """The thread, which begins when it is first needed.  The threads of a rank share one."""

    def __init__(self):
        self._wanted, self._begins = None, Lock()

    def make_ready(self, array, begin, end):
        """Have the system give the bytes begin .. end of an array from `aligned`, soon."""
        with self._begins:
            if self._wanted is None:
                self._wanted = SimpleQueue()
                Thread(target=_serve, args=(self._wanted,), name="deshpc-memory", daemon=True).start()
        for piece in range(begin, end, _PIECE):
            self._wanted.put((array, piece, min(piece + _PIECE, end)))

    def close(self):
        """Let the thread go."""
        if self._wanted is not None:
            self._wanted.put(None)
            self._wanted = None


def release(array, begin, end):
    """Give the whole pages among the bytes begin .. end of an array from `aligned`, which are zero, back to the system; they stay zero."""
    if hasattr(mmap, "MADV_DONTNEED") and array.nbytes >= _PIECE:
        _advise(array, begin, end, mmap.MADV_DONTNEED)


def _serve(wanted):
    able = True
    while (piece := wanted.get()) is not None:
        able = able and _advise(*piece, _POPULATE_WRITE)
        del piece  # nothing is kept longer than its owner keeps it, also where nothing can be done


def _advise(array, begin, end, advice):
    """Whether the system has done to the whole pages of some bytes what it is advised to; other threads run meanwhile."""
    first, last = array.ctypes.data + begin, array.ctypes.data + end
    first += -first % mmap.PAGESIZE
    size = last - last % mmap.PAGESIZE - first
    return size <= 0 or ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), advice) == 0
