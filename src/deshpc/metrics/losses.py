"""Log-loss, normalized entropy and calibration: sums over samples that are the same for any number of ranks."""

import math
from typing import NamedTuple

import numpy as np

from deshpc.backend.exact_sum import TERMS, terms_of, total
from deshpc.backend.links import sigmoid
from deshpc.comm.ledger import Traffic

_SUMS = Traffic("metrics", "labels", "eval")


class Losses(NamedTuple):
    """What `metrics.results.Metrics` says under these names; weight : whole, of all samples."""

    rows: int
    positives: int
    weight: int
    log_loss: float | None
    normalized_entropy: float | None
    calibration: float | None


def losses(group, logits, labels, weights):
    """The Losses of all ranks' samples.  logits, labels : (n) float64;  weights : Weights (n).  Collective."""
    e, slope = np.exp(-np.abs(logits)), np.where(logits > 0, 1 - labels, labels)
    each = np.log1p(e) + slope * np.where(slope == 0, 0, np.abs(logits))  # an infinite logit of the right sign costs nothing
    counts = [int(labels.sum()), len(labels), int(weights.whole[labels == 1].sum()), int(weights.whole.sum())]
    own = np.concatenate([terms_of(weights.times(each)), terms_of(weights.times(sigmoid(logits))), counts])
    found = group.gather_numbers(own, _SUMS).wait()
    positives, rows, positive_weight, weight = (int(count) for count in found[:, 2 * TERMS :].sum(axis=0))
    loss, predicted = total(found[:, :TERMS]), total(found[:, TERMS : 2 * TERMS])
    log_loss = loss / (weight / weights.one) if weight else None
    mixed = 0 < positive_weight < weight
    rate = positive_weight / weight if mixed else 0.5
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    return Losses(
        rows, positives, weight, log_loss, log_loss / entropy if mixed else None,
        predicted / (positive_weight / weights.one) if positive_weight else None,
    )  # fmt: skip
