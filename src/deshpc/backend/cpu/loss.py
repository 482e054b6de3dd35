"""Log-loss and its gradient, CPU.  See `nn.loss`."""

import math

import numpy as np

from deshpc.backend.cpu.memory import at, cast, put
from deshpc.backend.cpu.sums import accumulate
from deshpc.backend.cpu.values import value_width
from deshpc.backend.exact_sum import HIGH, LOW, MOST
from deshpc.jit import kernel

BLOCK = 64  # samples
PER_LOGIT = 64
"""Bins of `count_scores` in 1 of a logit."""


def begin_logit(logit, bias):
    """logit (n) = the bias, a 0-dimensional array."""
    logit[:] = bias


@kernel
def log_loss(zero, logit, labels, scale, gradient, sums, beyond, parts):
    """gradient[i] = (p_i - y_i) scale with p = 1 / (1 + exp(-logit)); the sum of the losses of each of some Parts of the samples.

    loss = log(1 + exp(-|z|)) + (1 - y) z where z > 0, - y z elsewhere, which never overflows.  logit, gradient : compute type.
    sums (parts, 2) int64 : high and low;  beyond (parts) float64: a part's sum, as `backend.exact_sum` has it
    """
    edges, one = parts.edges, cast(1.0, zero)
    exponentials, others = np.empty(BLOCK), np.empty(BLOCK)
    for p in range(parts.begin, parts.end):
        high, low, rest = 0, 0, 0.0
        for begin in range(at(edges, p), at(edges, p + 1), BLOCK):
            count = min(BLOCK, at(edges, p + 1) - begin)
            for j in range(count):
                z, y = at(logit, begin + j), cast(at(labels, begin + j), zero)
                e = math.exp(-abs(z))
                probability = (one if z >= zero else e) / (one + e)
                put(gradient, begin + j, (probability - y) * scale)
                slope = one - y if z > zero else y
                exponentials[j] = e
                others[j] = slope * abs(z) if slope != zero else zero  # an infinite logit of the right sign costs nothing
            outside = 0
            for j in range(count):  # without a branch or a call: several samples at a time
                loss = _log_of_one_and(exponentials[j]) + others[j]
                inside = loss < MOST
                scaled = loss * HIGH if inside else 0.0
                whole = np.int64(scaled)
                high += whole
                low += np.int64((scaled - np.float64(whole)) * LOW + 0.5)
                outside += np.int64(not inside)
                others[j] = loss
            if outside:
                for j in range(count):
                    if not others[j] < MOST:
                        rest += others[j]
        put(sums, 2 * p, high)
        put(sums, 2 * p + 1, low)
        put(beyond, p, rest)


@kernel(inline=True)
def _log_of_one_and(e):
    """log(1 + e) of 0 <= e <= 1, to 2^-53: 2 artanh(s), s = e / (2 + e), whose series ends where s^2 <= 1 / 9 lets it."""
    s = e / (2.0 + e)
    q = s * s
    high = ((((((q * (1 / 35) + 1 / 33) * q + 1 / 31) * q + 1 / 29) * q + 1 / 27) * q + 1 / 25) * q + 1 / 23) * q + 1 / 21
    middle = ((((((high * q + 1 / 19) * q + 1 / 17) * q + 1 / 15) * q + 1 / 13) * q + 1 / 11) * q + 1 / 9) * q + 1 / 7
    return 2.0 * s * (((middle * q + 1 / 5) * q + 1 / 3) * q + 1.0)


@kernel
def count_scores(logit, labels, counts):
    """counts[label from one half on, bin of the logit] += 1; NaN counts in the first.

    logit (n), labels (n) float32 between 0 and 1;  counts (2, bins) int64, see `nn.scores`
    """
    bins = counts.shape[1]
    for i in range(len(logit)):
        place = (np.float64(at(logit, i)) + bins // (2 * PER_LOGIT)) * PER_LOGIT
        slot = bins * np.int64(at(labels, i) + np.float32(0.5))  # no branch: a label cannot be predicted
        if place >= 1.0:
            slot += np.int64(min(place, bins - 1.0))
        put(counts, slot, at(counts, slot) + 1)


@kernel
def sum_gradient(gradient, scale, sums, parts):
    """sums[p] = sum of the gradients of part p, in order: the bias's.  sums : (parts) of the accumulation type."""
    edges = parts.edges
    for p in range(parts.begin, parts.end):
        total = cast(0, at(sums, p))
        for i in range(at(edges, p), at(edges, p + 1)):
            total = accumulate(total, at(gradient, i), scale)
        put(sums, p, total)


@kernel
def largest_values(begins, ends, values, dense, largest):
    """largest[i] = the largest |value| of sample i, of either kind (1 where values is None), or |dense feature|."""
    n_dense, width = dense.shape[1], value_width(values)
    for i in range(len(begins)):
        x = 0.0
        if values is None:
            x = 1.0
        else:
            for place in range(width * at(begins, i), width * at(ends, i)):
                x = max(x, abs(float(at(values, place))))
        for f in range(n_dense):
            x = max(x, abs(float(dense[i, f])))
        largest[i] = x
