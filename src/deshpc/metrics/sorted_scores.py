"""The distributed sort of scores, on which AUC, precision-recall AUC and the calibration table stand.

No rank ever holds more than its share.  Each rank sorts its own scores and merges equal ones into runs; ranges of scores, chosen
from samples of all ranks, go to one rank each, which merges what it gets.  Equal scores are in one run, of one rank.
"""

from typing import NamedTuple

import numpy as np

from deshpc.comm.ledger import Traffic

_SAMPLES_PER_RANK = 256
_SCORES = Traffic("metrics", "labels", "eval")
_COUNTS = [("score", np.float64), ("positives", np.int64), ("negatives", np.int64)]
_RUN = np.dtype(_COUNTS)
_WEIGHTED_RUN = np.dtype([*_COUNTS, ("rows", np.int64)])


class SortedScores(NamedTuple):
    """This rank's range of scores, in increasing order; ranges of ranks are in the order of ranks.

    score : (r) float64, distinct
    positives, negatives : (r) int64, whole weights of the samples with that score (`metrics.weights`)
    rows : (r) int64, their number
    lower : (positives, negatives, rows) of all lower ranges, Python integers
    all : the same of all ranges
    """

    score: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    rows: np.ndarray
    lower: tuple
    all: tuple


def sort_scores(group, scores, labels, weights):
    """The SortedScores of all ranks' samples.  Collective.

    scores : (n) float64;  one that is NaN counts as the lowest
    labels : (n), 0 or 1
    weights : Weights (n)
    Sent: each rank's distinct scores once, 24 bytes each, 32 where samples have weights.
    """
    if not np.isfinite(scores).all():
        scores = np.nan_to_num(scores, nan=-np.inf)  # a model that diverged still gets a defined, bad AUC
    positive = np.asarray(labels) == 1
    columns = {"positives": np.where(positive, weights.whole, 0), "negatives": np.where(positive, 0, weights.whole)}
    if weights.relative is not None:
        columns["rows"] = np.ones(len(scores), np.int64)
    runs = _exchange(group, _merge(scores, columns, _RUN if weights.relative is None else _WEIGHTED_RUN))
    rows = runs["positives"] + runs["negatives"] if weights.relative is None else runs["rows"]
    columns = runs["positives"], runs["negatives"], rows
    totals = group.gather(tuple(int(column.sum()) for column in columns))
    lower, whole = (tuple(sum(column) for column in zip((0, 0, 0), *some, strict=True)) for some in (totals[: group.rank], totals))
    return SortedScores(runs["score"], *columns, lower, whole)


def _merge(scores, columns, kind):
    """Runs of equal scores, in increasing order.  columns : {name: (n) int64}, which are added up"""
    order = np.argsort(scores)
    scores = scores[order]
    begins = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]])) if len(scores) else np.zeros(0, np.int64)
    runs = np.empty(len(begins), kind)
    runs["score"] = scores[begins]
    for name, counts in columns.items():
        runs[name] = np.add.reduceat(counts[order], begins) if len(begins) else 0
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
    received, _ = exchange_records(group, runs, counts, _SCORES)
    return _merge(received["score"], {name: received[name] for name in runs.dtype.names[1:]}, runs.dtype)


def exchange_records(group, records, counts, traffic):
    """(what all ranks send this one, in the order of ranks; (N) int64, how many come from each).  Collective.

    records : (n) of any type, those for rank 0 first;  counts : (N) int64, how many go to each rank
    """
    received = group.exchange_counts(counts, traffic)
    incoming = np.empty(int(received.sum()), records.dtype)
    sent_bytes, received_bytes = counts * records.dtype.itemsize, received * records.dtype.itemsize
    group.exchange_bytes(records.view(np.uint8), sent_bytes, incoming.view(np.uint8), received_bytes, [(traffic, sent_bytes)]).wait()
    return incoming, received
