"""Losses and their gradients, CPU.  See `nn.loss`."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from deshpc.backend import losses
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
def slopes(loss, zero, logit, labels, weights, scale, gradient, sums, beyond, parts):
    """gradient[i] = slope of the loss at z = logit[i] + loss.shift, times scale; the sum of the losses of each of some Parts of the samples.

    loss : of `backend.losses`, which has the formulas;  its shift, logit, scale and gradient : compute type
    weights : (n) float32, by which each sample's loss and gradient are multiplied, or None, where all are 1
    sums (parts, 2) int64 : high and low;  beyond (parts) float64: a part's sum, as `backend.exact_sum` has it
    """
    edges = parts.edges
    firsts, seconds = np.empty(BLOCK), np.empty(BLOCK)
    for p in range(parts.begin, parts.end):
        high, low, rest = 0, 0, 0.0
        for begin in range(at(edges, p), at(edges, p + 1), BLOCK):
            count = min(BLOCK, at(edges, p + 1) - begin)
            for j in range(count):
                slope, firsts[j], seconds[j] = formula(loss, zero, at(logit, begin + j) + loss.shift, cast(at(labels, begin + j), zero))
                put(gradient, begin + j, weighted(weights, begin + j, slope * scale))
            outside = 0
            for j in range(count):  # without a branch or a call: several samples at a time
                one = weighted(weights, begin + j, loss_of(loss, firsts[j], seconds[j]))
                inside = one < MOST
                scaled = one * HIGH if inside else 0.0
                whole = np.int64(scaled)
                high += whole
                low += np.int64((scaled - np.float64(whole)) * LOW + 0.5)
                outside += np.int64(not inside)
                seconds[j] = one
            if outside:
                for j in range(count):
                    if not seconds[j] < MOST:
                        rest += seconds[j]
        put(sums, 2 * p, high)
        put(sums, 2 * p + 1, low)
        put(beyond, p, rest)


def formula(loss, zero, z, y):
    """(slope of the loss at z, of the type of zero;  two float64 that `loss_of` makes the loss of)."""
    raise TypeError("formula works inside kernels")


def loss_of(loss, first, second):
    """The loss (float64) of what `formula` gives: arithmetic only."""
    raise TypeError("loss_of works inside kernels")


def weighted(weights, i, number):
    """number times weight i, of the type of number; the number where there are no weights."""
    raise TypeError("weighted works inside kernels")


@kernel(inline=True)
def _log_of_one_and(e):
    """log(1 + e) of 0 <= e <= 1, to 2^-53: 2 artanh(s), s = e / (2 + e), whose series ends where s^2 <= 1 / 9 lets it."""
    s = e / (2.0 + e)
    q = s * s
    high = ((((((q * (1 / 35) + 1 / 33) * q + 1 / 31) * q + 1 / 29) * q + 1 / 27) * q + 1 / 25) * q + 1 / 23) * q + 1 / 21
    middle = ((((((high * q + 1 / 19) * q + 1 / 17) * q + 1 / 15) * q + 1 / 13) * q + 1 / 11) * q + 1 / 9) * q + 1 / 7
    return 2.0 * s * (((middle * q + 1 / 5) * q + 1 / 3) * q + 1.0)


def _log(loss, zero, z, y):
    # log(1 + exp(-|z|)) + (1 - y) z where z > 0, - y z elsewhere, which never overflows
    one = cast(1.0, zero)
    e = math.exp(-abs(z))
    probability = (one if z >= zero else e) / (one + e)
    slope = one - y if z > zero else y
    return probability - y, e, slope * abs(z) if slope != zero else zero  # an infinite logit of the right sign costs nothing


def _squared(loss, zero, z, y):
    difference = z - y
    return difference, difference, zero


def _poisson(loss, zero, z, y):
    # y (exp(r) - 1 - r) with r = z - log y, so that a loss near 0 keeps its digits
    slope, label = math.exp(z) - y, np.float64(y)
    if label == 0.0:
        return slope, math.exp(np.float64(z)), 1.0
    r = np.float64(z) - math.log(label)
    rest = math.expm1(r) - r
    return slope, label, 0.0 if rest < 0.0 else rest


_FORMULAS = {losses.LogLoss: _log, losses.SquaredLoss: _squared, losses.PoissonLoss: _poisson}
_LOSSES = {
    losses.LogLoss: lambda loss, first, second: _log_of_one_and(first) + second,
    losses.SquaredLoss: lambda loss, first, second: 0.5 * first * first,
    losses.PoissonLoss: lambda loss, first, second: first * second,
}


@overload(formula, inline="always")
def _formula(loss, zero, z, y):
    return _FORMULAS[loss.instance_class]


@overload(loss_of, inline="always")
def _loss_of(loss, first, second):
    return _LOSSES[loss.instance_class]


@overload(weighted, inline="always")
def _weighted(weights, i, number):
    if isinstance(weights, types.Array):
        return lambda weights, i, number: number * cast(at(weights, i), number)
    return lambda weights, i, number: number


@kernel
def count_scores(logit, labels, counts):
    """counts[label from one half on, bin of the logit] += 1; a logit that is NaN counts in the first, a label that is NaN not at all.

    logit (n), labels (n) float32 between 0 and 1, or NaN;  counts (2, bins) int64, see `nn.scores`
    """
    bins = counts.shape[1]
    for i in range(len(logit)):
        if np.isnan(at(labels, i)):
            continue
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
