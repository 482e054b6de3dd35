"""What workers share: their job, the rows as arrays, a test AUC, and the report that they print.  NumPy alone."""

import json
import sys
from pathlib import Path

import numpy as np


def job():
    """The worker's job: the JSON of its only argument, with "data", the folder of `data.written`."""
    return json.loads(sys.argv[1])


def arrays(folder, part):
    """[indices, dense, labels] of a part: (n, 26) int32, (n, 13) float32, (n) float32."""
    return [np.load(Path(folder) / f"{part}.{name}.npy") for name in ("indices", "dense", "labels")]


def table_sizes(folder):
    """Number of values of each categorical field."""
    return json.loads((Path(folder) / "description.json").read_text(encoding="utf-8"))["table_sizes"]


def labels_of(folder, part):
    """(n) float32."""
    return np.load(Path(folder) / f"{part}.labels.npy")


def auc(scores, labels):
    """Area under the curve: the share of pairs of a click and none that are in order; ties count half.

    Raises ValueError on scores that are not finite: the training has diverged.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(labels) > 0.5
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    clicks, others = np.count_nonzero(positive), np.count_nonzero(~positive)
    return float((middle_ranks[inverse[positive]].sum() - clicks * (clicks + 1) / 2) / (clicks * others))


def report(trained, passes, test_auc=None):
    """Print the worker's only line of JSON.

    trained : samples of a pass
    passes : what a noise.Meter has measured of each pass;  test_auc : after the first one, where the job asks for it
    """
    print(json.dumps({"samples": trained, "passes": passes, "test_auc": test_auc}))
