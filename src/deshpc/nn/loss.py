"""Log-loss of logits, and its gradient."""

import numpy as np

from deshpc.nn.parts import PARTS, edges, parts_of


def loss_slopes(backend, zero, logit, labels, gradient, batch_samples, reduction):
    """As `log_loss`, for some samples: logit, gradient (n) of the compute type, labels (n) float32.

    By the thread that calls it alone; the loss itself is not given.
    """
    kernels, ends = backend.loss, np.array([0, len(logit)])
    kernels.log_loss(zero, logit, labels, _scale(zero, batch_samples, reduction), gradient, np.empty(1), ends, 0, 1)


def log_loss(backend, zero, logit, labels, gradient, batch_samples, reduction):
    """Function() -> sum of the log-losses; fills gradient (n) = p - y, divided by batch_samples if reduction is "mean".

    logit, gradient : (n) of the compute type;  labels : (n) float32;  batch_samples : B, samples of the global batch
    The sum is taken over fixed parts of the samples in a fixed order: it does not depend on the number of threads.  Where the
    backend is a device, only the call of the function waits for it.
    """
    scale = _scale(zero, batch_samples, reduction)
    losses, places = backend.zeros(PARTS, np.float64), edges(len(logit))
    backend.each(
        backend.loss.log_loss,
        [(zero, logit, labels, scale, gradient, losses, places, a, b) for a, b in parts_of(backend.threads)],
    )
    return lambda: sum(backend.host(losses).tolist())


def _scale(zero, batch_samples, reduction):
    return type(zero)(1.0 / max(1, batch_samples) if reduction == "mean" else 1.0)
