"""Blocks that come one after the other as global batches: every rank takes its share of each.

The samples of a block are shuffled among themselves.  A batch is made of as many blocks as it takes, in their order.
"""

from collections import deque

import numpy as np

from deshpc.data.ahead import END
from deshpc.data.growing import Place
from deshpc.data.order import order_in_block
from deshpc.data.reader import Reader


class BlockReader:
    """Reads the Blocks that `take` gives, for one rank.

    take    : function that gives the next Block, END after the last, None where there is none now.  It may be collective.
    release : function that is told of a Block whose samples are in no valid batch any more
    batch_samples, share, buffers, seed, shuffle, run_rows, valid : as of a Reader
    place   : Place of the first Block
    begin   : samples of the epoch before that Block
    skip    : samples of the first Block, in their order, that are passed over
    epoch   : by which samples are shuffled
    """

    def __init__(self, take, release, batch_samples, share, buffers, seed, shuffle, run_rows, valid, place=None, begin=0, skip=0, epoch=0):
        self._take, self._release, self._batch_samples, self._valid = take, release, batch_samples, valid
        self._held = _Held(begin, shuffle, lambda block: order_in_block(seed, epoch, block.number, len(block), run_rows))
        self._reader = Reader(self._held, batch_samples, share, buffers, shuffle=shuffle, valid=valid)
        self._position, self._after, self._ended = begin + skip, place or Place(), False
        self._resting, self._made = deque(), 0

    @property
    def ended(self):
        """Whether there is no sample any more."""
        return self._ended and self._position == self._held.end

    def arrived(self, step):
        """Yield the Batches that there are now, from number `step` on; of them the last `valid` are valid.

        They end where the next Block is not there yet; it may be by the next call.  The last one of all may be smaller.
        """
        while (batch := self._next(step)) is not None:
            yield batch
            step += 1

    def place(self):
        """(Place of the block with the first sample that is in no batch yet, samples of that block which are)."""
        self._give_up_used()
        for begin, block in self._held.blocks():
            return Place(block.file, block.row, False, block.number), self._position - begin
        return self._after, 0

    def close(self):
        """Give all blocks back: no batch is valid any more."""
        self._position = self._held.end
        self._give_up_used()
        while self._resting:
            self._release(self._resting.popleft()[1])

    def _next(self, step):
        self._give_up_used()
        while self._resting and self._resting[0][0] + self._valid <= self._made:
            self._release(self._resting.popleft()[1])
        while self._held.end - self._position < self._batch_samples and not self._ended:
            block = self._take()
            if block is None:
                return None
            if block is END:
                self._ended = True
            elif block.samples is None:
                self._after = Place(block.file, block.row, True, block.number)
            else:
                self._held.add(block)
                self._after = Place(block.file, block.row + len(block), False, block.number + 1)
        total = min(self._batch_samples, self._held.end - self._position)
        if total <= 0:
            return None
        batch = self._reader.batch(self._held, self._position, total, step)
        self._position += total
        self._made += 1
        return batch

    def _give_up_used(self):
        while (block := self._held.drop_first(self._position)) is not None:
            self._resting.append((self._made, block))


class _Held:
    """The blocks of which samples are needed, as a data set in pieces, and the order of their samples.

    Samples are numbered by the blocks as they came.
    """

    has_truth = False

    def __init__(self, begin, shuffle, order):
        self._blocks, self._shuffle, self._order = deque(), shuffle, order
        self.end = begin

    @property
    def starts(self):
        """Numbers of the samples at which blocks begin, and that at which the last one ends."""
        return np.array([*(begin for begin, _, _ in self._blocks), self.end], np.int64)

    def blocks(self):
        """Yield (number of its first sample, Block)."""
        return ((begin, block) for begin, block, _ in self._blocks)

    def add(self, block):
        """Hold one block more."""
        order = self._order(block) if self._shuffle else np.arange(len(block))
        self._blocks.append((self.end, block, order))
        self.end += len(block)

    def drop_first(self, position):
        """The first block, which is no longer held, if it ends at this position or before it; else None."""
        if not self._blocks or self._blocks[0][0] + len(self._blocks[0][1]) > position:
            return None
        return self._blocks.popleft()[1]

    def piece(self, number):
        """The samples of a block."""
        return self._blocks[number][1].samples

    def touch(self, rows, own):
        """Nothing: what is held is in memory."""

    def rows(self, begin, end):
        """Numbers (end - begin) int64 of the samples at positions begin .. end, in their order."""
        parts = []
        for first, block, order in self._blocks:
            low, high = max(begin, first), min(end, first + len(block))
            if low < high:
                parts.append(first + order[low - first : high - first])
        return np.concatenate(parts)
