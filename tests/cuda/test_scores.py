"""Histograms of scores on a device against the bins that NumPy finds."""

import numpy as np
import pytest
from score_counts import awkward_logits, expected_counts, some_labels

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.nn.scores import BINS, Scores, binned_auc


@pytest.mark.parametrize("dtype, n", [(np.float32, 0), (np.float32, 1), (np.float32, 700), (np.float64, 33_001)])
def test_every_sample_is_counted_in_its_bin(few, dtype, n):
    logit = awkward_logits(dtype, n)[:n] if n < 2 else awkward_logits(dtype, n)
    labels, backend = some_labels(len(logit)), CudaBackend(few)
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
