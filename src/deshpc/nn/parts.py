"""The fixed parts of a batch over which threads share work on samples.

Sums over a batch are taken part by part and the parts' sums in order, so they have the same bits for any number of
threads, and dense parameters stay equal on all ranks.
"""

from functools import lru_cache

import numpy as np

from deshpc.backend.arguments import Parts

PARTS = 16


@lru_cache(16)
def edges(samples):
    """(PARTS + 1) int64: part p is the samples edges[p] .. edges[p + 1]."""
    return samples * np.arange(PARTS + 1) // PARTS


@lru_cache(64)
def parts_of(samples, threads):
    """[Parts of each thread]: the same list every time."""
    return [Parts(edges(samples), PARTS * t // threads, PARTS * (t + 1) // threads) for t in range(threads)]


@lru_cache(64)
def shares(samples, threads):
    """[(begin, end) of each thread's samples], where no sum depends on them: the same list every time."""
    return [(samples * t // threads, samples * (t + 1) // threads) for t in range(threads)]
