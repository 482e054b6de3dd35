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
    """

    def __init__(self, rows, block_rows, seed, epoch, shuffle, run_rows=1):
        self._rows, self._block_rows, self._shuffle, self._run_rows = rows, block_rows, shuffle, run_rows
        self._seed, self._epoch = seed, epoch
        blocks = -(-rows // block_rows)
        self._blocks = self._generator().permutation(blocks) if shuffle else np.arange(blocks)
        sizes = np.minimum(block_rows, rows - self._blocks * block_rows)
        self._begins = np.concatenate([[0], np.cumsum(sizes)])
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
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def place(self, position):
        """(block, row): how many blocks, in the order of the epoch, lie before the position's, and rows of that one."""
        block = int(np.searchsorted(self._begins, position, side="right")) - 1
        return block, position - int(self._begins[block])

    def block(self, position):
        """(begin, end) of the rows of the block that this position of the epoch is in."""
        if not self._shuffle:
            begin = position // self._block_rows * self._block_rows
        else:
            begin = int(self._blocks[self.place(position)[0]]) * self._block_rows
        return begin, min(begin + self._block_rows, self._rows)

    def _block(self, place):
        held_place, held = self._held
        if held_place != place:
            block = int(self._blocks[place])
            first = block * self._block_rows
            held = np.empty(min(self._block_rows, self._rows - first), np.int64)
            order = np.empty(-(-len(held) // self._run_rows), np.int64)
            permute(np.uint64(self._seed), np.uint64((self._epoch << 1) | _ROWS), np.uint64(block), order)
            rows_of_runs(order, self._run_rows, first, held)
            self._held = (place, held)
        return held

    def _generator(self):
        return np.random.Generator(np.random.Philox(key=[self._seed, (self._epoch << 1) | _BLOCKS]))


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
