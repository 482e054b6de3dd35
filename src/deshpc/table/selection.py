"""Which rows of all ranks are worth keeping, where there is room for some of them: the least that is kept, found digit by digit.

Rows are ordered by worth (uint32), then tie (uint64), which no two rows share: together a number of 96 bits.  Ranks add up what the
rows of each digit cost, so the same rows stay whatever rank and thread has which.
"""

from typing import Any, NamedTuple

import numpy as np

_OF_WORTHS, _OF_TIES = ((20, 12), (8, 12), (0, 8)), ((52, 12), (40, 12), (28, 12), (16, 12), (4, 12), (0, 4))
"""Digits, from the top: by how many bits one is shifted, and its bits."""


class Candidates(NamedTuple):
    """Some rows.

    worths : (n) uint32
    stays : (n) bool, which of them stay so far; `shrink` changes it
    ties : function of places (m) int64 that gives a hash (m) uint64 of the key of each
    cost : what each of them costs
    """

    worths: np.ndarray
    stays: np.ndarray
    ties: Any
    cost: int

    @property
    def costs(self):
        """What those that stay cost."""
        return self.cost * np.count_nonzero(self.stays)


def shrink(candidates, budget, add_up, backend):
    """Let the least worth go, until those that stay cost no more than `budget`.

    candidates : [Candidates] of this rank, one thread each
    add_up : function of (n) int64 that gives their sums over the ranks that share the budget
    As collective as `add_up`, and called in the same way by all that share it.
    """
    if int(add_up(np.array([sum(one.costs for one in candidates)], np.int64))[0]) <= budget:
        return
    least = 0  # those that are worth less go, those that are worth more stay
    for shift, bits in _OF_WORTHS:
        costs = backend.each(_costs_of_worths, [(one, least, shift, bits, backend) for one in candidates])
        digit, budget = _border(add_up(sum(costs)), budget)
        least = (least << bits) + digit
    borders = backend.each(_cut, [(one, least) for one in candidates])
    tied, last = [ties for _, ties in borders], 0
    for shift, bits in _OF_TIES:
        digits = [((ties >> np.uint64(shift)) & np.uint64((1 << bits) - 1)).astype(np.int64) for ties in tied]
        costs = sum(one.cost * np.bincount(own, minlength=1 << bits) for one, own in zip(candidates, digits, strict=True))
        digit, budget = _border(add_up(costs), budget)
        last = (last << bits) + digit
        tied = [ties[own == digit] for ties, own in zip(tied, digits, strict=True)]
    for one, (places, ties) in zip(candidates, borders, strict=True):
        one.stays[places[ties <= np.uint64(last)]] = False


def _costs_of_worths(one, above, shift, bits, backend):
    counts = np.zeros(1 << bits, np.int64)
    backend.history.count_digits(one.worths, one.stays, above, shift, bits, counts)
    return one.cost * counts


def _border(costs, budget):
    """(The largest digit of which some rows go, what is left of the budget for those)."""
    from_on = np.append(np.asarray(costs)[::-1].cumsum()[::-1], 0)
    above = int(np.argmax(from_on <= budget))  # all of these digits stay
    return above - 1, budget - int(from_on[above])


def _cut(one, least):
    """Let those go that are worth less; (places (m) int64, ties (m) uint64) of those that are worth just as much."""
    np.logical_and(one.stays, one.worths >= least, out=one.stays)
    places = np.flatnonzero(one.stays & (one.worths == least))
    return places, one.ties(places)
