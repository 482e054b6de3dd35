"""The best constant prediction for the training part, by the loss: where the bias starts, and what a model has to beat."""

import math
from typing import NamedTuple

import numpy as np

from deshpc.backend.exact_sum import value, whole
from deshpc.comm.shares import slice_of
from deshpc.config.tasks import tasks_of
from deshpc.metrics.regression import deviances
from deshpc.training.base_rate import base_rate, targets


class BestConstant(NamedTuple):
    """rows : of the training part, over all ranks
    weight : what these count, added up
    prediction : mean label, by weight (None: no row has a weight); of several tasks a tuple of theirs, as is the bias
    bias : sum of the model whose prediction that is; 0 where none is
    loss : the mean loss, by weight, of that prediction for every row (None: it is the label of all, or there is none, or there are several tasks)
    only : the label of all rows that count, None where there are several, or none; of several tasks a tuple of theirs
    """

    rows: int
    weight: float
    prediction: float | tuple | None
    bias: float | tuple
    loss: float | None
    only: float | tuple | None

    @property
    def mean_weight(self):
        """Of a row; 1 without rows."""
        return self.weight / self.rows if self.rows else 1.0


def best_constant(loss, group, dataset, kept=None):
    """The BestConstant of a data set for `train.loss`, the same on any number of ranks, of which each looks at its share of the rows.

    kept : (n) integers, increasing, the only rows that count; None: all
    Collective.
    """
    if loss == "log":
        rate = base_rate(group, dataset, kept)
        return BestConstant(rate.rows, rate.weight, rate.rate, rate.log_odds, rate.log_loss, rate.only)
    rows, weight, total, least, most = _sums(group, dataset, kept, lambda labels: labels)
    mean = total / weight if weight else None
    if mean is None or least == most:
        return BestConstant(rows, weight, mean, _bias(loss, mean), None, None if mean is None else least)
    _, _, losses, _, _ = _sums(group, dataset, kept, lambda labels: _losses(loss, mean, labels))
    return BestConstant(rows, weight, mean, _bias(loss, mean), losses / weight, None)


def constant_of(config, group, dataset, kept=None):
    """The `best_constant` of a data set for the losses of a Config.  Collective.

    Of several tasks each has its own, of the rows whose label it knows.
    """
    tasks = tasks_of(config)
    if not tasks:
        return best_constant(config.train.loss, group, dataset, kept)
    of_tasks = [best_constant(task.loss, group, _OfTask(dataset, t)) for t, task in enumerate(tasks)]
    rows, weight, *_ = _sums(group, _OfTask(dataset, None), None, lambda labels: labels)
    biases = [one.bias for one in of_tasks]
    if config.model.name == "esmm":  # whose second tower says how often the second thing happens where the first has
        first, both = (one.prediction or 0.0 for one in of_tasks)
        biases[1] = math.log(both / (first - both)) if 0 < both < first else 0.0
    return BestConstant(rows, weight, tuple(one.prediction for one in of_tasks), tuple(biases), None, tuple(one.only for one in of_tasks))


class _OfTask:
    """The rows of a data set whose label of task t is known, as `targets` asks for them; all rows, with the label 0, where t is None."""

    def __init__(self, dataset, t):
        self._dataset, self._t, self.has_weights = dataset, t, dataset.has_weights

    def __len__(self):
        return len(self._dataset)

    def targets(self, begin, end):
        """As of a Dataset."""
        for first, labels, weights in self._dataset.targets(begin, end):
            own = np.zeros(len(labels), np.float32) if self._t is None else labels[:, self._t]
            known = ~np.isnan(own)
            yield first, own[known], None if weights is None else weights[known]


def begin_at(model, constant):
    """Let the bias of a new model start where it predicts the best constant, so that nobody has to learn it.  A model of one's own may
    have no bias."""
    if "bias" in dict(model.parameters.names()):
        model.parameters.set("bias", constant.bias)
        model.parameters.begin_state()


def _bias(loss, mean):
    if loss == "poisson":
        return math.log(mean) if mean else 0.0
    return mean or 0.0


def _losses(loss, mean, labels):
    if loss == "poisson":
        return deviances(np.full(len(labels), _bias(loss, mean)), labels) / 2
    return (mean - labels) ** 2 / 2


def _sums(group, dataset, kept, column):
    """(rows, their weight, sum by weight of column(labels (n) float64), the smallest label of those that count, the largest).  Collective."""
    rows, weight, found, least, most = 0, 0, 0, math.inf, -math.inf
    for labels, weights in targets(dataset, *slice_of(len(dataset), group.size, group.rank), kept):
        labels, weights = (_finite(one) for one in (labels, np.ones(len(labels)) if weights is None else weights))
        rows, weight, found = rows + len(labels), weight + whole(weights), found + whole(column(labels) * weights)
        counted = labels[weights > 0]
        least, most = min(least, counted.min(initial=least)), max(most, counted.max(initial=most))
    rows, weight, found, least, most = zip(*group.gather((rows, weight, found, float(least), float(most))), strict=True)
    return sum(rows), value(sum(weight)), value(sum(found)), min(least), max(most)


def _finite(numbers):
    """Numbers as float64.  Those of a damaged cache, which says so when its rows are read, may be none."""
    return np.where(np.isfinite(numbers), numbers, 0).astype(np.float64)
