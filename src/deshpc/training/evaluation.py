"""Metrics of a model on a data set; nothing is inserted, unseen keys contribute zero."""

import math
from dataclasses import asdict

import numpy as np

from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.finite import DIVERGED, require_finite
from deshpc.comm.shares import slice_of
from deshpc.config import resolved
from deshpc.data.reader import Reader
from deshpc.errors import DeshpcError
from deshpc.training.metrics import evaluate_scores
from deshpc.training.step import scores


def reads_of(model):
    """Function B -> (begin, end) of the samples that this rank reads of a batch of B."""
    if model.routing.reads_whole_batch:
        return lambda total: (0, total)
    return lambda total: slice_of(total, model.group.size, model.group.rank)


def evaluate_model(model, dataset, batch_samples):
    """Metrics over all rows.  Each rank scores its share of every batch's samples.  Collective."""
    reader = Reader(dataset, batch_samples, reads_of(model), model.backend.host_buffers)
    logits, labels, truths = [], [], []
    for routed, logit in scores(model, reader.epoch(0)):
        home, begin = routed.home.on_host, 0
        if model.exchange.whole_top:
            begin, _ = slice_of(routed.samples, model.group.size, model.group.rank)
        logits.append(model.backend.host(logit[begin : begin + len(home)]))
        labels.append(home.labels.copy())
        if home.truth is not None:
            truths.append(home.truth.copy())
    return evaluate_scores(
        model.group,
        np.concatenate(logits) if logits else np.zeros(0),
        np.concatenate(labels) if labels else np.zeros(0, np.float32),
        np.concatenate(truths) if truths else np.zeros(0) if dataset.has_truth else None,
    )


def in_words(part, steps, metrics):
    """One line about the Metrics of a model after so many steps on a part of the data."""
    shown = (
        ("AUC", metrics.auc, 5), ("log-loss", metrics.log_loss, 5), ("NE", metrics.normalized_entropy, 4),
        ("calibration", metrics.calibration, 4),
    )  # fmt: skip
    numbers = (f"{name} {'undefined' if value is None else f'{value:.{digits}f}'}" for name, value, digits in shown)
    return f"step {steps:,}  {part} {'  '.join(numbers)}"


def measured(session, part, dataset, steps):
    """Metrics of the session's model after so many steps on a part "train", "valid" or "test" of its data; None without data.

    DeshpcError on every rank where one is not finite; it names the weight, if one is the reason.  Collective.
    """
    if dataset is None:
        return None
    model, config = session.model, session.config
    model.enter("evaluate")
    with np.errstate(over="ignore", invalid="ignore"):
        metrics = evaluate_model(model, dataset, config.train.global_batch_samples)
    for name, value in asdict(metrics).items():
        if value is not None and not math.isfinite(value):
            require_finite(model, describe(model, resolved(config), session.input_state(), steps))
            session.group.agree(DeshpcError(f"after {steps:,} steps {name} of the {part} part is {value}: {DIVERGED}"))
    return metrics
