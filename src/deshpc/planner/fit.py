"""Rates, none below zero, that explain measured seconds best."""

import numpy as np

_ROUNDS = 5000


def rates(units, seconds, weights):
    """(k) of rates r >= 0 that make the sum of ((units @ r - seconds) / weights)^2 small.

    units : (n, k), counted
    seconds : (n), measured
    weights : (n), above 0: an error counts by its share of this
    By descent along one rate after the other, which for a sum of squares above a half-line each ends at the smallest.
    """
    units, weights = np.asarray(units, np.float64), np.asarray(weights, np.float64)
    scale = np.where(units.max(axis=0) > 0, units.max(axis=0), 1.0)
    a = units / scale / weights[:, None]
    squares, found, left = (a * a).sum(axis=0), np.zeros(a.shape[1]), np.asarray(seconds, np.float64) / weights
    for _ in range(_ROUNDS):
        for j in np.flatnonzero(squares):
            new = max(0.0, found[j] + a[:, j] @ left / squares[j])
            left -= a[:, j] * (new - found[j])
            found[j] = new
    return found / scale
