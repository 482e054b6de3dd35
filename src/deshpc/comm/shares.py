"""Contiguous shares of samples: which of them belong to a rank."""

from functools import lru_cache
from math import prod

import numpy as np


def slice_of(total, size, rank):
    """(begin, end) of rank's contiguous share of `total` things: shares differ by one at most, some may be empty."""
    return total * rank // size, total * (rank + 1) // size


@lru_cache(64)
def slices(total, size):
    """Counts (size) int64 of all ranks' shares: the same array every time."""
    counts = np.diff(np.array([total * r // size for r in range(size + 1)], np.int64))
    counts.setflags(write=False)
    return counts


def number_counts(shape, size):
    """Counts (size) int64 of the numbers in all ranks' shares of an array of shape (n, ...)."""
    return slices(shape[0], size) * prod(shape[1:])
