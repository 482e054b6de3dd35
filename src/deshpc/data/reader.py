"""A data set as global batches: every rank sees the same batches and takes its contiguous share of each."""

from itertools import cycle

import numpy as np

from deshpc.backend.values import value_shape
from deshpc.data.batch import Batch
from deshpc.data.gather import SampleArrays, copy_rows, gather_rows
from deshpc.data.order import EpochOrder


class Reader:
    """Reads `dataset`, a Dataset or a ChainedDataset, for one rank.

    share : function B -> (begin, end), the rank's samples of a batch of B; a rank that reads whole batches has (0, B)
    buffers : makes a set of reusable arrays (`backend.buffers`)
    valid : batches that are valid at a time: three, one that is worked on, the next, which is looked up, and one whose keys travel
    kept : (n) integers, increasing, the only rows of the data set that are read, as if there were no others; None: all
    A batch inside one piece of the data set points into its keys; only dense features, labels and weights are copied, and only
    in shuffled order, or where some rows are kept.  Of a batch that has rows of several pieces everything is copied.  Nobody scores
    batches in shuffled order, or of kept rows, against the truth: they come without it.
    """

    def __init__(self, dataset, batch_samples, share, buffers, seed=0, shuffle=False, block_rows=65_536, run_rows=1, valid=3, kept=None):
        self._dataset, self._batch_samples, self._share = dataset, batch_samples, share
        self._seed, self._shuffle, self._block_rows, self._run_rows = seed, shuffle, block_rows, run_rows
        self._kept, self._scattered = kept, shuffle or kept is not None
        self._sets = cycle([buffers() for _ in range(valid)])

    @property
    def samples(self):
        """Samples of an epoch."""
        return len(self._dataset if self._kept is None else self._kept)

    @property
    def batches(self):
        """Batches of an epoch; the last one may be smaller."""
        return -(-self.samples // self._batch_samples)

    def epoch(self, epoch, first_step=0, first_batch=0):
        """Yield the Batches of an epoch from `first_batch` on.  Of them the last `valid` are valid.

        first_step : step of the epoch's batch 0
        """
        order, asked = self._order(epoch), None
        for number in range(first_batch, self.batches):
            ahead = number * self._batch_samples + self._block_rows
            if ahead < self.samples and order.block(ahead) != asked:
                asked = order.block(ahead)
                self._dataset.read_ahead(*self._span(*asked))
            begin = number * self._batch_samples
            yield self.batch(order, begin, min(self._batch_samples, self.samples - begin), first_step + number)

    def place(self, epoch, batch):
        """(block, row) of the epoch's order at which a batch begins: see `EpochOrder.place`."""
        return self._order(epoch).place(batch * self._batch_samples)

    def _order(self, epoch):
        return EpochOrder(self.samples, self._block_rows, self._seed, epoch, self._shuffle, self._run_rows)

    def batch(self, order, begin, total, step):
        """The Batch of the samples at positions begin .. begin + total of an order, an EpochOrder or what else has its `rows`."""
        first, last = self._share(total)
        low, high = begin + first, begin + last
        whole = self._rows(order.rows(begin, begin + total))
        rows = whole[first:last]
        self._dataset.touch(whole, rows)
        starts, piece = self._dataset.starts, 0
        if len(starts) > 2:  # else nobody has to look for the rows
            if self._scattered and len(rows):
                low, high = int(rows.min()), int(rows.max()) + 1
            piece = min(int(np.searchsorted(starts, low, side="right")) - 1, len(starts) - 2)
            if high > starts[piece + 1]:
                return self._copy(step, total, rows, starts)
        data, before = self._dataset.piece(piece), int(starts[piece])
        if self._scattered:
            return self._gather(step, total, rows, data, before)
        return self._view(step, total, rows, data, low - before, high - before)

    def _rows(self, places):
        """Row numbers (n) int64 of places (n) among the rows that are read."""
        return places if self._kept is None else self._kept[places].astype(np.int64)

    def _span(self, begin, end):
        """(begin, end) of the rows of the data set among which those at places begin .. end are."""
        return (begin, end) if self._kept is None else (int(self._kept[begin]), int(self._kept[end - 1]) + 1)

    def _view(self, step, total, rows, data, begin, end):
        return Batch(
            step, total, rows, data.offsets[begin:end], data.offsets[begin + 1 : end + 1], data.keys, data.fields,
            data.values, data.dense[begin:end], data.labels[begin:end],
            None if data.truth is None else data.truth[begin:end],
            None if data.weights is None else data.weights[begin:end],
        )  # fmt: skip

    def _gather(self, step, total, rows, data, before):
        begins, ends, dense, labels, weights = self._room(len(rows), data)
        own = rows - before if before else rows
        gather_rows(own, data.offsets, data.dense, data.labels, data.weights, begins, ends, dense, labels, weights)
        return Batch(step, total, rows, begins, ends, data.keys, data.fields, data.values, dense, labels, weights=weights)

    def _copy(self, step, total, rows, starts):
        numbers = np.searchsorted(starts, rows, side="right") - 1
        pieces = [(self._dataset.piece(number), number) for number in np.unique(numbers).tolist()]
        begins, ends, dense, labels, weights = self._room(len(rows), pieces[0][0])
        scored = self._dataset.has_truth and not self._scattered
        truth = self._buffers.array("truth", len(rows), np.float32) if scored else None
        lengths = np.zeros(len(rows), np.int64)
        for data, number in pieces:
            own = rows[numbers == number] - starts[number]
            lengths[numbers == number] = data.offsets[own + 1] - data.offsets[own]
        np.cumsum(lengths, out=ends)
        np.subtract(ends, lengths, out=begins)
        nnz, like = int(lengths.sum()), pieces[0][0].values
        array = self._buffers.array
        keys, fields = array("keys", nnz, np.uint64), array("fields", nnz, np.uint16)
        values = None if like is None else array("values", value_shape(like, nnz), np.float32)
        batch = SampleArrays(begins, keys, fields, _flat(values), dense, labels, _flat(truth), _flat(weights))
        for data, number in pieces:
            places = np.flatnonzero(numbers == number)
            piece = SampleArrays(
                data.offsets, data.keys, data.fields, _flat(data.values), data.dense, data.labels, _flat(data.truth),
                _flat(data.weights),
            )  # fmt: skip
            copy_rows(places, rows[places] - starts[number], piece, batch)
        return Batch(step, total, rows, begins, ends, keys, fields, values, dense, labels, truth, weights)

    def _room(self, n, data):
        """begins, ends, dense, labels and, where there are some, weights for n samples, in the next set of buffers."""
        self._buffers = next(self._sets)
        array = self._buffers.array
        return (
            array("begins", n, np.int64), array("ends", n, np.int64), array("dense", (n, data.n_dense), np.float32),
            array("labels", (n, *data.labels.shape[1:]), np.float32), None if data.weights is None else array("weights", n, np.float32),
        )  # fmt: skip


def _flat(values):
    return np.zeros(0, np.float32) if values is None else values.reshape(-1)
