"""Collect chosen rows of a data set for a batch: where their occurrences lie, dense features, labels."""

from deshpc.backend.cpu.memory import address_of, at, prefetch, put
from deshpc.jit import kernel

AHEAD = 16  # rows between asking for a row's memory and copying it


@kernel
def gather_rows(rows, offsets, dense, labels, truth, begins, ends, out_dense, out_labels, out_truth):
    """Fill the outputs, begins onwards, with the given rows (n) int64; truth may be None."""
    n, n_dense = len(rows), dense.shape[1]
    for i in range(n):
        soon = at(rows, min(i + AHEAD, n - 1))
        prefetch(address_of(offsets, soon))
        prefetch(address_of(dense, soon * n_dense))
        prefetch(address_of(dense, soon * n_dense + n_dense - 1))
        prefetch(address_of(labels, soon))
        row = at(rows, i)
        put(begins, i, at(offsets, row))
        put(ends, i, at(offsets, row + 1))
        for f in range(n_dense):
            put(out_dense, i * n_dense + f, at(dense, row * n_dense + f))
        put(out_labels, i, at(labels, row))
        if truth is not None:
            put(out_truth, i, at(truth, row))
