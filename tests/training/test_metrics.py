"""Metrics against pair counting and plain formulas, on one rank and on several."""

import math

import numpy as np
import pytest

from deshpc.comm.group import Group
from deshpc.comm.shares import slice_of
from deshpc.training.metrics import area_under_curve, evaluate_scores


def count_pairs(scores, labels):
    """AUC by its definition, in float64."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative[None, :]).sum() + 0.5 * (positive[:, None] == negative[None, :]).sum()
    return wins / (len(positive) * len(negative))


CASES = {
    "continuous": lambda rng: (rng.standard_normal(3000), rng.random(3000) < 0.3),
    "many ties": lambda rng: (rng.integers(0, 7, 3000) / 7, rng.random(3000) < 0.5),
    "all equal": lambda rng: (np.full(1000, -1.25), rng.random(1000) < 0.2),
    "perfect": lambda rng: (np.arange(500.0), np.arange(500) >= 400),
    "reversed": lambda rng: (-np.arange(500.0), np.arange(500) >= 400),
    "a narrow cluster": lambda rng: (0.25 + 1e-15 * rng.integers(0, 50, 2000), rng.random(2000) < 0.25),
    "one positive": lambda rng: (rng.standard_normal(100), np.arange(100) == 40),
    "infinities": lambda rng: (np.where(rng.random(400) < 0.1, np.inf, rng.standard_normal(400)), rng.random(400) < 0.4),
    "fewer samples than ranks": lambda rng: (np.array([0.5, 0.1]), np.array([True, False])),
    "uneven": lambda rng: (rng.standard_normal(1001), rng.random(1001) < 0.01 + (np.arange(1001) > 900)),
}


@pytest.mark.mpi
@pytest.mark.parametrize("case", CASES)
def test_auc_is_the_share_of_ordered_pairs(world, case):
    scores, labels = CASES[case](np.random.default_rng(7))
    labels = labels.astype(np.float32)
    group = Group(world)
    begin, end = slice_of(len(scores), group.size, group.rank)
    auc = area_under_curve(group, scores[begin:end], labels[begin:end])
    group.free()
    assert auc == pytest.approx(count_pairs(scores, labels), abs=1e-13)


@pytest.mark.mpi
def test_a_rank_without_samples_and_a_missing_class(world):
    group = Group(world)
    mine = np.array([0.1, 0.4, 0.4, 0.9]) if group.rank == 0 else np.zeros(0)
    labels = np.array([0, 1, 0, 1], np.float32) if group.rank == 0 else np.zeros(0, np.float32)
    assert area_under_curve(group, mine, labels) == pytest.approx((2 + 1.5) / 4)
    assert area_under_curve(group, mine, np.ones_like(labels)) is None
    metrics = evaluate_scores(group, np.zeros(0), np.zeros(0, np.float32))
    group.free()
    assert (metrics.rows, metrics.auc, metrics.log_loss) == (0, None, None)


@pytest.mark.mpi
def test_log_loss_entropy_and_calibration(world):
    rng = np.random.default_rng(3)
    z = np.concatenate([rng.standard_normal(500) * 3, [800.0, -800.0]])
    y = np.concatenate([rng.random(500) < 0.4, [True, False]]).astype(np.float32)
    group = Group(world)
    begin, end = slice_of(len(z), group.size, group.rank)
    metrics = evaluate_scores(group, z[begin:end], y[begin:end], truth=z[begin:end])
    group.free()
    loss = np.mean([math.log1p(math.exp(-abs(a))) + max(a, 0) - b * a for a, b in zip(z, y, strict=True)])
    p, rate = np.array([1 / (1 + math.exp(-a)) if a > -700 else 0.0 for a in z]), y.mean(dtype=np.float64)
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert metrics.log_loss == pytest.approx(loss, rel=1e-12)
    assert metrics.normalized_entropy == pytest.approx(loss / entropy, rel=1e-12)
    assert metrics.calibration == pytest.approx(p.sum() / y.sum(), rel=1e-12)
    assert metrics.best_auc == metrics.auc == pytest.approx(count_pairs(z, y), abs=1e-13)
