"""Log-loss of logits, and its gradient."""

import numpy as np

from deshpc.backend.exact_sum import joined
from deshpc.nn.parts import PARTS, edges, parts_of


def loss_slopes(backend, zero, logit, labels, gradient, batch_samples, reduction):
    """As `log_loss`, for some samples: logit, gradient (n) of the compute type, labels (n) float32.

    By the thread that calls it alone; the loss itself is not given.
    """
    kernels, ends = backend.loss, np.array([0, len(logit)])
    kernels.log_loss(zero, logit, labels, _scale(zero, batch_samples, reduction), gradient, None, None, ends, 0, 1)


def log_loss(backend, zero, logit, labels, gradient, batch_samples, reduction):
    """Function() -> sum of the log-losses, as terms (3) of `exact_sum`: the same however samples are divided among threads and ranks.

    Fills gradient (n) = p - y, divided by batch_samples if reduction is "mean".
    logit, gradient : (n) of the compute type;  labels : (n) float32;  batch_samples : B, samples of the global batch
    Where the backend is a device, only the call of the function waits for it.
    """
    scale, places = _scale(zero, batch_samples, reduction), edges(len(logit))
    both = backend.zeros(3 * PARTS, np.int64)  # one array, so that a device is waited for once
    sums, beyond = both[: 2 * PARTS].reshape((PARTS, 2)), both[2 * PARTS :].view(np.float64)
    backend.each(
        backend.loss.log_loss,
        [(zero, logit, labels, scale, gradient, sums, beyond, places, a, b) for a, b in parts_of(backend.threads)],
    )

    def terms():
        read = backend.host(both)
        return joined(*read[: 2 * PARTS].reshape((PARTS, 2)).sum(axis=0), sum(read[2 * PARTS :].view(np.float64).tolist()))

    return terms


def _scale(zero, batch_samples, reduction):
    return type(zero)(1.0 / max(1, batch_samples) if reduction == "mean" else 1.0)
