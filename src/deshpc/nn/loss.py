"""Losses of logits, and their gradients."""

from typing import NamedTuple

import numpy as np

from deshpc.backend.arguments import Parts
from deshpc.backend.exact_sum import joined
from deshpc.backend.losses import LOSSES
from deshpc.nn.parts import PARTS, parts_of


class Objective(NamedTuple):
    """What a model learns to make small.

    loss : "log", "squared" or "poisson", whose formulas `backend.losses` has
    reduction : "mean" or "sum", of a batch's losses
    shift : added to the logit while the model learns, never where it predicts
    tasks : `config.tasks.Task`s, each with a loss and a weight of its own, where there are several labels
    mean_weight : of the training part's samples, by which the gradient of a "mean" is divided: then steps do not depend on the
        weights' scale
    """

    loss: str = "log"
    reduction: str = "mean"
    shift: float = 0.0
    mean_weight: float = 1.0
    tasks: tuple = ()

    def kernel(self, zero):
        """What kernels take: of `backend.losses`, its numbers of the type of zero."""
        return LOSSES[self.loss](type(zero)(self.shift))

    def scale(self, zero, batch_samples):
        """What slopes are multiplied by, of the type of zero."""
        return type(zero)(1.0 / (max(1, batch_samples) * self.mean_weight) if self.reduction == "mean" else 1.0)


def slopes(backend, objective, zero, logit, labels, weights, gradient, batch_samples):
    """Function() -> sum of the losses, as terms (3) of `exact_sum`: the same however samples are divided among threads and ranks.

    Fills gradient (n) = slopes of the Objective's loss, divided by batch_samples if it is of their mean.
    logit, gradient : (n) of the compute type
    labels : (n) float32
    weights : (n) float32, by which losses and slopes are multiplied, or None
    batch_samples : B, samples of the global batch
    Where the backend is a device, only the call of the function waits, and not for what is started after the losses.
    """
    losses = PartLosses(backend, objective, zero, batch_samples)
    backend.each(lambda parts: losses.slopes(parts, logit, labels, weights, gradient), [(one,) for one in parts_of(len(logit), backend.threads)])
    return losses.terms


class PartLosses:
    """As `slopes`, of some Parts of the samples at a time, those of a thread."""

    def __init__(self, backend, objective, zero, batch_samples):
        self._backend, self._zero = backend, zero
        self._loss, self._scale = objective.kernel(zero), objective.scale(zero, batch_samples)
        self._both, self._sums, self._beyond = _room(backend, PARTS)
        self._terms = None

    def slopes(self, parts, logit, labels, weights, gradient):
        """Set gradient (n) of the parts' samples, and keep their losses.  May be called by several threads."""
        self._backend.loss.slopes(
            self._loss, self._zero, logit, labels, weights, self._scale, gradient, self._sums, self._beyond, parts
        )
        if parts.end == PARTS:  # what a device does afterwards is not waited for
            self._terms = _terms(self._backend.read_later(self._both), PARTS)

    def terms(self):
        """Terms (3) of the sum of all parts' losses; all have been worked on."""
        return self._terms()


class BlockLosses:
    """As `slopes`, of samples whose logits become known block by block, each block by one thread."""

    def __init__(self, backend, objective, zero, blocks, batch_samples):
        self._backend, self._zero, self._blocks = backend, zero, blocks
        self._loss, self._scale = objective.kernel(zero), objective.scale(zero, batch_samples)
        self._both, self._sums, self._beyond = _room(backend, blocks)
        self._terms = None

    def slopes(self, block, logit, labels, weights, gradient):
        """Set gradient (n) of the block's samples, and keep their losses.  May be called by several threads.

        A device works on one block after the other.  When it has come to the last one, the losses start on their way to the host.
        """
        whole, own = Parts(np.array([0, len(logit)]), 0, 1), slice(block, block + 1)
        self._backend.loss.slopes(
            self._loss, self._zero, logit, labels, weights, self._scale, gradient, self._sums[own], self._beyond[own], whole
        )
        if block == self._blocks - 1:
            self._terms = _terms(self._backend.read_later(self._both), self._blocks)

    def terms(self):
        """Terms (3) of the sum of all blocks' losses; all have been worked on."""
        return self._terms()


def _room(backend, parts):
    """(one array, so that a device is waited for once; of it sums (parts, 2) int64 and what is beyond (parts) float64), zeros."""
    both = backend.zeros(3 * parts, np.int64)
    return both, both[: 2 * parts].reshape(parts, 2), both[2 * parts :].view(np.float64)


def _terms(arriving, parts):
    """Function() -> terms (3) of the sums and of what is beyond them, added in order, when they have come."""

    def terms():
        read = arriving()
        numbers = read.tolist()
        beyond = sum(read[2 * parts :].view(np.float64).tolist()) if any(numbers[2 * parts :]) else 0.0
        return joined(sum(numbers[: 2 * parts : 2]), sum(numbers[1 : 2 * parts : 2]), beyond)

    return terms
