"""Layer and batch normalisation on a device: the operations of `backend.cpu.normalisation`.  See kernels/normalisation.cu."""

import numpy as np

from deshpc.backend.cuda.columns import blocks_of, stretches_of
from deshpc.backend.cuda.kinds import kind

_WARP = 32


class NormalisationOperations:
    """Rows of x and gradient may lie apart."""

    def __init__(self, kernels, column_sums):
        self._kernels, self._column_sums = kernels, column_sums

    def layer(self, x, gain, shift, epsilon, inverse, normal, y):
        n, h = x.shape
        self._of(x).layer(_WARP * n, x, n, h, gain, shift, epsilon, inverse, normal, y)

    def layer_adjoint(self, gradient, normal, inverse, gain):
        n, h = gradient.shape
        self._of(gradient).layer_adjoint(_WARP * n, gradient, n, h, normal, inverse, gain)

    def moments(self, x, sums):
        n, h = x.shape
        count = stretches_of(n)
        stretches = self._column_sums.stretches(count, 2 * h + 1, np.dtype(np.float64))
        self._of(x).moments.blocks(blocks_of(count, h), x, n, h, stretches)
        self._column_sums.add(stretches, sums)

    def statistics(self, sums, mean, variance):
        h = mean.size
        self._of(mean).statistics(h, sums, h, mean, variance)

    def keep(self, sums, mean, variance, momentum, kept_mean, kept_variance):
        h = mean.size
        self._of(kept_mean).keep(h, sums, h, mean, variance, momentum, kept_mean, kept_variance)

    def standardise(self, x, mean, variance, epsilon, gain, shift, inverse, normal, y):
        (n, h), kernels = x.shape, self._of(x, mean)
        kernels.invert(h, variance, h, epsilon, inverse)
        kernels.standardise.blocks(blocks_of(stretches_of(n), h), x, n, h, mean, inverse, gain, shift, normal, y)

    def adjoint_sums(self, gradient, normal, of_shift, of_gain, sums):
        n, h = gradient.shape
        self._column_sums(gradient, of_shift)
        self._column_sums(gradient, of_gain, normal)
        self._of(gradient).join_sums(h, n, h, of_shift, of_gain, sums)

    def batch_adjoint(self, gradient, normal, inverse, gain, sums):
        n, h = gradient.shape
        blocks = blocks_of(stretches_of(n), h)
        self._of(gradient).batch_adjoint.blocks(blocks, gradient, n, h, normal, inverse, gain, sums)

    def _of(self, numbers, statistics=None):
        return self._kernels(
            "normalisation.cu", COMPUTE=kind(numbers), STATISTIC=kind(numbers if statistics is None else statistics)
        )
