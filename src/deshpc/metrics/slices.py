"""Metrics of the rows that have one value in a field, value by value."""

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.hashing.spread import spread
from deshpc.metrics.areas import area_under_curve
from deshpc.metrics.losses import losses
from deshpc.metrics.results import SliceMetrics
from deshpc.metrics.sorted_scores import exchange_records, sort_scores

_COUNT = np.dtype([("key", np.uint64), ("rows", np.int64)])
_COUNTS = Traffic("metrics", "keys", "eval")


def most_frequent(group, keys, most):
    """[key] of the most frequent keys of all ranks, at most so many, in order of frequency; the smaller of equally frequent ones first.

    keys : (n) uint64 of this rank's samples.  Each rank's distinct keys go to one rank each, 16 bytes a key.  Collective.
    """
    distinct, rows = np.unique(keys, return_counts=True)
    if group.size > 1:
        rank = spread(distinct, group.size)
        order = np.argsort(rank, kind="stable")
        sent = np.empty(len(distinct), _COUNT)
        sent["key"], sent["rows"] = distinct[order], rows[order]
        received, _ = exchange_records(group, sent, np.bincount(rank, minlength=group.size), _COUNTS)
        distinct, place = np.unique(received["key"], return_inverse=True)
        rows = np.zeros(len(distinct), np.int64)
        np.add.at(rows, place, received["rows"])
    first = np.lexsort((distinct, -rows))[:most]
    of_ranks = [pair for pairs in group.gather(list(zip((-rows[first]).tolist(), distinct[first].tolist(), strict=True))) for pair in pairs]
    return [key for _, key in sorted(of_ranks)[:most]]


def slice_metrics(group, field, names, keys, scored):
    """[SliceMetrics] of some values of a field.  Collective.

    names : {key: name of the value}, in the order in which they are wanted, the same on all ranks
    keys : (n) uint64 of this rank's samples in the field
    scored : (logits (n) float64, labels (n) float64, Weights (n))
    """
    return [SliceMetrics(field, name, *_of_rows(group, keys == np.uint64(key), *scored)) for key, name in names.items()]


def _of_rows(group, which, logits, labels, weights):
    logits, labels, weights = logits[which], labels[which], weights.of(which)
    found = losses(group, logits, labels, weights)
    auc = area_under_curve(group, sort_scores(group, logits, labels, weights))
    return found.rows, found.positives, auc, found.log_loss, found.normalized_entropy, found.calibration
