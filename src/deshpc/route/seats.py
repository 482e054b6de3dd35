"""Seats: which embedding of its sample's state an occurrence is added to.

Mostly it is that of its key's field, which the key names.  It is not where fields share rows, whose keys are one field's, nor where
the values of a sequence are to stay apart: then they take the sequence's seats one after another.

    fields   item   history (of 3 values at most)    user         sample:  item 7,  history 5 7,  user 2
    seats    0      1  2  3                          4                     E_0 = v_7, E_1 = v_5, E_2 = v_7, E_3 = 0, E_4 = v_2
"""

import numpy as np


class Seats:
    """first, counts (F) int64 : first seat of each field, and how many it has
    total : seats of a sample
    """

    def __init__(self, backend, apart):
        """apart (F) int64 : 0 for a field whose values are added up, else the most values that it has, which stay apart"""
        self._backend = backend
        self.counts = np.maximum(apart, 1).astype(np.int64)
        self.first, self.total = np.cumsum(self.counts) - self.counts, int(self.counts.sum())
        self._column = np.where(apart > 0, np.cumsum(apart > 0) - 1, -1).astype(np.int64)
        self._most = apart[apart > 0].astype(np.int64)

    def of(self, batch, partition, modulus, residue, buffers):
        """(nnz) uint16: the seats of the occurrences of a Batch whose owner is `residue` modulo `modulus`, in `buffers`."""
        room = buffers.array("seats", batch.occurrences + 1, np.uint16)
        return room[: self._backend.seats.of_occurrences(batch.on_host.sparse, partition, modulus, residue, self.first, self.counts, room)]

    def lengths(self, batch):
        """(n, S) int32 in host memory: values of each sequence that stay apart in the samples of a Batch; None without such sequences."""
        if not len(self._most):
            return None
        counts = np.empty((len(batch), len(self._most)), np.int32)
        self._backend.seats.count_values(batch.on_host.sparse, self._column, self._most, counts)
        return counts
