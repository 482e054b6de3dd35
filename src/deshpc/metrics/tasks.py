"""Metrics of a model of several tasks: those of each, on the rows whose label it knows, and means over tasks."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from deshpc.backend.exact_sum import value, whole
from deshpc.metrics.results import UnseenKeys


@dataclass(frozen=True)
class TaskMetrics:
    """Metrics of several tasks on rows.

    rows : count
    auc, log_loss : means over the tasks of log-loss, by the tasks' weights (None: there is none, or one of them has none)
    tasks : {name: metrics of the task on the rows whose label of it is known, `Metrics`, or those of its loss}
    unseen : as of `Metrics`
    weight : sum of the rows' weights; None where each is 1
    """

    TITLES: ClassVar = (("mean AUC", "auc", 5), ("mean log-loss", "log_loss", 5))
    IN_A_LINE: ClassVar = (("mean AUC", "auc", 5), ("mean log-loss", "log_loss", 5))
    TABLES: ClassVar = ("unseen",)
    """Names of what is no number, but `tasks`."""

    rows: int
    auc: float | None
    log_loss: float | None
    tasks: dict[str, Any]
    unseen: list[UnseenKeys] | None = None
    weight: float | None = None

    of_constant: ClassVar = None
    """Of no use here: losses of several kinds do not add up to one number that has a best constant."""

    def numbers(self):
        """{name: number or None} of all that is one number, those of a task as NAME.metric."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in (*self.TABLES, "tasks")}
        return own | {f"{task}.{name}": number for task, metrics in self.tasks.items() for name, number in metrics.numbers().items()}


def task_metrics(group, scored, tasks, metrics_of):
    """The TaskMetrics of all ranks' Scored samples, whose logits and labels are (n, T).  Collective.

    tasks : `config.tasks.Task`s
    metrics_of : function of a loss and the Scored of one task that gives its metrics
    """
    found = {task.name: metrics_of(task.loss, _of_task(scored, t)) for t, task in enumerate(tasks)}
    weights = 0 if scored.weights is None else whole(scored.weights.astype(np.float64))
    rows, weight = (sum(numbers) for numbers in zip(*group.gather((len(scored.labels), weights)), strict=True))
    means = (_mean([(found[task.name], task.weight) for task in tasks if task.loss == "log"], name) for name in ("auc", "log_loss"))
    return TaskMetrics(rows, *means, found, weight=None if scored.weights is None else value(weight))


def _mean(metrics, name):
    """Mean of a number of [(metrics, weight)], by weight; None without any, or where one lacks it."""
    numbers = [getattr(one, name) for one, _ in metrics]
    if not numbers or None in numbers:
        return None
    return sum(number * weight for number, (_, weight) in zip(numbers, metrics, strict=True)) / sum(weight for _, weight in metrics)


def _of_task(scored, t):
    """The Scored of the samples whose label of task t is known."""
    known = ~np.isnan(scored.labels[:, t])
    return replace(
        scored, logits=scored.logits[known, t], labels=scored.labels[known, t], weights=None if scored.weights is None else scored.weights[known],
        keys={name: keys[known] for name, keys in scored.keys.items()},
    )  # fmt: skip
