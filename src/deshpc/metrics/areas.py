"""AUC and precision-recall AUC of sorted scores."""

import numpy as np

from deshpc.metrics.exact_dot import exact_dot

_FRACTION = 1 << 52


def area_under_curve(group, found):
    """Chance that a positive scores above a negative, ties one half; None where a class has no weight.  Collective.

    found : SortedScores
    Exact but for one rounding: pairs are counted in whole numbers.
    """
    below = found.lower[1] + np.cumsum(found.negatives) - found.negatives
    twice_pairs = sum(group.gather(exact_dot(found.positives, 2 * below + found.negatives)))
    positives, negatives, _ = found.all
    return twice_pairs / (2 * positives * negatives) if positives and negatives else None


def average_precision(group, found):
    """Sum over thresholds of precision x recall gained, equal scores in one step; None without a positive.  Collective.

    found : SortedScores
    """
    positives = found.all[0] - found.lower[0] - np.cumsum(found.positives) + found.positives  # at the score or above
    negatives = found.all[1] - found.lower[1] - np.cumsum(found.negatives) + found.negatives
    precision = np.rint(positives / np.maximum(1, positives + negatives) * _FRACTION).astype(np.int64)
    gained = sum(group.gather(exact_dot(found.positives, precision)))
    return gained / (found.all[0] * _FRACTION) if found.all[0] else None
