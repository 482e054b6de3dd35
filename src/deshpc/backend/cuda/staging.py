"""Pinned memory, and the ring of it through which other arrays leave for a device.

Before CUDA copies from memory that is not pinned, it may let the host wait for all that the stream was given.
"""

from itertools import cycle

import numpy as np

_SLOTS, _SLOT_BYTES = 16, 1 << 16  # a step sends a few arrays of some kilobytes


def pinned_memory(cupy, shape, dtype):
    """A NumPy array in pinned memory; contents are whatever was there."""
    dtype, count = np.dtype(dtype), int(np.prod(shape, dtype=np.int64))
    memory = cupy.cuda.alloc_pinned_memory(max(1, count * dtype.itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


def is_pinned(cupy, host):
    """Whether a NumPy array is in memory of `pinned_memory`."""
    while isinstance(host, np.ndarray):
        host = host.base
    return isinstance(host, memoryview) and isinstance(host.obj, cupy.cuda.PinnedMemoryPointer)


class StagingRing:
    """Slots of pinned memory, used in turns, for the copies of one stream.

    The stream makes them in order, so the next slot's copy is the oldest.
    """

    def __init__(self, cupy, stream):
        self._cupy, self._stream = cupy, stream
        self._slots = cycle([_Slot(cupy, memory) for memory in pinned_memory(cupy, (_SLOTS, _SLOT_BYTES), np.uint8)])

    def send(self, host, target):
        """Start copying a NumPy array, which may change at once, to an array of the device.

        Waits for the stream only if no slot's copy has been made.
        """
        slot = next(self._slots)
        slot.copied.synchronize()
        staged = slot.stage(self._cupy, host)
        target.set(staged, stream=self._stream)
        self._stream.record(slot.copied)


class _Slot:
    """Pinned memory, and the event behind the copy from it: one that nobody has recorded counts as passed."""

    def __init__(self, cupy, memory):
        self._memory, self._staged = memory, None
        self.copied = cupy.cuda.Event(disable_timing=True)

    def stage(self, cupy, host):
        """A pinned copy of a host array: in memory of its own, which is held until the slot's next turn, if it is larger than the slot."""
        memory = self._memory if host.nbytes <= len(self._memory) else pinned_memory(cupy, (host.nbytes,), np.uint8)
        self._staged = memory[: host.nbytes].view(host.dtype).reshape(host.shape)
        self._staged[...] = host
        return self._staged
