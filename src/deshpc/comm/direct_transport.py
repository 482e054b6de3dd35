"""What the transports have in common that take a device's arrays as they are: sums in rank order, by a kernel.

No library is asked to add floating-point numbers, since each has an order of its own.
"""

import numpy as np

from deshpc.comm.rooms import Rooms, part_of
from deshpc.comm.shares import slice_of


class DirectTransport:
    """Sums on top of `all_gather` and `all_to_all`, which a subclass has.

        2 ranks     each gets the other's whole array, and both add: one message
        N ranks     each gets its share of all arrays and adds it; the shares are gathered
    """

    def __init__(self, rank, size, backend):
        self.rank, self.size, self.device = rank, size, backend.device
        self._sums, self._rooms = backend.rank_sums, Rooms(lambda nbytes: backend.device.empty((nbytes,), np.uint8))
        self._sums.prepare()

    def sum_samples(self, array, counts):
        """See `Transport`."""
        if self.size > 2:
            return self.reduce_samples(array, counts).then(lambda share: self.all_gather(share, counts, array).wait())
        memory, parts = self._parts(array.size, array.dtype)
        return self.all_gather(array, np.full(self.size, array.size, np.int64), parts).then(lambda parts: self._add(parts, array, memory))

    def reduce_samples(self, array, counts):
        """See `Transport`."""
        (begin, end), own = slice_of(len(array), self.size, self.rank), int(counts[self.rank])
        memory, parts = self._parts(own, array.dtype)
        travelling = self.all_to_all(array, counts, parts, np.full(self.size, own, np.int64))
        return travelling.then(
            lambda parts: self._add(parts, self.device.empty((end - begin, *array.shape[1:]), array.dtype), memory)
        )

    def _parts(self, count, dtype):
        """(memory, room in it for `count` numbers of every rank)"""
        nbytes = self.size * count * dtype.itemsize
        memory = self._rooms.take(nbytes)
        return memory, part_of(memory, (self.size * count,), dtype, nbytes)

    def _add(self, parts, total, memory):
        self._sums.add(parts, self.size, total)
        self._rooms.give(memory)  # whatever fills it next is behind the kernel in the stream, or waits for it
        return total
