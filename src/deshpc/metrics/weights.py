"""Samples' weights as whole numbers: what is added up of them, or multiplied, is exact and the same for any number of ranks."""

import math
from typing import NamedTuple

import numpy as np

from deshpc.comm.ledger import Traffic

_BITS = 61  # of the sum of all weights
_SIZES = Traffic("metrics", "metrics", "eval")


class Weights(NamedTuple):
    """Weights of this rank's n samples.

    whole : (n) int64, from 0 on; of all ranks they add up to less than 2^61
    one : the whole number of a relative weight of 1, a power of two
    relative : (n) float64 from 0 to 1, or None where every weight is 1
    unit : the weight that a relative weight of 1 stands for, a power of two
    """

    whole: np.ndarray
    one: int
    relative: np.ndarray | None
    unit: float

    def of(self, which):
        """Those of some samples.  which : (n) bool"""
        return self._replace(whole=self.whole[which], relative=None if self.relative is None else self.relative[which])

    def times(self, numbers):
        """(n) float64 numbers, each times its relative weight."""
        return numbers if self.relative is None else numbers * self.relative

    def value(self, whole):
        """The weight, a float, that a whole number stands for."""
        return whole / self.one * self.unit


def whole_weights(group, weights, samples):
    """The Weights of this rank's samples.  Collective, unless weights is None.

    weights : (n) float32, from 0 on, or None where each is 1
    samples : n
    A weight is rounded to a multiple of the largest one divided by 2^61 and multiplied by the number of all samples.
    """
    if weights is None:
        return Weights(np.ones(samples, np.int64), 1, None, 1.0)
    weights = np.asarray(weights, np.float64)
    found = group.gather_numbers(np.array([weights.max(initial=0.0), samples]), _SIZES).wait()
    exponent = math.frexp(found[:, 0].max())[1]
    one = 1 << (_BITS - int(found[:, 1].sum()).bit_length())
    relative = np.ldexp(weights, -exponent)
    return Weights(np.rint(relative * one).astype(np.int64), one, relative, math.ldexp(1.0, exponent))
