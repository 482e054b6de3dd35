"""Losses, their gradients, and sums over samples, on a device: the operations of `backend.cpu.loss`."""

import numpy as np

from deshpc.backend import losses
from deshpc.backend.cuda import elementwise
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width

_BODIES = {
    losses.LogLoss: elementwise.log_loss, losses.SquaredLoss: elementwise.squared_loss, losses.PoissonLoss: elementwise.poisson_loss,
}  # fmt: skip
_MOST_BLOCKS = 128  # that count scores: each adds its own counts to all


class LossOperations:
    """Parts of the samples are as `nn.parts` has them: a call works on all parts."""

    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)
        self._losses = {loss: kernels.device.elementwise(body) for loss, body in _BODIES.items()}
        self._weigh = kernels.device.elementwise(elementwise.weigh)
        self._begin_logit = kernels.device.elementwise(elementwise.begin_logit)

    def begin_logit(self, logit, bias):
        self._begin_logit(logit.size, logit, bias.reshape((1,)))

    def slopes(self, loss, zero, logit, labels, weights, scale, gradient, sums, beyond, parts):
        n = logit.size
        of_samples = self._scratch.array("losses", n, np.float64)
        self._losses[type(loss)](n, loss.shift, logit, labels, scale, gradient, of_samples)
        if weights is not None:
            self._weigh(n, weights, gradient, of_samples)
        self._of(zero, zero).sum_losses.blocks(beyond.size, of_samples, n, beyond.size, sums, beyond)

    def count_scores(self, logit, labels, counts):
        n, kernel = logit.size, self._of(logit, logit).count_scores
        kernel.blocks(min(_MOST_BLOCKS, -(-n // kernel.threads)), logit, labels, n, counts)

    def sum_gradient(self, gradient, scale, sums, parts):
        self._of(gradient, sums).sum_gradient.blocks(sums.size, gradient, gradient.size, sums.size, scale, sums)

    def largest_values(self, begins, ends, values, dense, largest):
        n = largest.size
        self._of(largest, largest, values).largest_values(n, begins, n, values, dense, dense.shape[1], largest)

    def _of(self, compute, sums, values=None):
        return self._kernels("loss.cu", COMPUTE=kind(compute), SUM=kind(sums), VALUES=value_width(values))
