"""In which order an epoch visits the rows: a function of seed and epoch alone, the same for any number of ranks.

Rows lie in blocks, and in a block in short runs; an epoch permutes the blocks, and the runs inside each block.  The rows of a
run stay together, in their order: memory is read in longer stretches.  Only the blocks that the asked positions touch are
ever permuted, so the order of a huge data set costs the memory of one or two blocks.
"""

import numpy as np

from deshpc.hashing.splitmix import GOLDEN, fold, mix64
from deshpc.jit import kernel

_BLOCKS, _ROWS = 0, 1  # separate random streams
_HALF = np.uint64(32)


class EpochOrder:
    """The order of `rows` rows in `epoch`; shuffle = False: as they lie.

    run_rows : rows of a run; 1: every row for itself.  The last run of a block may be shorter.
    units : (u + 1) increasing row numbers from 0 to `rows`: the blocks between two of them, which begin at the first, are visited
        one after the other; None: every block by itself
    """

    def __init__(self, rows, block_rows, seed, epoch, shuffle, run_rows=1, units=None):
        self._shuffle, self._run_rows, self._seed, self._epoch = shuffle, run_rows, seed, epoch
        if units is None:
            self._starts = np.append(np.arange(0, rows, block_rows), rows)
            unit_of = np.arange(len(self._starts) - 1)
        else:
            cuts = [np.arange(begin, end, block_rows) for begin, end in zip(units, units[1:], strict=False)]
            self._starts = np.append(np.concatenate(cuts), rows).astype(np.int64)
            unit_of = np.repeat(np.arange(len(cuts)), [len(one) for one in cuts])
        self._blocks = np.arange(len(unit_of))
        if shuffle:
            place_of = np.argsort(self._generator().permutation(len(np.unique(unit_of))))
            self._blocks = np.argsort(place_of[unit_of], kind="stable")
        self._begins = np.concatenate([[0], np.cumsum(np.diff(self._starts)[self._blocks])])
        self._held = (None, None)

    def rows(self, begin, end):
        """Row numbers (end - begin) int64 at positions begin .. end of the epoch."""
        if not self._shuffle:
            return np.arange(begin, end, dtype=np.int64)
        parts = []
        place = int(np.searchsorted(self._begins, begin, side="right")) - 1
        while begin < end:
            stop = min(end, int(self._begins[place + 1]))
            first = int(self._begins[place])
            parts.append(self._block(place)[begin - first : stop - first])
            begin, place = stop, place + 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def place(self, position):
        """(block, row): how many blocks, in the order of the epoch, lie before the position's, and rows of that one."""
        block = int(np.searchsorted(self._begins, position, side="right")) - 1
        return block, position - int(self._begins[block])

    def block(self, position):
        """(begin, end) of the rows of the block that this position of the epoch is in."""
        return self.span(self.place(position)[0])

    def span(self, place):
        """(begin, end) of the rows of the block at this place of the epoch."""
        block = int(self._blocks[place])
        return int(self._starts[block]), int(self._starts[block + 1])

    def number(self, place):
        """The number of the block at this place of the epoch."""
        return int(self._blocks[place])

    @property
    def places(self):
        """Blocks of the epoch."""
        return len(self._blocks)

    def _block(self, place):
        held_place, held = self._held
        if held_place != place:
            first, end = self.span(place)
            held = first + order_in_block(self._seed, self._epoch, self.number(place), end - first, self._run_rows)
            self._held = (place, held)
        return held

    def _generator(self):
        return np.random.Generator(np.random.Philox(key=[self._seed, (self._epoch << 1) | _BLOCKS]))


def order_in_block(seed, epoch, number, rows, run_rows):
    """In which order block `number` of `rows` rows is visited in an epoch: (rows) int64."""
    held, order = np.empty(rows, np.int64), np.empty(-(-rows // run_rows), np.int64)
    permute(np.uint64(seed), np.uint64((epoch << 1) | _ROWS), np.uint64(number), order)
    rows_of_runs(order, run_rows, 0, held)
    return held


@kernel
def permute(seed, stream, number, order):
    """Fill `order` (n) int64 with 0 .. n in an order drawn by (seed, stream, number), all uint64.

    The inside-out form of Fisher and Yates's shuffle, by the numbers of SplitMix64.  NumPy's takes four times as long.
    """
    state = fold(fold(fold(seed, stream), number), GOLDEN)
    for i in range(len(order)):
        state += GOLDEN
        j = np.int64(((mix64(state) >> _HALF) * np.uint64(i + 1)) >> _HALF)
        order[i] = order[j]
        order[j] = i


@kernel
def rows_of_runs(order, run_rows, first, rows):
    """Fill `rows` (n) int64 with the row numbers of the runs in `order`, first .. first + n in all."""
    count = 0
    for run in order:
        for row in range(run * run_rows, min((run + 1) * run_rows, len(rows))):
            rows[count] = first + row
            count += 1
