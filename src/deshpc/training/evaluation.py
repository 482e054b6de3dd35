"""Metrics of a model on a data set; nothing is inserted, unseen keys contribute zero."""

import math
from dataclasses import replace

import numpy as np

from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.finite import DIVERGED, require_finite
from deshpc.config import resolved
from deshpc.errors import DeshpcError
from deshpc.metrics.fields import wanted_fields
from deshpc.metrics.regression import poisson_metrics, squared_metrics
from deshpc.metrics.scores import Wanted, score_metrics
from deshpc.metrics.tasks import TaskMetrics, task_metrics
from deshpc.metrics.unseen import unseen_keys
from deshpc.training.scored_samples import scored_samples
from deshpc.training.slice_names import slice_names

_OF_LOSS = {"log": score_metrics, "squared": squared_metrics, "poisson": poisson_metrics}


def metrics_of(loss, group, scored, wanted=None, tasks=()):
    """Metrics of all ranks' Scored samples of a model that has been trained by a loss.  Collective.

    loss : name of the loss
    wanted : Wanted
    tasks : `config.tasks.Task`s, where there are several labels, each with a loss of its own
    What another loss has to find is one more function in `_OF_LOSS`, of (group, scored, wanted).  Its result has the constants, the
    `unseen` and the `numbers()` of `metrics.results.Metrics`.
    """
    if tasks:
        return task_metrics(group, scored, tasks, lambda loss, own: metrics_of(loss, group, own, wanted))
    return _OF_LOSS[loss](group, scored, wanted or Wanted())


def evaluate_model(model, dataset, batch_samples):
    """Metrics over all rows that every evaluation has.  Each rank scores its share of every batch's samples.  Collective."""
    return metrics_of(model.loss, model.group, scored_samples(model, dataset, batch_samples), tasks=model.tasks)


def in_words(part, steps, metrics):
    """One line about the Metrics of a model after so many steps on a part of the data; of several tasks one more for each."""
    tasks = [f"\n  {name}: {_numbers(one)}" for name, one in metrics.tasks.items()] if isinstance(metrics, TaskMetrics) else []
    return f"step {steps:,}  {part} {_numbers(metrics)}{''.join(tasks)}"


def _numbers(metrics):
    shown = ((name, getattr(metrics, entry), digits) for name, entry, digits in metrics.IN_A_LINE)
    return "  ".join(f"{name} {'undefined' if value is None else f'{value:.{digits}f}'}" for name, value, digits in shown)


def measured(session, part, dataset, steps, complete=True, known=None):
    """Metrics of the session's model after so many steps on a part "train", "valid" or "test" of its data; None without data.

    complete : whether slices and unseen keys are wanted, too: they take more passes than one
    known : Metrics of this model on this part, found before; it is scored again for slices alone
    DeshpcError on every rank where one is not finite; it names the weight, if one is the reason.  Collective.
    """
    if dataset is None:
        return None
    model, config = session.model, session.config
    with_slices = complete and bool(config.metrics.slices) and model.loss in ("log", ("log",) * len(model.tasks))
    if known is None or with_slices:
        model.enter("evaluate")
        with np.errstate(over="ignore", invalid="ignore"):
            known = _measured(session, part, dataset, with_slices)
        for name, value in known.numbers().items():
            if value is not None and not math.isfinite(value):
                require_finite(model, describe(model, resolved(config), session.input_state(), steps))
                session.group.agree(DeshpcError(f"after {steps:,} steps {name} of the {part} part is {value}: {DIVERGED}"))
    return replace(known, unseen=unseen_keys(model, dataset, session.input.schema.keyed_fields)) if complete else known


def _measured(session, part, dataset, with_slices):
    """Metrics but for unseen keys.  Collective."""
    metrics, train = session.config.metrics, session.config.train
    scored = scored_samples(session.model, dataset, train.global_batch_samples, wanted_fields(metrics, session.input.schema))
    slices = slice_names(session, part, scored) if with_slices else None
    return metrics_of(session.model.loss, session.group, scored, Wanted(metrics.group, metrics.calibration_bins, slices), session.model.tasks)
