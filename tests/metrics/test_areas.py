"""AUC, precision-recall AUC, log-loss, normalized entropy, calibration and its table against scikit-learn, pair counting and plain
formulas, with and without weights, on one rank and on several.
"""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from deshpc.comm.group import Group
from deshpc.comm.shares import slice_of
from deshpc.metrics.calibration import calibration_table
from deshpc.metrics.exact_dot import exact_dot
from deshpc.metrics.groups import grouped_auc
from deshpc.metrics.scores import Scored, Wanted, score_metrics
from deshpc.metrics.slices import most_frequent
from deshpc.metrics.sorted_scores import sort_scores
from deshpc.metrics.weights import whole_weights

pytestmark = pytest.mark.mpi
BINS = 7

CASES = {
    "continuous": lambda rng: (rng.standard_normal(3000), rng.random(3000) < 0.3),
    "many ties": lambda rng: (rng.integers(0, 7, 3000) / 7, rng.random(3000) < 0.5),
    "all equal": lambda rng: (np.full(1000, -1.25), rng.random(1000) < 0.2),
    "perfect": lambda rng: (np.arange(500.0) / 100, np.arange(500) >= 400),
    "reversed": lambda rng: (-np.arange(500.0) / 100, np.arange(500) >= 400),
    "a narrow cluster": lambda rng: (0.25 + 1e-15 * rng.integers(0, 50, 2000), rng.random(2000) < 0.25),
    "one positive": lambda rng: (rng.standard_normal(100), np.arange(100) == 40),
    "fewer samples than ranks": lambda rng: (np.array([0.5, 0.1]), np.array([True, False])),
    "uneven": lambda rng: (rng.standard_normal(1001), rng.random(1001) < 0.01 + (np.arange(1001) > 900)),
    "one class": lambda rng: (rng.integers(0, 9, 200) / 9, np.zeros(200, bool)),
}


@pytest.fixture
def group(world):
    group = Group(world)
    yield group
    group.free()


def own(group, *arrays, empty=None):
    """This rank's share of arrays; rank `empty` has none where there are several."""
    ranks = [rank for rank in range(group.size) if rank != empty or group.size == 1]
    if group.rank not in ranks:
        return [array[:0] for array in arrays]
    begin, end = slice_of(len(arrays[0]), len(ranks), ranks.index(group.rank))
    return [array[begin:end] for array in arrays]


def count_pairs(scores, labels):
    """AUC by its definition, in float64."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative[None, :]).sum() + 0.5 * (positive[:, None] == negative[None, :]).sum()
    return wins / (len(positive) * len(negative))


def quantile_bins(p, y, w, bins):
    """[rows, mean prediction, mean label] of scikit-learn's strategy "quantile", by NumPy's percentiles without interpolation."""
    edges = np.percentile(p, np.linspace(0, 100, bins + 1), method="lower")
    place = np.searchsorted(edges[1:-1], p, side="left")
    return [((place == b).sum(), np.average(p[place == b], weights=w[place == b]), np.average(y[place == b], weights=w[place == b]))
            for b in range(bins) if (place == b).any()]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_all_numbers_are_those_of_scikit_learn(group, case, weighted):
    rng = np.random.default_rng(7)
    z, labels = CASES[case](rng)
    y, w = labels.astype(np.float32), np.ones(len(z), np.float32)
    if weighted:
        w = (rng.exponential(3.0, len(z)) * (rng.random(len(z)) < 0.8)).astype(np.float32)  # some count nothing
        w[[0, -1]] = 0.5, 2.0  # two of the smallest case do
    logits, share_y, share_w = own(group, z, y, w, empty=0)
    found = score_metrics(group, Scored(logits, share_y, share_w if weighted else None), Wanted(calibration_bins=BINS))
    p, both, w = 1 / (1 + np.exp(-z)), labels.any() and not labels.all(), w.astype(np.float64)
    assert (found.rows, found.positives) == (len(z), labels.sum())
    assert found.weight == (pytest.approx(w.sum(), rel=1e-12) if weighted else None)
    assert found.log_loss == pytest.approx(log_loss(y, p, sample_weight=w, labels=[0, 1]), rel=1e-10)
    if not both:
        assert (found.auc, found.pr_auc, found.normalized_entropy, found.calibration) == (None,) * 4
    else:
        rate = np.average(y, weights=w)
        assert found.auc == pytest.approx(roc_auc_score(y, z, sample_weight=w), rel=1e-11)
        assert found.pr_auc == pytest.approx(average_precision_score(y, z, sample_weight=w), rel=1e-11)
        assert found.normalized_entropy == pytest.approx(found.log_loss / -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)), rel=1e-11)
        assert found.calibration == pytest.approx((w * p).sum() / w[labels].sum(), rel=1e-11)
    if not weighted and both:
        assert found.auc == pytest.approx(count_pairs(z, y), abs=1e-14)
    if case != "a narrow cluster":  # whose probabilities have more ties than its logits
        expected = [row for row in quantile_bins(p, y, np.maximum(w, 1e-300), BINS) if row[0]]
        table = [(one.rows, one.prediction, one.label) for one in found.calibration_bins]
        assert [row[0] for row in table] == [row[0] for row in expected]
        for row, other in zip(table, expected, strict=True):
            if row[1] is not None:
                assert row[1:] == pytest.approx(other[1:], rel=1e-9, abs=1e-12)
        error = sum(w_bin * abs(a - b) for w_bin, (_, a, b) in zip(bin_weights(p, w), expected, strict=True)) / w.sum()
        assert found.calibration_error == pytest.approx(error, rel=1e-8, abs=1e-12)


def bin_weights(p, w):
    edges = np.percentile(p, np.linspace(0, 100, BINS + 1), method="lower")
    place = np.searchsorted(edges[1:-1], p, side="left")
    return [w[place == b].sum() for b in range(BINS) if (place == b).any()]


def test_the_table_without_ties_is_the_calibration_curve(group):
    rng = np.random.default_rng(2)
    z = rng.standard_normal(1234)
    y = (rng.random(1234) < 0.4).astype(np.float32)
    logits, labels = own(group, z, y)
    found, _ = calibration_table(group, sort_scores(group, logits, labels, whole_weights(group, None, len(labels))), 10)
    label, prediction = calibration_curve(y, 1 / (1 + np.exp(-z)), n_bins=10, strategy="quantile")
    np.testing.assert_allclose([(one.prediction, one.label) for one in found], np.stack([prediction, label], axis=1), rtol=1e-12)
    assert sum(one.rows for one in found) == 1234 and {one.rows for one in found} <= {123, 124}


def test_weights_give_the_same_bits_whatever_the_division(group):
    """What one rank finds of everything is what several find of their parts, though no two divide alike."""
    rng = np.random.default_rng(5)
    z, y = rng.integers(0, 50, 4000) / 9 - 3, (rng.random(4000) < 0.3).astype(np.float32)
    w, key = rng.exponential(1e3, 4000).astype(np.float32), rng.integers(1, 90, 4000).astype(np.uint64)
    wanted = Wanted("user", BINS, {"user": {3: "3", 4: "4"}})
    found = []
    for empty in (None, group.size - 1):
        logits, labels, weights, keys = own(group, z, y, w, key, empty=empty)
        found.append(score_metrics(group, Scored(logits, labels, weights, keys={"user": keys}), wanted))
    from mpi4py import MPI

    alone = Group(MPI.COMM_SELF)
    assert [score_metrics(alone, Scored(z, y, w, keys={"user": key}), wanted)] * 2 == found
    alone.free()
    which = key == 3
    assert (found[0].slices[0].value, found[0].slices[0].rows) == ("3", which.sum())
    assert found[0].slices[0].auc == pytest.approx(roc_auc_score(y[which], z[which], sample_weight=w[which]), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_grouped_auc_is_the_mean_of_the_groups(group, weighted):
    rng = np.random.default_rng(11)
    users, n = rng.zipf(1.3, 5000) % 400 + 1, 5000
    z, y = rng.integers(0, 6, n) / 3.0, rng.random(n) < 0.15
    w = rng.integers(0, 4, n).astype(np.float32) / 2 if weighted else np.ones(n, np.float32)
    keys, logits, labels, weights = own(group, users.astype(np.uint64), z, y.astype(np.float32), w, empty=0)
    found = grouped_auc(group, keys, logits, labels, whole_weights(group, weights if weighted else None, len(labels)))
    areas, sums, left_out = [], [], 0
    for user in np.unique(users):
        mine = users == user
        if w[mine & y].sum() and w[mine & ~y].sum():
            areas.append(roc_auc_score(y[mine], z[mine], sample_weight=w[mine]))
            sums.append(w[mine].sum())
        else:
            left_out += 1
    assert (found.groups, found.left_out) == (len(areas), left_out) and min(len(areas), left_out) > 10
    assert found.auc == pytest.approx(np.average(areas, weights=sums), rel=1e-12)


def test_infinities_and_no_numbers(group):
    rng = np.random.default_rng(1)
    z = np.where(rng.random(400) < 0.1, np.inf, rng.standard_normal(400))
    y = (rng.random(400) < 0.4).astype(np.float32)
    logits, labels = own(group, z, y)
    assert score_metrics(group, Scored(logits, labels), Wanted()).auc == pytest.approx(count_pairs(z, y), abs=1e-13)
    logits = np.where(np.isinf(logits), np.nan, logits)  # below all others
    with np.errstate(invalid="ignore"):
        found = score_metrics(group, Scored(logits, labels), Wanted(calibration_bins=3))
    assert found.auc == pytest.approx(count_pairs(np.where(np.isinf(z), -np.inf, z), y), abs=1e-13)
    assert math.isnan(found.log_loss)


def test_no_rows_and_the_truth(group):
    nothing = score_metrics(group, Scored(np.zeros(0), np.zeros(0, np.float32)), Wanted(calibration_bins=4))
    assert (nothing.rows, nothing.auc, nothing.log_loss, nothing.calibration_bins) == (0, None, None, None)
    z, y = np.array([800.0, -800.0, 0.0, 0.0]), np.array([1, 0, 1, 0], np.float32)
    logits, labels = own(group, z, y, empty=1)
    found = score_metrics(group, Scored(logits, labels, truth=logits), Wanted())
    assert found.best_auc == found.auc == 3.5 / 4 and found.log_loss == pytest.approx(math.log(2) / 2, rel=1e-14)


def test_most_frequent_values(group):
    rng = np.random.default_rng(9)
    keys = (rng.zipf(1.2, 6000) % 300 + 1).astype(np.uint64) << np.uint64(7)
    values, counts = np.unique(keys, return_counts=True)
    expected = [key for _, key in sorted(zip((-counts).tolist(), values.tolist(), strict=True))]
    (mine,) = own(group, keys, empty=0)
    for most in (1, 20, 1000):
        assert most_frequent(group, mine, most) == expected[:most]


def test_products_of_large_numbers_are_exact():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 2**62, (2, 1000))
    assert exact_dot(a, b) == sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    assert exact_dot(a[:0], b[:0]) == 0
