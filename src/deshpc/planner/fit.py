"""Rates, none below zero, that explain measured seconds best."""

import numpy as np

_ROUNDS, _TIMES = 3000, 4
_MOST = 2.0  # an error counts at most so much more, or less, than by its weight


def rates(units, seconds, weights, known=0.0):
    """(k) of rates r >= 0 that make the sum of ((known + units @ r - seconds) / weights)^2 small.

    units : (n, k), counted
    seconds : (n), measured
    weights : (n), above 0: an error counts by its share of this
    known : (n), seconds that are explained already

    By descent along one rate after the other, which for a sum of squares above a half-line each ends at the smallest.  Errors by their
    share of what was measured would have what is too short count more than what is too long, and rates come out low: so they are
    divided, in further rounds, by the root of explained times measured seconds.
    """
    units, weights = np.asarray(units, np.float64), np.asarray(weights, np.float64)
    seconds, known = np.asarray(seconds, np.float64), np.broadcast_to(known, len(weights))
    found, evenly = np.zeros(units.shape[1]), np.ones(len(weights))
    for _ in range(_TIMES):
        found = _descended(units, seconds - known, weights / evenly, found)
        explained = known + units @ found
        evenly = np.sqrt(np.clip(seconds / np.maximum(explained, 1e-12), _MOST**-2, _MOST**2))
    return found


def _descended(units, seconds, weights, begin):
    scale = np.where(units.max(axis=0) > 0, units.max(axis=0), 1.0)
    a, found = units / scale / weights[:, None], begin * scale
    squares, left = (a * a).sum(axis=0), seconds / weights - a @ found
    for _ in range(_ROUNDS):
        for j in np.flatnonzero(squares):
            new = max(0.0, found[j] + a[:, j] @ left / squares[j])
            left -= a[:, j] * (new - found[j])
            found[j] = new
    return found / scale
