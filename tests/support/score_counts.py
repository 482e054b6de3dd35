"""The histogram of scores that `nn.scores` keeps, as NumPy finds it."""

import numpy as np

from deshpc.nn.scores import BINS


def expected_counts(logit, labels):
    """(2, BINS): each logit's bin by searching the bins' edges, NaN in the first; labels from one half on in row 1."""
    edges = np.arange(1, BINS) / 64 - 8
    bins = np.searchsorted(edges, logit.astype(np.float64), side="right")
    bins[np.isnan(logit)] = 0
    return np.stack([np.bincount(bins[(labels >= 0.5) == label], minlength=BINS) for label in (False, True)])


def awkward_logits(dtype, n=1000, seed=3):
    """Infinities, NaN, edges of bins and their neighbours, and n ordinary logits."""
    special = [-np.inf, np.inf, np.nan, -8.0, 8.0, 7.984375, -7.984375, 0.0, -0.0, 1e30, -1e30, 0.015625, 0.0156249]
    return np.concatenate([special, 4 * np.random.default_rng(seed).standard_normal(n)]).astype(dtype)


def some_labels(n, seed=4):
    """(n) float32, three in ten 1, and one of exactly one half."""
    labels = (np.random.default_rng(seed).random(n) < 0.3).astype(np.float32)
    labels[n // 2 : n // 2 + 1] = 0.5
    return labels
