"""How many threads of a warp work on one row, as `lanes_for` in numbers.cuh computes it."""

import numpy as np

_MOST_LANES = 32


def lanes_of(dim, number, vectors=1):
    """Lanes for an embedding of so many vectors of `dim` numbers of the storage type of `number`."""
    size = np.dtype(number.dtype).itemsize
    wide = 4 if size == 4 and dim % 4 == 0 else 2 if dim % 2 == 0 else 1
    return _lanes_for(vectors * (dim // wide))


def sum_lanes_of(numbers):
    """Lanes that add up the numbers of a row's gradient, in turns of four: see key_sums.cuh."""
    return _lanes_for((numbers + 3) // 4)


def sum_stretches_of(numbers, most_held):
    """Stretches that the numbers of a row's gradient are added up in, where a lane holds so many of them at most: see key_sums.cuh."""
    each = -(-numbers // sum_lanes_of(numbers))
    return -(-each // min(each, most_held))


def _lanes_for(vectors):
    return min(_MOST_LANES, 1 << max(0, vectors - 1).bit_length())
