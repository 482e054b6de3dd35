"""A Divided training part as global batches: ranks read blocks in turns, for all."""

from itertools import islice

import numpy as np

from deshpc.data.ahead import END
from deshpc.data.block_reader import BlockReader
from deshpc.data.divided import divided_blocks
from deshpc.data.in_turns import InRounds, InTurns
from deshpc.data.order import EpochOrder


class LargeReader:
    """Reads a Divided part for one rank, in the order in which a Reader would read it from memory where units are blocks.

    divided, source, class_weights : see `divided_blocks`
    delivery : Delivery among the ranks
    rank, ranks : of them;  threads : of each, which read;  each : see `InRounds`
    share, buffers, valid : as of a Reader
    train : TrainConfig
    """

    def __init__(self, divided, source, delivery, rank, ranks, threads, each, share, buffers, train, valid):
        self._divided, self._source, self._delivery = divided, source, delivery
        self._rank, self._ranks, self._threads, self._each = rank, ranks, threads, each
        self._share, self._buffers, self._train, self._valid = share, buffers, train, valid
        self._reader = self._ahead = None

    @property
    def samples(self):
        """Samples of an epoch."""
        return self._divided.rows

    @property
    def batches(self):
        """Batches of an epoch; the last one may be smaller."""
        return -(-self.samples // self._train.global_batch_samples)

    def epoch(self, epoch, first_step=0, first_batch=0):
        """Yield the Batches of an epoch from `first_batch` on.  Of them the last `valid` are valid.  Collective."""
        self.close()
        train, order = self._train, self._order(epoch)
        position = first_batch * train.global_batch_samples
        place, row = order.place(position)
        turns = self._turns(order, place)

        def blocks(reader):
            own = [(at, unit) for at, unit, one in turns if one == reader]
            return divided_blocks(self._divided, order, self._source, train.class_weights, train.shuffle_block_rows, own)

        readers = self._delivery, self._rank, self._ranks, self._threads, blocks
        self._ahead = InRounds(*readers, self._each) if self._divided.even else InTurns(*readers)
        order_of_readers = iter([reader for _, _, reader in turns])
        self._reader = BlockReader(
            lambda: self._take(order_of_readers), self._delivery.release, train.global_batch_samples, self._share, self._buffers, train.seed,
            train.shuffle, train.shuffle_run_rows, self._valid, None, position - row, row, epoch,
        )  # fmt: skip
        yield from islice(self._reader.arrived(first_step + first_batch), self.batches - first_batch)

    def place(self, epoch, batch):
        """(block, row) of the epoch's order at which a batch begins: see `EpochOrder.place`."""
        return self._order(epoch).place(batch * self._train.global_batch_samples)

    def close(self):
        """Read no more."""
        if self._reader:
            self._ahead.close()
            self._reader.close()
        self._reader = None

    def _take(self, readers):
        reader = next(readers, None)
        return END if reader is None else self._ahead.take(reader)

    def _turns(self, order, place):
        """[(place, number of its unit, reader)] of the places from this one on: readers take units in turns."""
        rows = np.array([unit.row for unit in self._divided.units], np.int64)
        begins = np.array([order.span(at)[0] for at in range(place, order.places)], np.int64)
        units = np.searchsorted(rows, begins, side="right") - 1
        turn = np.cumsum(np.diff(units, prepend=units[:1]) != 0)
        return list(zip(range(place, order.places), units.tolist(), (turn % (self._ranks * self._threads)).tolist(), strict=True))

    def _order(self, epoch):
        train = self._train
        return EpochOrder(
            self.samples, train.shuffle_block_rows, train.seed, epoch, train.shuffle, train.shuffle_run_rows, self._divided.edges
        )
