"""float32 arrays in host memory travel as halves, see `wire.py`, by a transport that moves them.

What is added up over ranks is rounded once at each of them, its owner's part too: so a sum does not depend on where it is made.  A sum that
goes back to all ranks is rounded once more.
"""

import numpy as np

from deshpc.comm.host_transport import in_order
from deshpc.comm.shares import slice_of


class NarrowTransport:
    """inner : HostTransport of `size` ranks, this one being `rank`;  wire : see `open_wire`"""

    def __init__(self, inner, rank, size, wire):
        self._inner, self._rank, self._size, self._wire = inner, rank, size, wire

    def sum_samples(self, array, counts):
        """See `Transport`."""
        array = np.ascontiguousarray(array)
        return self.reduce_samples(array, counts).then(lambda share: self.all_gather(share, counts, array).wait())

    def reduce_samples(self, array, counts):
        """See `Transport`."""
        array = np.ascontiguousarray(array)
        (begin, end), own = slice_of(len(array), self._size, self._rank), int(counts[self._rank])
        parts = np.empty(self._size * own, np.uint16)
        travelling = self._inner.all_to_all(self._wire.pack(array), counts, parts, np.full(self._size, own, np.int64))

        def add(parts):
            whole = self._wire.unpack(parts, np.empty((self._size, end - begin, *array.shape[1:]), np.float32))
            return in_order(whole)

        return travelling.then(add)

    def all_gather(self, own, counts, whole):
        """See `Transport`."""
        halves = np.empty(whole.size, np.uint16)
        travelling = self._inner.all_gather(self._wire.pack(np.ascontiguousarray(own)), counts, halves)
        return travelling.then(lambda halves: self._wire.unpack(halves, whole))

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""
        halves = np.empty(receive.size, np.uint16)
        travelling = self._inner.all_to_all(self._wire.pack(np.ascontiguousarray(send)), send_counts, halves, receive_counts)
        return travelling.then(lambda halves: self._wire.unpack(halves, receive))

    def close(self):
        """Close what moves the halves.  Collective."""
        self._inner.close()
