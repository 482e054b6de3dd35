"""Collect chosen rows of a data set for a batch: dense features, labels, and occurrences or where these lie."""

from deshpc.backend.cpu.memory import address_of, at, prefetch_read, put
from deshpc.backend.record import CACHE_LINE
from deshpc.jit import kernel

AHEAD = 16  # rows between asking for a row's memory and copying it


@kernel
def gather_rows(rows, offsets, dense, labels, begins, ends, out_dense, out_labels):
    """Fill the outputs, begins onwards, with the given rows (n) int64."""
    n, n_dense = len(rows), dense.shape[1]
    for i in range(n):
        soon = at(rows, min(i + AHEAD, n - 1))
        prefetch_read(address_of(offsets, soon))
        prefetch_read(address_of(dense, soon * n_dense))
        prefetch_read(address_of(dense, soon * n_dense + n_dense - 1))
        prefetch_read(address_of(labels, soon))
        row = at(rows, i)
        put(begins, i, at(offsets, row))
        put(ends, i, at(offsets, row + 1))
        for f in range(n_dense):
            put(out_dense, i * n_dense + f, at(dense, row * n_dense + f))
        put(out_labels, i, at(labels, row))


@kernel
def copy_rows(
    places, rows, offsets, keys, fields, values, dense, labels, truth, begins, out_keys, out_fields, out_values, out_dense,
    out_labels, out_truth,
):  # fmt: skip
    """Copy the given rows (n) int64 of one piece to their places (n) int64 in a batch, occurrences to begins[place] on.

    values, out_values : flat, or None;  truth, out_truth may be None
    """
    n, n_dense = len(rows), dense.shape[1]
    width = 0 if values is None else len(values) // max(1, len(keys))
    for i in range(n):
        later, soon = at(rows, min(i + AHEAD, n - 1)), at(rows, min(i + AHEAD // 2, n - 1))
        prefetch_read(address_of(offsets, later))
        prefetch_read(address_of(dense, later * n_dense))
        prefetch_read(address_of(dense, later * n_dense + n_dense - 1))
        prefetch_read(address_of(labels, later))
        begin, end = at(offsets, soon), at(offsets, soon + 1)
        for line in range(address_of(keys, begin), address_of(keys, end), CACHE_LINE):
            prefetch_read(line)
        for line in range(address_of(fields, begin), address_of(fields, end), CACHE_LINE):
            prefetch_read(line)
        if values is not None:
            for line in range(address_of(values, width * begin), address_of(values, width * end), CACHE_LINE):
                prefetch_read(line)
        row, place = at(rows, i), at(places, i)
        first, length, to = at(offsets, row), at(offsets, row + 1) - at(offsets, row), at(begins, place)
        for j in range(length):
            put(out_keys, to + j, at(keys, first + j))
            put(out_fields, to + j, at(fields, first + j))
        if values is not None:
            for j in range(width * length):
                put(out_values, width * to + j, at(values, width * first + j))
        for f in range(n_dense):
            put(out_dense, place * n_dense + f, at(dense, row * n_dense + f))
        put(out_labels, place, at(labels, row))
        if truth is not None:
            put(out_truth, place, at(truth, row))
