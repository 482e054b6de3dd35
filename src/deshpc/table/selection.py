"""Which rows of all ranks are worth keeping, where there is room for some of them: one threshold, found digit by digit.

Rows are ordered by worth (uint32), then tie (uint64), which no two rows share: together a number of 96 bits.  Ranks add up what the
rows of each digit cost, so the threshold is the same whatever rank and thread has which row.
"""

from typing import NamedTuple

import numpy as np

_TIE_BITS = 64
_DIGITS = ((32, 20, 12), (32, 8, 12), (32, 0, 8), (64, 52, 12), (64, 40, 12), (64, 28, 12), (64, 16, 12), (64, 4, 12), (64, 0, 4))
"""Of a number of 96 bits, from the top: in its worth or its tie, by how many bits it is shifted, and bits."""


class Candidates(NamedTuple):
    """Some rows: worths (n) uint32, ties (n) uint64, and what each of them costs."""

    worths: np.ndarray
    ties: np.ndarray
    cost: int


def threshold(candidates, budget, add_up):
    """The smallest number, of 96 bits, such that the rows from it on cost no more than `budget`: 0 keeps all.

    candidates : [Candidates] of this rank
    add_up : function of (n) int64 that gives their sums over the ranks that share the budget
    As collective as `add_up`, and called in the same way by all that share it.
    """
    total = add_up(np.array([sum(len(one.worths) * one.cost for one in candidates)], np.int64))
    if int(total[0]) <= budget:
        return 0
    found, left = 0, budget
    for width, shift, bits in _DIGITS:
        digits = [_digits(one.worths if width == 32 else one.ties, shift, bits) for one in candidates]
        costs = np.zeros((1 << bits) + 1, np.int64)
        for one, own in zip(candidates, digits, strict=True):
            costs[:-1] += one.cost * np.bincount(own, minlength=1 << bits)
        from_on = np.asarray(add_up(costs))[::-1].cumsum()[::-1]
        first = int(np.argmax(from_on <= left))  # of the digits of which all rows stay; some of those of the one before go
        left -= int(from_on[first])
        found = (found << bits) + first - 1
        candidates = [
            Candidates(one.worths[own == first - 1], one.ties[own == first - 1], one.cost) for one, own in zip(candidates, digits, strict=True)
        ]
    return found + 1


def stays(worths, ties, number):
    """(n) bool, whether rows are at or above a threshold."""
    worth, tie = number >> _TIE_BITS, np.uint64(number & (2**_TIE_BITS - 1))
    if worth >= 2**32:
        return np.zeros(len(worths), bool)
    return (worths > worth) | ((worths == worth) & (ties >= tie))


def _digits(numbers, shift, bits):
    return ((numbers >> numbers.dtype.type(shift)) & numbers.dtype.type((1 << bits) - 1)).astype(np.int64)
