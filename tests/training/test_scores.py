"""Histograms of scores against NumPy's, and the AUC of bins against counting all pairs."""

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.nn.scores import BINS, Scores, binned_auc


def expected_counts(logit, labels):
    """(2, BINS): each logit's bin by searching the bins' edges; NaN in the first."""
    edges = np.arange(1, BINS) / 64 - 8
    bins = np.searchsorted(edges, logit.astype(np.float64), side="right")
    bins[np.isnan(logit)] = 0
    return np.stack([np.bincount(bins[(labels > 0.5) == label], minlength=BINS) for label in (False, True)])


def awkward_logits(dtype, n=1000, seed=3):
    rng = np.random.default_rng(seed)
    special = [-np.inf, np.inf, np.nan, -8.0, 8.0, 7.984375, -7.984375, 0.0, -0.0, 1e30, -1e30, 0.015625, 0.0156249]
    return np.concatenate([special, 4 * rng.standard_normal(n)]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_sample_is_counted_in_its_bin(dtype):
    logit = awkward_logits(dtype)
    labels = (np.random.default_rng(4).random(len(logit)) < 0.3).astype(np.float32)
    counts = np.ones((2, BINS), np.int64)
    open_backend("cpu", 1).loss.count_scores(logit, labels, counts)
    assert np.array_equal(counts - 1, expected_counts(logit, labels))


def test_the_auc_of_bins_counts_pairs():
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 3, (2, 40))
    below = sum(
        counts[0, i] * counts[1, j] * (1.0 if i < j else 0.5 if i == j else 0.0) for i in range(40) for j in range(40)
    )
    assert binned_auc(*counts) == pytest.approx(below / (counts[0].sum() * counts[1].sum()), rel=1e-14)
    assert binned_auc(counts[0], 0 * counts[1]) is None and binned_auc(0 * counts[0], counts[1]) is None


def test_reading_starts_anew():
    scores = Scores(open_backend("cpu", 1))
    assert scores.take_auc() is None
    scores.add(np.array([-1.0, 1.0, 1.0]), np.array([0, 1, 0], np.float32))
    assert scores.take_auc() == 0.75
    scores.add(np.array([1.0, -1.0]), np.array([0, 1], np.float32))
    assert scores.take_auc() == 0.0
