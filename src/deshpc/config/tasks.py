"""The tasks of a configuration with several labels: `data.label` in their order, `[[model.tasks]]` what they have of their own."""

from typing import NamedTuple

from deshpc.config.schema import METRICS_OF_LOSS, NAMED_FORMATS, TASK_MODELS
from deshpc.errors import ConfigError, did_you_mean

OF_ALL = ("auc", "log_loss")
"""Metrics of all tasks together."""


class Task(NamedTuple):
    """name : of the label's column
    loss : "log", "squared" or "poisson"
    weight : of its loss
    """

    name: str
    loss: str
    weight: float


def tasks_of(config):
    """The Tasks of a Config; empty where there is one label."""
    if isinstance(config.data.label, str):
        return ()
    own = {one.name: one for one in config.model.tasks}
    return tuple(
        Task(name, own[name].loss or config.train.loss, own[name].weight) if name in own else Task(name, config.train.loss, 1.0)
        for name in config.data.label
    )


def losses_of(config):
    """`train.loss`, or a tuple of the loss of each task."""
    return tuple(task.loss for task in tasks_of(config)) or config.train.loss


def require_tasks(config, source):
    """ConfigError where labels are none, or do not go with the model and what else is asked for."""
    data, model, train, labels = config.data, config.model, config.train, config.data.labels
    if not labels or "" in labels and len(labels) > 1:
        raise ConfigError(f"{source}: data.label = {list(labels)} names no column; give those of all tasks, such as ['click', 'conversion']")
    for name in labels:
        if labels.count(name) > 1:
            raise ConfigError(f"{source}: data.label names {name!r} twice; a column is the label of one task")
    several = not isinstance(data.label, str)
    if model.name in TASK_MODELS and not several:
        raise ConfigError(
            f"{source}: model.name = {model.name!r} learns several labels: give data.label = ['click', 'conversion'], or choose a model of one label, "
            "such as 'wide_deep'"
        )
    if not several:
        if model.tasks:
            raise ConfigError(f"{source}: model.tasks belongs to several labels, such as data.label = ['click', 'conversion']; leave it out")
        return
    if model.name not in TASK_MODELS and ":" not in model.name:
        raise ConfigError(
            f"{source}: model.name = {model.name!r} learns one label, and data.label has {len(labels)}: choose one of "
            f"{', '.join(map(repr, TASK_MODELS))}"
        )
    if data.format not in (*NAMED_FORMATS, "cache"):
        raise ConfigError(f"{source}: data.label: rows of data.format = {data.format!r} have one label; 'csv', 'tsv', 'parquet' and 'table' have several")
    taken = set()
    for i, one in enumerate(model.tasks):
        where = f"{source}: model.tasks[{i}].name = {one.name!r}"
        if one.name not in labels:
            raise ConfigError(f"{where} is no column in data.label{did_you_mean(one.name, labels)}")
        if one.name in taken:
            raise ConfigError(f"{where} is there twice")
        taken.add(one.name)
    tasks = tasks_of(config)
    if model.name == "esmm" and (len(tasks) != 2 or any(task.loss != "log" for task in tasks)):
        raise ConfigError(
            f"{source}: model.name = 'esmm' has two tasks, of log-loss: whether the first thing happens, such as a click, and whether the second one, which "
            f"needs it, does, such as a conversion; data.label has {len(tasks)}: {', '.join(f'{task.name} ({task.loss})' for task in tasks)}"
        )
    for option, given in (("class_weights", train.class_weights), ("negative_sampling", train.negative_sampling < 1)):
        if given:
            raise ConfigError(f"{source}: train.{option} is by the class of a row, which has several labels here; leave it out, or set model.tasks[].weight")
    for option in ("group", "slices"):
        if getattr(config.metrics, option) and any(task.loss != "log" for task in tasks):
            raise ConfigError(f"{source}: metrics.{option} is for AUC, which not every task has: leave it out")
    _require_metric(train.stop_metric, tasks, source)


def _require_metric(name, tasks, source):
    """ConfigError unless `train.stop_metric` is a metric of a task, or of all."""
    task, _, metric = name.rpartition(".")
    known = [*OF_ALL, *(f"{one.name}.{metric}" for one in tasks for metric in METRICS_OF_LOSS[one.loss])]
    if name == "none" or name in known and (task or any(metric in METRICS_OF_LOSS[one.loss] for one in tasks)):
        return
    raise ConfigError(f"{source}: train.stop_metric = {name!r} is no metric of the tasks{did_you_mean(name, known)}")
