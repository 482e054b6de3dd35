"""Histograms of scores against NumPy's, and the AUC of bins against counting all pairs."""

import numpy as np
import pytest
from score_counts import awkward_logits, expected_counts, some_labels

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.comm.shares import slice_of
from deshpc.nn.scores import BINS, Scores, binned_auc


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_sample_is_counted_in_its_bin(dtype):
    logit = awkward_logits(dtype)
    labels = some_labels(len(logit))
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


@pytest.mark.mpi
def test_the_auc_is_of_all_ranks(world):
    """Each rank has scores of one kind, which alone have no AUC, or another one."""
    group, rng = Group(world), np.random.default_rng(6)
    logit, labels = rng.integers(-4, 4, 200) / 64, some_labels(200)
    begin, end = slice_of(200, group.size, group.rank)
    scores = Scores(open_backend("cpu", 1))
    for _ in range(2):
        scores.add(logit[begin:end], labels[begin:end])
        assert scores.take_auc(group) == pytest.approx(binned_auc(*expected_counts(logit, labels)), rel=1e-15)
    group.free()


def test_reading_starts_anew():
    scores = Scores(open_backend("cpu", 1))
    assert scores.take_auc() is None
    scores.add(np.array([-1.0, 1.0, 1.0]), np.array([0, 1, 0], np.float32))
    assert scores.take_auc() == 0.75
    scores.add(np.array([1.0, -1.0]), np.array([0, 1], np.float32))
    assert scores.take_auc() == 0.0
