"""In which numbers sums over rows, samples and ranks are added up (`train.accumulate`), and what that asks of a step.

    floating point   states are numbers as they are, and gradients need no scale: nothing to do
    fixed point      see `model.fixed_point`
"""

from typing import Protocol


class Accumulation(Protocol):
    """What the stations of a step ask of the kind of sums."""

    partial_scale: float
    """By which terms of partials are multiplied before they are added up."""

    scales_follow: bool
    """Whether the scales of gradients are found from gradients, not known before them."""

    def numbers(self, state):
        """Complete states (n, s) of the sums' type as numbers that a top computes with.  Not collective."""

    def check(self, found, rows):
        """Raise on every rank if a partial of an evaluated batch may have left its range.

        found : Found
        rows : [ShardRows], from which this rank has computed partials
        Collective in fixed point.
        """

    def gradient_scales(self, found, rows, state, gradient, largest=None):
        """(scale of the sums of rows' gradients, that of dense parameters') of this step, the same on all ranks.

        found : Found
        rows : [ShardRows], from which this rank has computed partials
        state : (n, >= s), complete states
        gradient : (n) of the loss by the logits, or (n, s) by the states, where a tower has found it
        largest : |sum| of dense gradients of any block, where a tower has added them up; None: their terms are bounded as those of rows
        Collective in fixed point, and raises on every rank where numbers leave their range.
        """


class FloatingPoint:
    """Nothing to do."""

    partial_scale, scales_follow = 1.0, False

    def numbers(self, state):
        """The states themselves."""
        return state

    def check(self, found, rows):
        """Nothing can leave its range."""

    def gradient_scales(self, found, rows, state, gradient, largest=None):
        """1, twice."""
        return 1.0, 1.0
