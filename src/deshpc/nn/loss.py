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
    both = backend.zeros(3 * PARTS, np.int64)  # one array, so that a device is waited for once
    sums, beyond = both[: 2 * PARTS].reshape((PARTS, 2)), both[2 * PARTS :].view(np.float64)
    backend.each(
        backend.loss.log_loss,
        [(zero, logit, labels, scale, gradient, sums, beyond, parts) for parts in parts_of(len(logit), backend.threads)],
    )
    arriving = backend.read_later(both)

    def terms():
        read = arriving()
        return _joined(read[: 2 * PARTS].reshape((PARTS, 2)), read[2 * PARTS :].view(np.float64))

    return terms


class BlockLosses:
    """As `log_loss`, of samples whose logits become known block by block, each block by one thread."""

    def __init__(self, backend, zero, blocks, batch_samples, reduction):
        self._kernels, self._zero, self._scale = backend.loss, zero, _scale(zero, batch_samples, reduction)
        self._sums, self._beyond = np.zeros((blocks, 1, 2), np.int64), np.zeros((blocks, 1))

    def slopes(self, block, logit, labels, gradient):
        """Set gradient (n) of the block's samples, and keep their losses.  May be called by several threads."""
        whole = Parts(np.array([0, len(logit)]), 0, 1)
        self._kernels.log_loss(
            self._zero, logit, labels, self._scale, gradient, self._sums[block], self._beyond[block], whole
        )

    def terms(self):
        """Terms (3) of the sum of all blocks' log-losses."""
        return _joined(self._sums[:, 0], self._beyond[:, 0])


def _joined(sums, beyond):
    """Terms (3) of sums (n, 2) int64, and of what is beyond (n) float64, added in order."""
    return joined(*sums.sum(axis=0), sum(beyond.tolist()))


def _scale(zero, batch_samples, reduction):
    return type(zero)(1.0 / max(1, batch_samples) if reduction == "mean" else 1.0)
