"""The calibration table: do predictions say how often labels are 1, from the lowest predictions to the highest?"""

from dataclasses import dataclass

import numpy as np

from deshpc.backend.links import sigmoid
from deshpc.metrics.exact_dot import exact_dot

_FRACTION = 1 << 50


@dataclass(frozen=True)
class CalibrationBin:
    """Some rows, neighbours by their prediction.

    rows : their number
    prediction, label : means, None where the rows have no weight
    """

    rows: int
    prediction: float | None
    label: float | None


def calibration_table(group, found, bins):
    """([CalibrationBin], expected calibration error) of so many bins of equal numbers of rows; (None, None) without rows.  Collective.

    found : SortedScores of logits
    Bins end at the quantiles' lower neighbours, and rows of equal scores are in one bin; so a bin may have other numbers of rows, or
    none, and then it is left out.  The error is the mean distance of prediction and label, by the bins' weights.
    """
    rows = found.all[2]
    if not rows or not bins:
        return None, None
    before = found.lower[2] + np.cumsum(found.rows) - found.rows
    last = np.array([number * (rows - 1) // bins for number in range(1, bins)], np.int64)
    edges = np.searchsorted(before, last, side="right")  # a run that begins behind a bin's last row is of the next one
    edges = np.concatenate([[0], edges, [len(before)]])
    probability = np.rint(sigmoid(found.score) * _FRACTION).astype(np.int64)
    weights = found.positives + found.negatives
    own = [
        (int(found.rows[a:b].sum()), int(weights[a:b].sum()), int(found.positives[a:b].sum()), exact_dot(weights[a:b], probability[a:b]))
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    whole = [tuple(sum(column) for column in zip(*of_ranks, strict=True)) for of_ranks in zip(*group.gather(own), strict=True)]
    table, error, weight_of_all = [], 0.0, found.all[0] + found.all[1]
    for count, weight, positives, predicted in whole:
        if weight:
            prediction, label = predicted / (weight * _FRACTION), positives / weight
            error += weight / weight_of_all * abs(prediction - label)
        if count:
            table.append(CalibrationBin(count, prediction if weight else None, label if weight else None))
    return table, error if weight_of_all else None
