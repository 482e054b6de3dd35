"""Sums of products of whole numbers, exact at any size."""

import numpy as np

_BITS, _LIMBS, _BLOCK = 21, 3, 1 << 20  # 2^20 products of 2^42 fit into 63 bits


def exact_dot(a, b):
    """The sum of a b as a Python integer.  a, b : (n) int64, none negative"""
    whole = 0
    for begin in range(0, len(a), _BLOCK):
        left, right = (_limbs(x[begin : begin + _BLOCK]) for x in (a, b))
        for i, x in left:
            for j, y in right:
                whole += int(np.dot(x, y)) << _BITS * (i + j)
    return whole


def _limbs(x):
    """[(place, (n) int64)] of 21 bits of x each, of those that are not 0."""
    limbs = [(i, (x >> _BITS * i) & ((1 << _BITS) - 1)) for i in range(_LIMBS)]
    return [(i, limb) for i, limb in limbs if limb.any()]
