"""How good predictions are, over all ranks: AUC, log-loss, normalized entropy, calibration.

No rank ever holds more than its share: AUC is exact, by a distributed sort.  Each rank sorts its own scores and
merges equal ones into (score, positives, negatives); ranges of scores, chosen from samples of all ranks, go to one
rank each, which counts the pairs inside its range; pairs across ranges follow from the ranges' totals.
"""

import math
from dataclasses import dataclass

import numpy as np

from deshpc.backend.exact_sum import TERMS, terms_of, total
from deshpc.comm.ledger import Traffic

_SAMPLES_PER_RANK = 256
_SCORES = Traffic("metrics", "labels", "eval")
_RUN = np.dtype([("score", np.float64), ("positives", np.int64), ("negatives", np.int64)])


@dataclass(frozen=True)
class Metrics:
    """rows, positives : counts
    auc : chance that a positive scores above a negative, ties one half (None: one class)
    log_loss : mean, natural logarithm
    normalized_entropy : log_loss / entropy of the labels' mean (None: one class)
    calibration : sum of predicted probabilities / number of positives (None: no positive)
    best_auc : AUC of the true probabilities on the same rows, where they are known
    """

    rows: int
    positives: int
    auc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration: float | None
    best_auc: float | None = None


def evaluate_scores(group, logits, labels, truth=None):
    """Metrics of all ranks' samples, which do not depend on how these are divided.  logits, labels, truth : (n) of this rank.

    Sums are those of `exact_sum`.  Collective.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    e, slope = np.exp(-np.abs(z)), np.where(z > 0, 1 - y, y)
    losses = np.log1p(e) + slope * np.where(slope == 0, 0, np.abs(z))  # an infinite logit of the right sign costs nothing
    probabilities = np.where(z >= 0, 1, e) / (1 + e)
    own = np.concatenate([terms_of(losses), terms_of(probabilities), [int(y.sum()), len(y)]])
    found = group.gather_numbers(own, _SCORES).wait()
    positives, rows = (int(count) for count in found[:, 2 * TERMS :].sum(axis=0))
    loss, predicted = total(found[:, :TERMS]), total(found[:, TERMS : 2 * TERMS])
    log_loss = loss / rows if rows else None
    mixed = 0 < positives < rows
    rate = positives / rows if mixed else 0.5
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    return Metrics(
        rows,
        positives,
        area_under_curve(group, z, labels),
        log_loss,
        log_loss / entropy if mixed else None,
        predicted / positives if positives else None,
        None if truth is None else area_under_curve(group, np.asarray(truth, np.float64), labels),
    )


def area_under_curve(group, scores, labels):
    """Exact AUC over all ranks' (n) scores and 0/1 labels, ties one half; None where a class is missing.  Collective.

    Sent: each rank's distinct scores once, 24 bytes each.
    """
    if not np.isfinite(scores).all():
        scores = np.nan_to_num(scores, nan=-np.inf)  # a model that diverged still gets a defined, bad AUC
    runs = _exchange(group, _merge(scores, labels == 1, labels != 1))
    below = np.cumsum(runs["negatives"]) - runs["negatives"]
    twice_pairs = int((runs["positives"] * (2 * below + runs["negatives"])).sum())
    totals = group.gather((int(runs["positives"].sum()), int(runs["negatives"].sum()), twice_pairs))
    positives, negatives = sum(t[0] for t in totals), sum(t[1] for t in totals)
    if not positives or not negatives:
        return None
    lower, pairs = 0, 0  # Python integers: exact at any size
    for p, n, twice in totals:
        pairs += twice + 2 * p * lower
        lower += n
    return pairs / (2 * positives * negatives)


def _merge(scores, positives, negatives):
    """Runs of equal scores, in increasing order."""
    order = np.argsort(scores)
    scores = scores[order]
    begins = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]])) if len(scores) else np.zeros(0, np.int64)
    runs = np.empty(len(begins), _RUN)
    runs["score"] = scores[begins]
    for name, counts in (("positives", positives), ("negatives", negatives)):
        counts = counts[order].astype(np.int64)
        runs[name] = np.add.reduceat(counts, begins) if len(begins) else 0
    return runs


def _exchange(group, runs):
    """The runs of this rank's range of scores, merged, from every rank's runs."""
    if group.size == 1:
        return runs
    pick = np.linspace(0, len(runs) - 1, min(len(runs), _SAMPLES_PER_RANK)).astype(np.int64)
    pool = np.sort(np.concatenate(group.gather(runs["score"][pick])))
    at = np.arange(1, group.size) * len(pool) // group.size
    edges = np.searchsorted(runs["score"], pool[at]) if len(pool) else np.zeros(group.size - 1, np.int64)
    counts = np.diff(np.concatenate([[0], edges, [len(runs)]])).astype(np.int64)
    received = group.exchange_counts(counts, _SCORES)
    incoming = np.empty(int(received.sum()), _RUN)
    sent_bytes, received_bytes = counts * _RUN.itemsize, received * _RUN.itemsize
    group.exchange_bytes(
        runs.view(np.uint8), sent_bytes, incoming.view(np.uint8), received_bytes, [(_SCORES, sent_bytes)]
    ).wait()
    return _merge_runs(incoming)


def _merge_runs(runs):
    return _merge(runs["score"], runs["positives"], runs["negatives"])
