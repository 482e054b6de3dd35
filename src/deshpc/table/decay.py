"""Counts of sights that decay, of which an update only adds to those of its rows, whatever their ages.

    in memory    a sight at step s counts  2^((s - begin) / half life),  where begin is the first step of an era
    at step t    a row's decayed count is the sum of its sights times  2^((begin - t) / half life)

So rows of all ages compare as they lie.  A new era shrinks all counts by a power of two, which is exact; what is below 2^-100 then, of a
row that nobody has seen for a hundred half-lives, is 0.
"""

import numpy as np

ERA = 16
"""Half-lives: as often counts halve from one era to the next."""

LEAST = np.float32(2.0**-100)
"""A smaller count is 0."""


class DecayedCounts:
    """How counts of one half-life lie in memory, and are read out; NumPy only."""

    def __init__(self, half_life):
        """half_life : in steps"""
        self._half_life = half_life

    def era(self, step):
        """Number of the era of a step."""
        return int(step) // (ERA * self._half_life)

    def sight(self, step):
        """What a sight at a step counts (float32), in memory of its era."""
        halves, rest = divmod(int(step) % (ERA * self._half_life), self._half_life)
        return np.float32(2.0**halves * 2.0 ** (rest / self._half_life))

    def read_out(self, counts, steps, era):
        """(n) float64, counts as of the rows' last steps (n), of counts (n) float32 in memory of an era: the same bits in whichever era.

        `in_memory` gives the same counts back, to the bit.
        """
        halves, rest = self._since(steps, era)
        return np.ldexp(counts * np.exp2(-rest), np.minimum(-halves, 200))  # one that is not 0 is less than 200 half-lives old

    def in_memory(self, counts, steps, era):
        """(n) float32, in memory of an era: the inverse of `read_out`.  era : that of the last of the steps, or a later one"""
        halves, rest = self._since(steps, era)
        found = np.ldexp(counts * np.exp2(rest), np.maximum(halves, -1000)).astype(np.float32)
        found[found < LEAST] = 0
        return found

    def expected(self, counts, steps):
        """(n) float64, decayed counts of rows of which only their sights (n) are known: as if these were spread evenly over all steps so far."""
        even = self._half_life / (np.log(2.0) * (steps + 1.0))  # what is left of a count after many steps, of what it is
        return counts * np.minimum(1.0, even)

    def _since(self, steps, era):
        """Half-lives (n) int64 from the beginning of an era to steps (n), negative before it, and what part of one is over then (n) float64."""
        halves, rest = np.divmod(steps.astype(np.int64), self._half_life)
        return halves - ERA * era, rest / self._half_life
