"""Metrics of predictions of numbers against scikit-learn, with and without weights, on one rank and on several."""

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import d2_tweedie_score, mean_absolute_error, mean_poisson_deviance, mean_squared_error, r2_score

from deshpc.backend.exact_sum import value, whole
from deshpc.comm.group import Group
from deshpc.comm.shares import slice_of
from deshpc.metrics.regression import poisson_metrics, squared_metrics
from deshpc.metrics.scores import Scored

pytestmark = pytest.mark.mpi


@pytest.fixture
def group(world):
    group = Group(world)
    yield group
    group.free()


def found_by(group, metrics, logits, labels, weights, order=None):
    """Metrics of samples that are divided among the ranks, in an order."""
    order = np.arange(len(logits)) if order is None else order
    own = order[slice(*slice_of(len(order), group.size, group.rank))]
    return metrics(group, Scored(logits[own], labels[own], None if weights is None else weights[own]))


def drawn(seed, weighted, rows=3001):
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.25, 2.0, 1e6], rows).astype(np.float32) if weighted else None
    return rng, rng.standard_normal(rows), weights


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e9])  # whose squares are beyond the sums that kernels make
def test_squared(group, scale, weighted):
    rng, z, weights = drawn(1, weighted)
    labels = (scale * (z + 0.3 * rng.standard_normal(len(z)) - 2)).astype(np.float32)
    predictions = scale * (0.9 * z - 2)
    found = found_by(group, squared_metrics, predictions, labels, weights)
    y, p = labels.astype(np.float64), predictions
    assert found.mean_squared_error == pytest.approx(mean_squared_error(y, p, sample_weight=weights), rel=1e-12)
    assert found.root_mean_squared_error == pytest.approx(math.sqrt(mean_squared_error(y, p, sample_weight=weights)), rel=1e-12)
    assert found.mean_absolute_error == pytest.approx(mean_absolute_error(y, p, sample_weight=weights), rel=1e-12)
    assert found.r2 == pytest.approx(r2_score(y, p, sample_weight=weights), rel=1e-12)
    assert found.calibration == pytest.approx(np.average(p, weights=weights) / np.average(y, weights=weights), rel=1e-12)
    assert found.rows == len(y) and found.mean_label == pytest.approx(np.average(y, weights=weights), rel=1e-12)
    assert found.weight == (None if weights is None else weights.astype(np.float64).sum())
    assert found_by(group, squared_metrics, predictions, labels, weights, rng.permutation(len(y))) == found  # to the bit


@pytest.mark.parametrize("weighted", [False, True])
def test_poisson(group, weighted):
    rng, z, weights = drawn(2, weighted)
    labels = (rng.poisson(np.exp(z)) * rng.choice([1, 0.5], len(z))).astype(np.float32)
    logits = 0.8 * z + 0.1
    found, y, p = found_by(group, poisson_metrics, logits, labels, weights), labels.astype(np.float64), np.exp(logits)
    assert (labels == 0).any() and (labels % 1 != 0).any()
    assert found.mean_deviance == pytest.approx(mean_poisson_deviance(y, p, sample_weight=weights), rel=1e-12)
    assert found.d2 == pytest.approx(d2_tweedie_score(y, p, sample_weight=weights, power=1), rel=1e-12)
    assert found.calibration == pytest.approx(np.average(p, weights=weights) / np.average(y, weights=weights), rel=1e-12)
    assert found_by(group, poisson_metrics, logits, labels, weights, rng.permutation(len(y))) == found  # to the bit


def test_what_is_not_defined(group):
    labels = np.full(5, 3, np.float32)
    found = found_by(group, squared_metrics, np.arange(5.0), labels, None)
    assert found.r2 is None and found.of_constant is None and found.mean_squared_error == 3
    found = found_by(group, poisson_metrics, np.zeros(5), np.zeros(5, np.float32), None)
    assert found.d2 is None and found.calibration is None and found.mean_deviance == 2
    for metrics in (squared_metrics, poisson_metrics):
        for weights in (None, np.zeros(0, np.float32)):
            found = found_by(group, metrics, np.zeros(0), np.zeros(0, np.float32), weights)
            assert found.rows == 0 and found.loss is None and found.mean_label is None
        assert not np.isfinite(found_by(group, metrics, np.array([1e400, 0.0]), labels[:2], None).loss)


def test_sums_of_any_numbers_are_those_of_fractions():
    rng = np.random.default_rng(3)
    numbers = np.append(rng.standard_normal(999) * 10.0 ** rng.integers(-320, 300, 999), [0.0, -0.0, 5e-324, -1.7e308, 1.7e308, -3.5])
    exact = float(sum(map(Fraction, numbers.tolist())))
    for cuts in ([], [3, 500]):
        assert value(sum(map(whole, np.split(rng.permutation(numbers), cuts)))) == exact == math.fsum(numbers)
    assert value(whole(np.full(9, -1.7e308))) == -math.inf and value(whole(np.zeros(0))) == 0
