"""Copy chosen rows of a data set into contiguous arrays: the samples of a batch, in their order."""

import numpy as np

from deshpc.backend.cpu.memory import address_of, at, prefetch, put
from deshpc.backend.record import CACHE_LINE
from deshpc.jit import kernel

AHEAD = 8  # rows between asking for a row's memory and copying it; twice that for its place


@kernel
def gathered_offsets(rows, offsets, out_offsets):
    """out_offsets (n + 1) of the rows (n) taken in order; returns their number of occurrences."""
    total, n = 0, len(rows)
    put(out_offsets, 0, np.int64(0))
    for i in range(n):
        prefetch(address_of(offsets, at(rows, min(i + 2 * AHEAD, n - 1))))
        row = at(rows, i)
        total += at(offsets, row + 1) - at(offsets, row)
        put(out_offsets, i + 1, total)
    return total


@kernel
def gather_rows(
    rows, offsets, keys, fields, values, dense, labels, truth,
    out_offsets, out_keys, out_fields, out_values, out_dense, out_labels, out_truth,
):  # fmt: skip
    """Fill the outputs with the given rows; values and truth may be None."""
    n, n_dense = len(rows), dense.shape[1]
    for i in range(n):
        soon = at(rows, min(i + AHEAD, n - 1))
        first, last = at(offsets, soon), at(offsets, soon + 1)
        for line in range(address_of(keys, first), address_of(keys, last), CACHE_LINE):
            prefetch(line)
        prefetch(address_of(fields, first))
        prefetch(address_of(dense, soon * n_dense))
        prefetch(address_of(labels, soon))
        row, begin = at(rows, i), at(out_offsets, i)
        shift = at(offsets, row) - begin
        for j in range(begin, at(out_offsets, i + 1)):
            put(out_keys, j, at(keys, j + shift))
            put(out_fields, j, at(fields, j + shift))
            if values is not None:
                put(out_values, j, at(values, j + shift))
        for f in range(n_dense):
            put(out_dense, i * n_dense + f, at(dense, row * n_dense + f))
        put(out_labels, i, at(labels, row))
        if truth is not None:
            put(out_truth, i, at(truth, row))
