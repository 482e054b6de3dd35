"""The share of positives in the training part, by weight."""

import math
from typing import NamedTuple

import numpy as np

from deshpc.backend.exact_sum import TERMS, terms_of, total
from deshpc.comm.shares import slice_of

_BLOCK_ROWS = 1 << 20


class BaseRate(NamedTuple):
    """rows, positives : of the training part, over all ranks
    weight, positive_weight : what these count, added up
    """

    rows: int
    positives: int
    weight: float
    positive_weight: float

    @classmethod
    def of_counts(cls, rows, positives):
        """Where all rows count 1."""
        return cls(rows, positives, float(rows), float(positives))

    @property
    def mixed(self):
        """Whether there are both classes, and both count."""
        return 0 < self.positive_weight < self.weight

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
        return math.log(self.positive_weight / (self.weight - self.positive_weight)) if self.mixed else 0.0

    @property
    def log_loss(self):
        """The mean log-loss of that model on the training part, by weight; None where one class is missing."""
        if not self.mixed:
            return None
        return -(self.rate * math.log(self.rate) + (1 - self.rate) * math.log(1 - self.rate))


def base_rate(group, dataset, kept=None):
    """The BaseRate of a data set, the same to the bit on any number of ranks, of which each counts its share of the rows.

    kept : (n) integers, increasing, the only rows that count; None: all
    Collective.
    """
    rows, positives, sums = 0, 0, []
    for labels, weights in targets(dataset, *slice_of(len(dataset), group.size, group.rank), kept):
        positive = labels >= 0.5
        rows, positives = rows + len(labels), positives + int(np.count_nonzero(positive))
        if weights is not None:
            weights = weights.astype(np.float64)
            sums.append(np.concatenate([terms_of(weights), terms_of(weights[positive])]))
    counts, sums = zip(*group.gather(((rows, positives), sums)), strict=True)
    rows, positives = (sum(column) for column in zip(*counts, strict=True))
    if not dataset.has_weights:
        return BaseRate.of_counts(rows, positives)
    sums = np.array([one for some in sums for one in some], np.int64).reshape(-1, 2 * TERMS)
    return BaseRate(rows, positives, total(sums[:, :TERMS]), total(sums[:, TERMS:]))


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
