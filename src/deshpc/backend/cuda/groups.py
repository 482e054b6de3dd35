"""How many threads of a warp work on one row, as numbers.cuh computes it."""

import numpy as np

_MOST_LANES = 32


def lanes_of(dim, number):
    """Lanes for an embedding of `dim` numbers of the storage type of `number`."""
    size = np.dtype(number.dtype).itemsize
    wide = 4 if size == 4 and dim % 4 == 0 else 2 if dim % 2 == 0 else 1
    vectors = max(1, dim // wide)
    return min(_MOST_LANES, 1 << (vectors - 1).bit_length())
