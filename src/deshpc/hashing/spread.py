"""A rank for each key where none owns it: for what is divided among ranks by key alone."""

import numpy as np

_LOW_BITS = np.uint64(0xFFFFFFFF)  # all of them of the hash


def spread(keys, ranks):
    """(n) int64 rank of each of keys (n) uint64."""
    return ((keys & _LOW_BITS) % np.uint64(ranks)).astype(np.int64)
