"""The share of positives in the training part, by weight."""

import math
from typing import NamedTuple

import numpy as np

from deshpc.backend.exact_sum import value, whole
from deshpc.comm.shares import slice_of

_BLOCK_ROWS = 1 << 20


class BaseRate(NamedTuple):
    """rows, positives : of the training part, over all ranks
    positive_weight, negative_weight : what positives and negatives count, added up
    """

    rows: int
    positives: int
    positive_weight: float
    negative_weight: float

    @classmethod
    def of_counts(cls, rows, positives):
        """Where all rows count 1."""
        return cls(rows, positives, float(positives), float(rows - positives))

    @property
    def weight(self):
        """What all rows count."""
        return self.positive_weight + self.negative_weight

    @property
    def mixed(self):
        """Whether there are both classes, and both count."""
        return self.positive_weight > 0 and self.negative_weight > 0

    @property
    def only(self):
        """The label of all rows that count; None where there are both, or none counts."""
        return None if self.mixed or not self.weight else float(self.positive_weight > 0)

    @property
    def rate(self):
        """Share of positives in all weight, None without any."""
        return self.positive_weight / self.weight if self.weight else None

    @property
    def mean_weight(self):
        """Of a row; 1 without rows."""
        return self.weight / self.rows if self.rows else 1.0

    @property
    def log_odds(self):
        """The logit of a model that predicts the base rate for every row; 0 where one class is missing."""
        return math.log(self.positive_weight) - math.log(self.negative_weight) if self.mixed else 0.0

    @property
    def log_loss(self):
        """The mean log-loss of that model on the training part, by weight; None where one class is missing."""
        if not self.mixed:
            return None
        shares = self.positive_weight / self.weight, self.negative_weight / self.weight
        return -sum(share * math.log(share) for share in shares if share)


def base_rate(group, dataset, kept=None):
    """The BaseRate of a data set, whose weights are NaN where one of a row is not finite; the same to the bit on any number of ranks, of which each counts its share of the rows.

    kept : (n) integers, increasing, the only rows that count; None: all
    Collective.
    """
    sums = np.zeros(5, object)  # rows, positives, weights that are not finite, what positives and negatives count: integers of any size
    for labels, weights in targets(dataset, *slice_of(len(dataset), group.size, group.rank), kept):
        positive = labels >= 0.5
        sums[:2] += len(labels), int(np.count_nonzero(positive))
        if weights is not None:
            finite = np.isfinite(weights)
            weights = np.where(finite, weights, 0).astype(np.float64)
            sums[2:] += int(np.count_nonzero(~finite)), whole(weights[positive]), whole(weights[~positive])
    rows, positives, odd, *weights = sum(group.gather(sums))
    if not dataset.has_weights:
        return BaseRate.of_counts(rows, positives)
    return BaseRate(rows, positives, *([math.nan] * 2 if odd else map(value, weights)))


def targets(dataset, begin, end, kept):
    """Yield (labels, weights or None) of the rows begin .. end of a data set, some at a time.

    kept : (n) integers, increasing, the only rows that are wanted; None: all
    """
    for first, labels, weights in dataset.targets(begin, end):
        for at in range(0, len(labels), _BLOCK_ROWS):
            own = slice(at, at + _BLOCK_ROWS)
            if kept is not None:
                low, high = np.searchsorted(kept, (first + at, first + min(at + _BLOCK_ROWS, len(labels))))
                own = kept[low:high].astype(np.int64) - first
            yield labels[own], None if weights is None else weights[own]
