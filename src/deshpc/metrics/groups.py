"""Grouped AUC: how well rows of one group, such as those of a user, are told apart, whatever the level of its scores."""

from typing import NamedTuple

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.hashing.spread import spread
from deshpc.metrics.exact_dot import exact_dot
from deshpc.metrics.sorted_scores import exchange_records

_FRACTION = 1 << 52
_ROWS = Traffic("metrics", "labels", "eval")
_ROW = [("group", np.uint64), ("score", np.float64), ("positive", np.uint8)]


class GroupedAuc(NamedTuple):
    """auc : mean of the groups' AUCs by their weights (None: no group has both classes)
    groups : number of groups in it
    left_out : number of groups of one class, which have no AUC
    """

    auc: float | None
    groups: int
    left_out: int


def grouped_auc(group, groups, scores, labels, weights):
    """The GroupedAuc of all ranks' samples.  Collective.

    groups : (n) uint64, the key of each sample's group
    scores : (n) float64;  labels : (n), 0 or 1;  weights : Weights (n)
    A group's rows go to one rank, by its hash: 17 bytes each, 25 where samples have weights.
    """
    weighted = weights.relative is not None
    rows = np.empty(len(scores), [*_ROW, ("weight", np.int64)] if weighted else _ROW)
    columns = [groups, np.nan_to_num(scores, nan=-np.inf), np.asarray(labels) == 1, *([weights.whole] if weighted else [])]
    for name, column in zip(rows.dtype.names, columns, strict=True):
        rows[name] = column
    if group.size > 1:
        rank = spread(groups, group.size)
        rows, _ = exchange_records(group, rows[np.argsort(rank, kind="stable")], np.bincount(rank, minlength=group.size), _ROWS)
    whole = rows["weight"] if weighted else np.ones(len(rows), np.int64)
    of_rank = group.gather(_sums(rows["group"], rows["score"], rows["positive"] == 1, whole))
    areas, weight, found, all_groups = (sum(column) for column in zip(*of_rank, strict=True))
    return GroupedAuc(areas / (weight * _FRACTION) if weight else None, found, all_groups - found)


def _sums(groups, scores, positive, whole):
    """(sum of weight x AUC in units of 2^-52, weight, number of groups) of the groups of both classes, and the number of all groups."""
    if not len(groups):
        return 0, 0, 0, 0
    order = np.lexsort((scores, groups))
    groups, scores, positive, whole = groups[order], scores[order], positive[order], whole[order]
    new_group = np.concatenate([[True], groups[1:] != groups[:-1]])
    runs = np.flatnonzero(new_group | np.concatenate([[True], scores[1:] != scores[:-1]]))
    positives, negatives = (np.add.reduceat(np.where(which, whole, 0), runs) for which in (positive, ~positive))
    begins = np.flatnonzero(new_group[runs])
    below = np.cumsum(negatives) - negatives
    below -= np.repeat(below[begins], np.diff(np.append(begins, len(runs))))
    pairs = np.add.reduceat(positives.astype(np.float64) * (below + 0.5 * negatives), begins)
    positives, negatives = (np.add.reduceat(one, begins) for one in (positives, negatives))
    both = (positives > 0) & (negatives > 0)
    areas = pairs[both] / (positives[both].astype(np.float64) * negatives[both])
    weight = (positives + negatives)[both]
    return exact_dot(weight, np.rint(areas * _FRACTION).astype(np.int64)), int(weight.sum()), int(both.sum()), len(begins)
