"""The true model of synthetic data: a factorization machine whose weights are hashes of (seed, field, value).

    linear = sum_i w_i x_i + sum_d beta_d dense_d
    pairs  = sum_{i<j} <v_i, v_j> x_i x_j
    logit  = linear_scale * linear + pair_scale * pairs + bias

The sums run over the sample's occurrences; w, beta and v_1 .. v_4 are uniform in [-1, 1); nothing is stored.
`calibrate` chooses scales and bias, so that every profile and seed is equally hard: CLICK_RATE, BEST_AUC and
PAIR_VARIANCE are those of the samples it is given.
"""

from dataclasses import dataclass

import numpy as np

from deshpc.hashing.splitmix import fold, uniform24
from deshpc.jit import kernel

HIDDEN_DIM = 4
CLICK_RATE = 0.25
BEST_AUC = 0.80
PAIR_VARIANCE = 0.25
"""Variance of the pairwise part of the logit, relative to that of the linear part."""

_KEY, _DENSE = np.uint64(1), np.uint64(2)  # separate the two families of weights


@dataclass(frozen=True)
class HiddenModel:
    """Scales and bias of the logit."""

    linear_scale: float
    pair_scale: float
    bias: float

    def probabilities(self, linear, pairs):
        """(n) float64, strictly between 0 and 1, of two arrays (n) float64."""
        return _sigmoid(self.linear_scale * linear + self.pair_scale * pairs + self.bias)


@kernel
def logit_parts(seed, offsets, fields, ids, values, dense):
    """The linear and the pairwise part of each sample.

    seed : uint64
    offsets : (n + 1) int64
    fields : (nnz) uint16
    ids : (nnz) int64
    values : (nnz) float32 or None
    dense : (n, d) float32  ->  linear, pairs : (n) float64
    """
    samples, n_dense = dense.shape
    linear, pairs = np.zeros(samples), np.empty(samples)
    key_seed, dense_seed = fold(seed, _KEY), fold(seed, _DENSE)
    total = np.empty(HIDDEN_DIM)  # sum v x
    for i in range(samples):
        total[:] = 0.0
        squares = 0.0  # sum |v|^2 x^2
        for j in range(offsets[i], offsets[i + 1]):
            x = 1.0
            if values is not None:
                x = np.float64(values[j])
            word = fold(fold(key_seed, np.uint64(fields[j])), np.uint64(ids[j]))
            linear[i] += uniform24(word) * x
            for c in range(HIDDEN_DIM):
                term = uniform24(fold(word, np.uint64(c))) * x
                total[c] += term
                squares += term * term
        for d in range(n_dense):
            linear[i] += uniform24(fold(dense_seed, np.uint64(d))) * dense[i, d]
        pairs[i] = 0.5 * ((total * total).sum() - squares)
    return linear, pairs


def calibrate(linear, pairs):
    """The HiddenModel for which these samples, two arrays (n) float64, have the constants above.

    Its numbers are multiples of 2^-20: the order in which a machine adds must not reach the labels.
    """
    ratio = np.sqrt(PAIR_VARIANCE * linear.var() / pairs.var())
    raw = linear + ratio * pairs

    def bias_of(scale):
        def excess(bias):
            return _sigmoid(scale * raw + bias).mean() - CLICK_RATE

        return _root(excess, -10 - scale * raw.max(), 10 - scale * raw.min())

    def auc_excess(scale):
        return best_auc(_sigmoid(scale * raw + bias_of(scale))) - BEST_AUC

    scale = _root(auc_excess, 0.0, 10 / raw.std())
    return HiddenModel(*(round(x * 2**20) / 2**20 for x in (scale, scale * ratio, bias_of(scale))))


def best_auc(probabilities):
    """AUC, in expectation over the labels, of ranking samples by their true probabilities: no model exceeds it.

    A pair of samples counts with the probability that the first is a click and the second is not.
    """
    p = np.sort(np.asarray(probabilities, np.float64))
    no_click = 1 - p
    below = np.concatenate(([0.0], np.cumsum(no_click)))
    smaller = below[np.searchsorted(p, p, side="left")]
    equal = below[np.searchsorted(p, p, side="right")] - smaller - no_click  # ties count half; no pair with itself
    return (p * (smaller + equal / 2)).sum() / (p.sum() * no_click.sum() - (p * no_click).sum())


def _sigmoid(logit):
    return 1.0 / (1.0 + np.exp(-logit))


def _root(increasing, low, high):
    """Where an increasing function changes sign, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        if increasing(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
