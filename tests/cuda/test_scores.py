"""Histograms of scores on a device against the bins that NumPy finds."""

import numpy as np
import pytest

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.nn.scores import BINS, Scores, binned_auc


def expected_counts(logit, labels):
    """(2, BINS): each logit's bin by searching the bins' edges; NaN in the first."""
    bins = np.searchsorted(np.arange(1, BINS) / 64 - 8, logit.astype(np.float64), side="right")
    bins[np.isnan(logit)] = 0
    return np.stack([np.bincount(bins[(labels > 0.5) == label], minlength=BINS) for label in (False, True)])


@pytest.mark.parametrize("dtype, n", [(np.float32, 0), (np.float32, 1), (np.float32, 700), (np.float64, 33_001)])
def test_every_sample_is_counted_in_its_bin(few, dtype, n):
    rng = np.random.default_rng(6)
    special = [-np.inf, np.inf, np.nan, -8.0, 8.0, 7.984375, -7.984375, 0.0, 1e30, 0.015625]
    logit = np.concatenate([special, 4 * rng.standard_normal(n)]).astype(dtype)[-n if n <= 1 else 0 :][: n or 0]
    labels = (rng.random(len(logit)) < 0.3).astype(np.float32)
    backend = CudaBackend(few)
    counts = backend.array(np.ones((2, BINS), np.int64))
    backend.loss.count_scores(backend.array(logit), backend.array(labels), counts)
    assert np.array_equal(backend.host(counts) - 1, expected_counts(logit, labels))


def test_reading_starts_anew(few):
    backend = CudaBackend(few)
    scores = Scores(backend)
    for logit, labels in (([-1.0, 1.0, 1.0], [0, 1, 0]), ([1.0, -1.0], [0, 1])):
        logit, labels = np.array(logit), np.array(labels, np.float32)
        scores.add(backend.array(logit), backend.array(labels))
        assert scores.take_auc() == binned_auc(*expected_counts(logit, labels))
