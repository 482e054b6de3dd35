"""What rates leave unexplained, told from measured steps that are alike.

A step's seconds are not quite a sum of work times rates: caches, small messages and waiting see to that.  But what a sum is wrong by is about
the same for steps that are made of the same work and are about as long.  So the logarithm of measured over explained seconds is
interpolated between measured steps (kriging: a Gaussian kernel, and a noise that single measurements have).  Far from all of them nothing is corrected.
"""

import math
from typing import NamedTuple

import numpy as np

_SHARES, _LOG_SECONDS = 0.15, 1.0  # how far apart steps may be in these, and still have much in common
_NOISE = 0.1  # variance of one measurement, over that of what steps have in common


class Measured(NamedTuple):
    """A step that was measured.

    shares : {unit: share of the explained seconds that its work takes}
    explained_s : seconds by rates
    ratio : measured over explained seconds
    """

    shares: dict
    explained_s: float
    ratio: float


def factor(measured, shares, explained_s):
    """By how much a step's explained seconds are to be multiplied; 1.0 where nothing like it was measured.

    measured : [Measured]
    shares, explained_s : of the step, as in Measured
    """
    if not measured or explained_s <= 0:
        return 1.0
    units = sorted({unit for one in (*(one.shares for one in measured), shares) for unit in one})
    places = np.array([_place(units, one.shares, one.explained_s) for one in measured])
    kernel = np.exp(-0.5 * ((places[:, None] - places) ** 2).sum(axis=2)) + _NOISE * np.eye(len(measured))
    weights = np.linalg.solve(kernel, np.log([one.ratio for one in measured]))
    distances = ((places - _place(units, shares, explained_s)) ** 2).sum(axis=1)
    return float(np.exp(np.exp(-0.5 * distances) @ weights))


def _place(units, shares, seconds):
    """Coordinates of a step, in which a distance of 1 is a far one."""
    return np.array([*(shares.get(unit, 0.0) / _SHARES for unit in units), math.log(seconds) / _LOG_SECONDS])
