"""Collect chosen rows of a data set for a batch: dense features, labels, and occurrences or where these lie."""

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


@kernel
def copy_rows(
    places, rows, offsets, keys, fields, values, dense, labels, truth, begins, out_keys, out_fields, out_values, out_dense,
    out_labels, out_truth,
):  # fmt: skip
    """Copy the given rows (n) int64 of one piece to their places (n) int64 in a batch, occurrences to begins[place] on.

    values, out_values : flat, or None;  truth, out_truth may be None
    """
    for i in range(len(rows)):
        row, place = rows[i], places[i]
        first, length = offsets[row], offsets[row + 1] - offsets[row]
        to = begins[place]
        for j in range(length):
            out_keys[to + j] = keys[first + j]
            out_fields[to + j] = fields[first + j]
        if values is not None:
            width = len(values) // max(1, len(keys))
            for j in range(width * length):
                out_values[width * to + j] = values[width * first + j]
        for f in range(dense.shape[1]):
            out_dense[place, f] = dense[row, f]
        out_labels[place] = labels[row]
        if truth is not None:
            out_truth[place] = truth[row]
