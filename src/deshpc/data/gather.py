"""Collect chosen rows of a data set for a batch: dense features, labels, weights, and occurrences or where these lie."""

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from deshpc.backend.cpu.memory import address_of, at, prefetch_read, put
from deshpc.backend.record import CACHE_LINE
from deshpc.jit import kernel

AHEAD = 16  # rows between asking for a row's memory and copying it


class SampleArrays(NamedTuple):
    """Samples in arrays, as kernels take them: those of a `Dataset` or of a batch.

    begins : int64, where each sample's occurrences begin; of a data set one more, where the last ends
    values : flat;  values, truth and weights are empty where there are none
    """

    begins: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    values: np.ndarray
    dense: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    weights: np.ndarray


def _put_labels(labels, row, result, place):
    """The label of a row, or its labels (T), to a place of the result."""
    raise TypeError("_put_labels works inside kernels")


@overload(_put_labels, inline="always")
def _put_labels_of(labels, row, result, place):
    if labels.ndim == 1:
        return lambda labels, row, result, place: put(result, place, at(labels, row))

    def put_all(labels, row, result, place):
        tasks = labels.shape[1]
        for t in range(tasks):
            put(result, place * tasks + t, at(labels, row * tasks + t))

    return put_all


@kernel
def gather_rows(rows, offsets, dense, labels, weights, begins, ends, out_dense, out_labels, out_weights):
    """Fill the outputs, begins onwards, with the given rows (n) int64.  weights, out_weights : None where all are 1"""
    n, n_dense = len(rows), dense.shape[1]
    for i in range(n):
        soon = at(rows, min(i + AHEAD, n - 1))
        prefetch_read(address_of(offsets, soon))
        prefetch_read(address_of(dense, soon * n_dense))
        prefetch_read(address_of(dense, soon * n_dense + n_dense - 1))
        prefetch_read(address_of(labels, soon))
        if weights is not None:
            prefetch_read(address_of(weights, soon))
        row = at(rows, i)
        put(begins, i, at(offsets, row))
        put(ends, i, at(offsets, row + 1))
        for f in range(n_dense):
            put(out_dense, i * n_dense + f, at(dense, row * n_dense + f))
        _put_labels(labels, row, out_labels, i)
        if weights is not None:
            put(out_weights, i, at(weights, row))


@kernel
def copy_rows(places, rows, piece, batch):
    """Copy the given rows (n) int64 of one piece of a data set to their places (n) int64 in a batch.

    piece, batch : SampleArrays
    """
    offsets, keys, fields, values, dense, labels, truth, weights = piece
    n, n_dense = len(rows), dense.shape[1]
    width = len(values) // max(1, len(keys))
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
        for line in range(address_of(values, width * begin), address_of(values, width * end), CACHE_LINE):
            prefetch_read(line)
        row, place = at(rows, i), at(places, i)
        first, length, to = at(offsets, row), at(offsets, row + 1) - at(offsets, row), at(batch.begins, place)
        for j in range(length):
            put(batch.keys, to + j, at(keys, first + j))
            put(batch.fields, to + j, at(fields, first + j))
        for j in range(width * length):
            put(batch.values, width * to + j, at(values, width * first + j))
        for f in range(n_dense):
            put(batch.dense, place * n_dense + f, at(dense, row * n_dense + f))
        _put_labels(labels, row, batch.labels, place)
        if len(batch.truth):
            put(batch.truth, place, at(truth, row))
        if len(batch.weights):
            put(batch.weights, place, at(weights, row))
