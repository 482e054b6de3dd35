"""Log-loss and its gradient, CPU.  See `nn.loss`."""

import math

import numpy as np

from deshpc.backend.cpu.memory import at, cast, put
from deshpc.backend.cpu.sums import accumulate
from deshpc.backend.cpu.values import value_width
from deshpc.jit import kernel

HIGH, LOW, MOST = 2.0**15, 2.0**35, 2.0**20  # as `nn.exact_sum` has them
PER_LOGIT = 64
"""Bins of `count_scores` in 1 of a logit."""


def begin_logit(logit, bias):
    """logit (n) = the bias, a 0-dimensional array."""
    logit[:] = bias


@kernel
def log_loss(zero, logit, labels, scale, gradient, sums, beyond, edges, first, last):
    """gradient[i] = (p_i - y_i) scale with p = 1 / (1 + exp(-logit)); the sum of the losses of part p, as `nn.exact_sum` has it.

    loss = log(1 + exp(-|z|)) + (1 - y) z where z > 0, - y z elsewhere, which never overflows.  logit, gradient : compute type.
    sums (parts, 2) int64 : high and low;  beyond (parts) float64;  None for both where no sum is wanted
    edges : part p of the samples is edges[p] .. edges[p + 1], for the parts first .. last
    """
    one = cast(1.0, zero)
    for p in range(first, last):
        high, low, rest = 0, 0, 0.0
        for i in range(at(edges, p), at(edges, p + 1)):
            z, y = at(logit, i), cast(at(labels, i), zero)
            e = math.exp(-abs(z))
            probability = (one if z >= zero else e) / (one + e)
            put(gradient, i, (probability - y) * scale)
            if sums is not None:
                slope = one - y if z > zero else y
                loss = math.log(1.0 + np.float64(e))
                if slope != zero:  # an infinite logit of the right sign costs nothing
                    loss += np.float64(slope * abs(z))
                if loss < MOST:
                    scaled = loss * HIGH
                    whole = np.int64(scaled)
                    high += whole
                    low += np.int64((scaled - np.float64(whole)) * LOW + 0.5)
                else:
                    rest += loss
        if sums is not None:
            put(sums, 2 * p, high)
            put(sums, 2 * p + 1, low)
            put(beyond, p, rest)


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
def sum_gradient(gradient, scale, sums, edges, first, last):
    """sums[p] = sum of the gradients of part p, in order: the bias's.  sums : (parts) of the accumulation type."""
    for p in range(first, last):
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
