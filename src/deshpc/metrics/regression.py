"""How good predictions of numbers are: of models that are trained by another loss than log-loss."""

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from deshpc.backend.exact_sum import value, whole
from deshpc.backend.links import LINKS
from deshpc.metrics.results import UnseenKeys


class _Numbers:
    """What metrics of every such loss have in common.

    LOSS : name of the metric that is twice what training makes small
    EXPLAINED : name of the metric that is 1 - this / that of the best constant
    """

    LOSS: ClassVar[str]
    EXPLAINED: ClassVar[str]
    TABLES: ClassVar = ("unseen",)
    """Names of what is no number."""

    @property
    def loss(self):
        """Twice what training makes small."""
        return getattr(self, self.LOSS)

    @property
    def of_constant(self):
        """The loss / that of the best constant; None where that is 0."""
        explained = getattr(self, self.EXPLAINED)
        return None if explained is None else 1 - explained

    def numbers(self):
        """{name: number or None} of all that is one number."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.TABLES}


@dataclass(frozen=True)
class SquaredMetrics(_Numbers):
    """Metrics of a model of squared errors on rows.  Where these have weights, every mean is by weight.

    rows : count
    mean_squared_error, root_mean_squared_error, mean_absolute_error : of prediction - label (None: no rows)
    r2 : 1 - the squared error / that of the labels' mean (None: all labels are equal)
    calibration : mean prediction / mean label (None: that is 0)
    mean_label : of the rows
    unseen : as of `Metrics`
    weight : sum of the rows' weights; None where each is 1
    """

    LOSS, EXPLAINED = "mean_squared_error", "r2"
    TITLES: ClassVar = (
        ("mean squared error", "mean_squared_error", 6), ("its root", "root_mean_squared_error", 6),
        ("mean absolute error", "mean_absolute_error", 6), ("R^2", "r2", 5), ("calibration", "calibration", 4), ("mean label", "mean_label", 6),
    )  # fmt: skip
    IN_A_LINE: ClassVar = (
        ("MSE", "mean_squared_error", 6), ("MAE", "mean_absolute_error", 6), ("R^2", "r2", 4), ("calibration", "calibration", 4),
    )  # fmt: skip

    rows: int
    mean_squared_error: float | None
    root_mean_squared_error: float | None
    mean_absolute_error: float | None
    r2: float | None
    calibration: float | None
    mean_label: float | None
    unseen: list[UnseenKeys] | None = None
    weight: float | None = None


@dataclass(frozen=True)
class PoissonMetrics(_Numbers):
    """Metrics of a model of a Poisson rate on rows.  Where these have weights, every mean is by weight.

    rows : count
    mean_deviance : of 2 (y log(y / p) - y + p) of label y and prediction p (None: no rows)
    d2 : 1 - the deviance / that of the labels' mean, the part that the best constant leaves and the model explains (None: that is 0)
    calibration : mean prediction / mean label (None: that is 0)
    mean_label : of the rows
    unseen : as of `Metrics`
    weight : sum of the rows' weights; None where each is 1
    """

    LOSS, EXPLAINED = "mean_deviance", "d2"
    TITLES: ClassVar = (
        ("mean deviance", "mean_deviance", 6), ("deviance explained, D^2", "d2", 5), ("calibration", "calibration", 4), ("mean label", "mean_label", 6),
    )  # fmt: skip
    IN_A_LINE: ClassVar = (("deviance", "mean_deviance", 6), ("D^2", "d2", 4), ("calibration", "calibration", 4))

    rows: int
    mean_deviance: float | None
    d2: float | None
    calibration: float | None
    mean_label: float | None
    unseen: list[UnseenKeys] | None = None
    weight: float | None = None


def squared_metrics(group, scored, wanted=None):
    """The SquaredMetrics of all ranks' Scored samples, which do not depend on how these are divided.  Collective.

    wanted : nothing of it is found
    """
    labels, predictions, weights = _of(scored, "squared")
    error = predictions - labels
    rows, weight, label, prediction, squares, distances = _sums(group, weights, labels, predictions, error * error, np.abs(error))
    mean = label / weight if weight else None
    _, _, spread = _sums(group, weights, (labels - (mean or 0.0)) ** 2)
    squared = squares / weight if weight else None
    return SquaredMetrics(
        rows, squared, None if squared is None else squared**0.5, distances / weight if weight else None,
        1 - squares / spread if spread else None, prediction / label if label else None, mean, weight=None if weights is None else weight,
    )  # fmt: skip


def poisson_metrics(group, scored, wanted=None):
    """The PoissonMetrics of all ranks' Scored samples, which do not depend on how these are divided.  Collective.

    wanted : nothing of it is found
    """
    labels, predictions, weights = _of(scored, "poisson")
    rows, weight, label, prediction, deviance = _sums(group, weights, labels, predictions, deviances(scored.logits, labels))
    mean = label / weight if weight else None
    of_mean = np.zeros(0) if not label else deviances(np.full(len(labels), np.log(mean)), labels)
    spread = _sums(group, weights if label else None, of_mean)[2]
    return PoissonMetrics(
        rows, deviance / weight if weight else None, 1 - deviance / spread if spread else None, prediction / label if label else None, mean,
        weight=None if weights is None else weight,
    )  # fmt: skip


def deviances(logits, labels):
    """(n) float64: 2 (y log(y / p) - y + p) of labels y >= 0 and p = exp(logit); never negative."""
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    some = y > 0
    rest = z - np.log(np.where(some, y, 1.0))
    with np.errstate(over="ignore", invalid="ignore"):
        return 2 * np.where(some, y * np.maximum(np.expm1(rest) - rest, 0), np.exp(z))


def _of(scored, loss):
    """(labels, predictions, weights or None) of Scored samples, float64."""
    weights = None if scored.weights is None else np.asarray(scored.weights, np.float64)
    return np.asarray(scored.labels, np.float64), LINKS[loss](np.asarray(scored.logits, np.float64)), weights


def _sums(group, weights, *columns):
    """(samples, their weight, the sum by weight of each of the columns (n)), exact but for the rounding of each term.  Collective."""
    samples = len(columns[0])
    own = [samples, whole(np.ones(samples) if weights is None else weights)]
    for one in columns:
        one = one if weights is None else one * weights
        own.append(whole(one) if np.isfinite(one).all() else None)
    samples, *found = zip(*group.gather(own), strict=True)
    return sum(samples), *(np.nan if None in one else value(sum(one)) for one in found)
