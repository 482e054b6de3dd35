"""The true model of synthetic data: a factorization machine whose weights are hashes of (seed, field, value).

    raw   = sum w_i x_i + interaction sum_{i<j} <v_i, v_j> x_i x_j + sum_d beta_d dense_d
    logit = scale raw + bias                            w, beta, v_1 .. v_4 uniform in [-1, 1), nothing stored

The sums run over the sample's occurrences.  `calibrate` chooses scale and bias so that the share of clicks and the
best possible AUC are CLICK_RATE and BEST_AUC, whatever the profile and the seed.
"""

from dataclasses import dataclass

import numpy as np

from deshpc.hashing.splitmix import fold, uniform24
from deshpc.jit import kernel

HIDDEN_DIM = 4
CLICK_RATE = 0.25
BEST_AUC = 0.80

_KEY_WEIGHTS, _DENSE_WEIGHTS = np.uint64(0x6B6579), np.uint64(0x64656E7365)  # separate the two families of weights


@dataclass(frozen=True)
class HiddenModel:
    """scale and bias of the raw logits."""

    scale: float
    bias: float

    def probabilities(self, raw_logits):
        """(n) float64 in (0, 1) of (n) float64."""
        return 1.0 / (1.0 + np.exp(-(self.scale * raw_logits + self.bias)))


@kernel
def raw_logits(seed, interaction, offsets, fields, ids, values, dense):
    """The raw logit of each sample.

    seed : uint64;  offsets : (n + 1) int64;  fields : (nnz) uint16;  ids : (nnz) int64
    values : (nnz) float32 or None;  dense : (n, d) float32  ->  (n) float64
    """
    samples, n_dense = dense.shape
    key_seed = fold(seed, _KEY_WEIGHTS)
    dense_seed = fold(seed, _DENSE_WEIGHTS)
    result = np.empty(samples)
    state = np.empty(HIDDEN_DIM)  # sum v x
    for i in range(samples):
        linear = 0.0
        squares = 0.0  # sum |v|^2 x^2
        state[:] = 0.0
        for j in range(offsets[i], offsets[i + 1]):
            x = 1.0
            if values is not None:
                x = np.float64(values[j])
            word = fold(fold(key_seed, np.uint64(fields[j])), np.uint64(ids[j]))
            linear += uniform24(word) * x
            for c in range(HIDDEN_DIM):
                term = uniform24(fold(word, np.uint64(c))) * x
                state[c] += term
                squares += term * term
        pairs = -squares
        for c in range(HIDDEN_DIM):
            pairs += state[c] * state[c]
        for d in range(n_dense):
            linear += uniform24(fold(dense_seed, np.uint64(d))) * dense[i, d]
        result[i] = linear + interaction * 0.5 * pairs
    return result


def calibrate(raw):
    """The HiddenModel whose probabilities on these raw logits, (n) float64, have CLICK_RATE and BEST_AUC.

    Both are rounded to multiples of 2^-10: the last bit of a sum must not reach the labels.
    """

    def bias_of(scale):
        def excess(bias):
            return HiddenModel(scale, bias).probabilities(raw).mean() - CLICK_RATE

        return _root(excess, -10 - scale * raw.max(), 10 - scale * raw.min())

    def auc_excess(scale):
        return best_auc(HiddenModel(scale, bias_of(scale)).probabilities(raw)) - BEST_AUC

    scale = _round(_root(auc_excess, 0.0, 10 / raw.std()))
    return HiddenModel(scale, _round(bias_of(scale)))


def best_auc(probabilities):
    """AUC, in expectation over the labels, of ranking samples by their true probabilities: no model can exceed it.

    A pair of samples counts with the probability that the first is a click and the second is not.
    """
    p = np.sort(np.asarray(probabilities, np.float64))
    no_click = 1 - p
    below = np.concatenate(([0.0], np.cumsum(no_click)))
    smaller = below[np.searchsorted(p, p, side="left")]
    equal = below[np.searchsorted(p, p, side="right")] - smaller - no_click
    return (p * (smaller + equal / 2)).sum() / (p.sum() * no_click.sum() - (p * no_click).sum())


def _root(increasing, low, high):
    """Where an increasing function changes sign, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        if increasing(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _round(x):
    return round(x * 1024) / 1024
