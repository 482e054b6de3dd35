"""Sums over the rows of matrices, column by column, in two passes: see kernels/columns.cuh."""

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind

COLUMNS, STRETCH = 32, 64
"""Columns and rows of a block, as in columns.cuh."""


def stretches_of(rows):
    """Stretches that rows are added up in."""
    return -(-rows // STRETCH)


def blocks_of(stretches, columns):
    """Blocks of a kernel that works on so many stretches of rows, one number a thread and row."""
    return stretches * -(-columns // COLUMNS)


class ColumnSums:
    """Sums of all rows, from those of stretches."""

    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)

    def stretches(self, count, columns, dtype):
        """Scratch (count, columns) for the sums of stretches, until the next call."""
        return self._scratch.array("stretches", (count, columns), dtype)

    def add(self, stretches, sums):
        """sums (columns) = the sums over all stretches (count, columns)."""
        count, columns = stretches.shape
        self._of(sums).sum_columns.blocks(blocks_of(1, columns), stretches, count, columns, max(1, count), sums)

    def __call__(self, x, sums, weights=None):
        """sums (columns) = the sums over the rows of x (n, columns), times weights (n, columns) or (n, 1) if there are any."""
        n, columns = x.shape
        stretches = self.stretches(stretches_of(n), columns, sums.dtype)
        blocks, kernels = blocks_of(len(stretches), columns), self._of(sums)
        if weights is None:
            kernels.sum_columns.blocks(blocks, x, n, columns, STRETCH, stretches)
        else:
            kernels.sum_products.blocks(blocks, x, weights, int(weights.shape[1] == columns), n, columns, stretches)
        self.add(stretches, sums)

    def _of(self, like):
        return self._kernels("columns.cu", COMPUTE=kind(like))
