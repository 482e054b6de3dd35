"""Log-loss of logits, and its gradient."""

import numpy as np

from deshpc.backend.arguments import Parts
from deshpc.backend.exact_sum import joined
from deshpc.nn.parts import PARTS, parts_of


def log_loss(backend, zero, logit, labels, gradient, batch_samples, reduction):
    """Function() -> sum of the log-losses, as terms (3) of `exact_sum`: the same however samples are divided among threads and ranks.

    Fills gradient (n) = p - y, divided by batch_samples if reduction is "mean".
    logit, gradient : (n) of the compute type
    labels : (n) float32
    batch_samples : B, samples of the global batch
    Where the backend is a device, only the call of the function waits, and not for what is started after the losses.
    """
    scale = _scale(zero, batch_samples, reduction)
    both, sums, beyond = _room(backend, PARTS)
    backend.each(
        backend.loss.log_loss,
        [(zero, logit, labels, scale, gradient, sums, beyond, parts) for parts in parts_of(len(logit), backend.threads)],
    )
    return _terms(backend.read_later(both), PARTS)


class BlockLosses:
    """As `log_loss`, of samples whose logits become known block by block, each block by one thread."""

    def __init__(self, backend, zero, blocks, batch_samples, reduction):
        self._backend, self._zero, self._blocks = backend, zero, blocks
        self._scale = _scale(zero, batch_samples, reduction)
        self._both, self._sums, self._beyond = _room(backend, blocks)
        self._terms = None

    def slopes(self, block, logit, labels, gradient):
        """Set gradient (n) of the block's samples, and keep their losses.  May be called by several threads.

        A device works on one block after the other.  When it has come to the last one, the losses start on their way to the host.
        """
        whole, own = Parts(np.array([0, len(logit)]), 0, 1), slice(block, block + 1)
        self._backend.loss.log_loss(
            self._zero, logit, labels, self._scale, gradient, self._sums[own], self._beyond[own], whole
        )
        if block == self._blocks - 1:
            self._terms = _terms(self._backend.read_later(self._both), self._blocks)

    def terms(self):
        """Terms (3) of the sum of all blocks' log-losses; all have been worked on."""
        return self._terms()


def _room(backend, parts):
    """(one array, so that a device is waited for once; of it sums (parts, 2) int64 and what is beyond (parts) float64), zeros."""
    both = backend.zeros(3 * parts, np.int64)
    return both, both[: 2 * parts].reshape(parts, 2), both[2 * parts :].view(np.float64)


def _terms(arriving, parts):
    """Function() -> terms (3) of the sums and of what is beyond them, added in order, when they have come."""

    def terms():
        read = arriving()
        sums, beyond = read[: 2 * parts].reshape(parts, 2), read[2 * parts :].view(np.float64)
        return joined(*sums.sum(axis=0), sum(beyond.tolist()))

    return terms


def _scale(zero, batch_samples, reduction):
    return type(zero)(1.0 / max(1, batch_samples) if reduction == "mean" else 1.0)
