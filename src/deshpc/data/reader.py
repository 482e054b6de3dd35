"""A data set as global batches: every rank sees the same batches and takes its contiguous share of each."""

from itertools import cycle

import numpy as np

from deshpc.data.batch import Batch
from deshpc.data.gather import gather_rows
from deshpc.data.order import EpochOrder


class Reader:
    """Reads `dataset` for one rank.

    share : function B -> (begin, end), the rank's samples of a batch of B; a rank that reads whole batches has (0, B)
    buffers : makes a set of reusable arrays (`backend.buffers`)
    A batch points into the data set's keys; only dense features and labels are copied, and only in shuffled order.
    """

    def __init__(self, dataset, batch_samples, share, buffers, seed=0, shuffle=False, block_rows=65_536):
        self._dataset, self._batch_samples, self._share = dataset, batch_samples, share
        self._seed, self._shuffle, self._block_rows = seed, shuffle, block_rows
        self._sets = cycle([buffers(), buffers()])

    @property
    def batches(self):
        """Batches of an epoch; the last one may be smaller."""
        return -(-len(self._dataset) // self._batch_samples)

    def epoch(self, epoch, first_step=0):
        """Yield the Batches of an epoch.  Each is valid until the one after the next is asked for."""
        order = EpochOrder(len(self._dataset), self._block_rows, self._seed, epoch, self._shuffle)
        for number in range(self.batches):
            yield self._batch(order, number, first_step)

    def _batch(self, order, number, first_step):
        begin = number * self._batch_samples
        total = min(self._batch_samples, len(self._dataset) - begin)
        first, last = self._share(total)
        step = first_step + number
        if not self._shuffle:
            return self._view(step, total, begin + first, begin + last)
        return self._gather(step, total, order.rows(begin + first, begin + last))

    def _view(self, step, total, begin, end):
        data = self._dataset
        return Batch(
            step, total, np.arange(begin, end, dtype=np.int64), data.offsets[begin:end], data.offsets[begin + 1 : end + 1],
            data.keys, data.fields, data.values, data.dense[begin:end], data.labels[begin:end],
            None if data.truth is None else data.truth[begin:end],
        )  # fmt: skip

    def _gather(self, step, total, rows):
        data, buffers, n = self._dataset, next(self._sets), len(rows)
        begins, ends = buffers.array("begins", n, np.int64), buffers.array("ends", n, np.int64)
        dense = buffers.array("dense", (n, data.n_dense), np.float32)
        labels = buffers.array("labels", n, np.float32)
        truth = None if data.truth is None else buffers.array("truth", n, np.float32)
        gather_rows(rows, data.offsets, data.dense, data.labels, data.truth, begins, ends, dense, labels, truth)
        return Batch(step, total, rows, begins, ends, data.keys, data.fields, data.values, dense, labels, truth)
