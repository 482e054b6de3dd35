"""What a transport is: how arrays of one kind of memory travel between ranks.

    transport    memory          what travels by it
    host         host            everything, over MPI and shared memory: `host_transport.py`
    host         of a device     the same, through pinned memory on either side: `staged_transport.py`
    cuda-aware   of a device     MPI takes and fills the device's arrays: `mpi_transport.py`
    nccl         of a device     NCCL does, in the order of the device's stream: `nccl_transport.py`

`door.py` chooses for each array.  Sums over ranks are in rank order in all of them, so all give the same bits.
"""

from typing import Protocol

import numpy as np


class Transport(Protocol):
    """All methods are collective and return a Handle.  Arrays lie in the transport's kind of memory, without gaps.

    They are the transport's until the Handle has been waited for: nobody else writes to them, nor reads what is to come.
    """

    def sum_samples(self, array, counts):
        """Add arrays (n, ...) over two ranks or more, in place; Handle of the array.  counts (N) int64 : numbers of the ranks' shares"""

    def reduce_samples(self, array, counts):
        """Add arrays (n, ...) over two ranks or more; Handle of this rank's share, `slice_of`, a new array.  counts : as above"""

    def all_gather(self, own, counts, whole):
        """The ranks' arrays, one after another, in `whole`; Handle of it.  counts (N) int64 : numbers of each rank's"""

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """The stretches of `send` go to the ranks, theirs come to `receive`; Handle of it.  Counts (N) int64 are numbers."""

    def close(self):
        """Give back what the transport holds.  Collective."""


class DeviceTransport(Transport, Protocol):
    """What a transport of device arrays has besides."""

    def begin_all(self):
        """Begin what has been asked for, before another collective of the ranks.  Collective."""


def begins_of(counts):
    """(N) int64: where each of several stretches begins."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
