"""The losses of several tasks: each is that of one label, of which some samples may not know it."""

import numpy as np

from deshpc.backend.exact_sum import joined
from deshpc.nn.loss import BlockLosses


class TaskLosses:
    """As `BlockLosses`, of logits (n, T) and labels (n, T), NaN where one is not known: such a sample counts 0 for that task.

    The loss of a sample is the sum of those of its tasks, each times the task's weight.
    """

    def __init__(self, backend, objective, zero, blocks, batch_samples):
        """objective : `Objective`, which has tasks"""
        self._backend, self._weights = backend, [task.weight for task in objective.tasks]
        self._of_tasks = [
            BlockLosses(backend, objective._replace(loss=task.loss), zero, blocks, batch_samples) for task in objective.tasks
        ]

    def slopes(self, block, logit, labels, weights, gradient):
        """Set gradient (n, T) of the block's samples, and keep their losses.  May be called by several threads."""
        for t, (losses, weight) in enumerate(zip(self._of_tasks, self._weights, strict=True)):
            *own, slope = self._backend.tasks.of_task(logit, labels, t, weight, weights)
            losses.slopes(block, *own, slope)
            self._backend.arrays.put(slope.reshape(len(slope), 1), gradient[:, t : t + 1])

    def terms(self):
        """Terms (3) of the sum of all blocks' losses; all have been worked on."""
        terms = np.array([losses.terms() for losses in self._of_tasks])
        return joined(terms[:, 0].sum(), terms[:, 1].sum(), terms[:, 2].copy().view(np.float64).sum())
