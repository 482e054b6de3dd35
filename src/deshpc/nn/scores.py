"""How well a model ranks the samples that it is about to learn from: a histogram of their logits, read now and then.

Every sample is scored before it is trained on, so this is an honest estimate while training runs (progressive validation).
Logits are counted in bins, by label; pairs inside a bin count one half, so the AUC is exact to the share of such pairs.
"""

import numpy as np

from deshpc.comm.ledger import Traffic

BINS = 1024
"""Of 1 / 64 each, from -8 on; whatever lies outside is in the first or the last."""


_SCORES = Traffic("metrics", "scores", "report")


class Scores:
    """Counts the samples of this rank's top since the last reading."""

    def __init__(self, backend, classes=True):
        """classes : whether labels are 0 or 1; else nothing is counted"""
        self._backend, self._classes, self._counts = backend, classes, backend.zeros((2, BINS), np.int64)

    def add(self, logit, labels):
        """Count samples: logit (n) of the compute type, labels (n) float32, positive from one half on."""
        if self._classes:
            self._backend.loss.count_scores(logit, labels, self._counts)

    def take_auc(self, group=None):
        """AUC of the samples since the last call, None where one class is missing.  A device is waited for.

        group : whose ranks have each counted samples of their own;  collective, if given
        """
        if not self._classes:
            return None
        counts = self._backend.host(self._counts)
        if group is not None:
            counts = group.sum(counts.reshape(-1), _SCORES).reshape(counts.shape)
        self._counts.fill(0)
        return binned_auc(*counts)


class TaskScores:
    """As `Scores`, of logits (n, T) and labels (n, T) of several tasks, NaN where one is not known, which are not counted."""

    def __init__(self, backend, losses):
        """losses : of each task"""
        self._backend, self._scratch = backend, backend.buffers()
        self._of_tasks = [Scores(backend, classes=loss == "log") for loss in losses]

    def add(self, logit, labels):
        """Count samples."""
        for t, scores in enumerate(self._of_tasks):
            own = [self._column(name, numbers, t) for name, numbers in (("logit", logit), ("labels", labels))]
            scores.add(*own)

    def _column(self, name, numbers, t):
        """Column t (n) of an array, side by side."""
        column = self._scratch.array(name, len(numbers), numbers.dtype)
        self._backend.arrays.put(numbers[:, t : t + 1], column.reshape(len(column), 1))
        return column

    def take_auc(self, group=None):
        """Mean of the tasks' AUCs of the samples since the last call, None where no task has one.  Collective, if a group is given."""
        found = [one for one in [scores.take_auc(group) for scores in self._of_tasks] if one is not None]
        return sum(found) / len(found) if found else None


def binned_auc(negatives, positives):
    """Chance that a positive lies in a higher bin than a negative, the same bin one half; None without one of either."""
    pairs = int(negatives.sum()) * int(positives.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum()) / pairs
