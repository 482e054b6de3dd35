"""Contiguous shares of samples: which of them belong to a rank."""

import numpy as np


def slice_of(total, size, rank):
    """(begin, end) of rank's contiguous share of `total` things: shares differ by one at most, some may be empty."""
    return total * rank // size, total * (rank + 1) // size


def slices(total, size):
    """Counts (size) int64 of all ranks' shares."""
    edges = np.array([total * r // size for r in range(size + 1)], np.int64)
    return np.diff(edges)


def number_counts(array, size):
    """Counts (size) int64 of the numbers in all ranks' shares of an array (n, ...)."""
    return slices(len(array), size) * int(np.prod(array.shape[1:], dtype=np.int64))
