"""All metrics of scored samples of a model that predicts probabilities."""

from dataclasses import dataclass, field

import numpy as np

from deshpc.metrics.areas import area_under_curve, average_precision
from deshpc.metrics.calibration import calibration_table
from deshpc.metrics.groups import grouped_auc
from deshpc.metrics.losses import losses
from deshpc.metrics.results import Metrics
from deshpc.metrics.slices import slice_metrics
from deshpc.metrics.sorted_scores import sort_scores
from deshpc.metrics.weights import whole_weights


@dataclass(frozen=True)
class Scored:
    """This rank's n samples with their scores.

    logits (n) float;  labels (n) float32
    weights : (n) float32, or None where each is 1
    truth : (n) float32, true probabilities, or None
    keys : {name of a field: (n) uint64, the samples' keys in it}, of the fields that are wanted
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None
    truth: np.ndarray | None = None
    keys: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What is to be found beside the numbers that an evaluation always has.

    group : name of the field whose values are groups, or ""
    calibration_bins : number of bins
    slices : {name of a field: {key: name of the value}}, or None
    """

    group: str = ""
    calibration_bins: int = 0
    slices: dict | None = None


def score_metrics(group, scored, wanted):
    """The Metrics of all ranks' Scored samples, which do not depend on how these are divided.  Collective."""
    logits, labels = np.asarray(scored.logits, np.float64), np.asarray(scored.labels, np.float64)
    weights = whole_weights(group, scored.weights, len(labels))
    found, by_score = losses(group, logits, labels, weights), sort_scores(group, logits, labels, weights)
    table, error = calibration_table(group, by_score, wanted.calibration_bins)
    best, groups, slices = None, (None, None, None), None
    if scored.truth is not None:
        best = area_under_curve(group, sort_scores(group, np.asarray(scored.truth, np.float64), labels, weights))
    if wanted.group:
        groups = grouped_auc(group, scored.keys[wanted.group], logits, labels, weights)
    if wanted.slices is not None:
        parts = (slice_metrics(group, field, names, scored.keys[field], (logits, labels, weights)) for field, names in wanted.slices.items())
        slices = [one for part in parts for one in part]
    return Metrics(
        found.rows, found.positives, area_under_curve(group, by_score), found.log_loss, found.normalized_entropy, found.calibration,
        best, average_precision(group, by_score), *groups, error, table, slices,
        weight=None if scored.weights is None else weights.value(found.weight),
    )  # fmt: skip
