"""What surrounds the matrix products of dense layers, on a device: operations of `backend.cpu.dense`.  See kernels/tower.cu."""

from deshpc.backend.cuda.columns import blocks_of, stretches_of
from deshpc.backend.cuda.kinds import kind


class DenseOperations:
    """Rows of y, gradient and numbers may lie apart."""

    def __init__(self, kernels, column_sums):
        self._kernels, self._column_sums = kernels, column_sums

    def bias_activation(self, y, bias, activation):
        n, h = y.shape
        self._of(y, activation).bias_activation.blocks(blocks_of(stretches_of(n), h), y, n, h, bias)

    def activation_adjoint(self, gradient, y, activation, bias_sum):
        n, h = y.shape
        count = stretches_of(n)
        sums = self._column_sums.stretches(count, h, y.dtype)
        self._of(y, activation).activation_adjoint.blocks(blocks_of(count, h), gradient, y, n, h, sums)
        self._column_sums.add(sums, bias_sum)

    def drop(self, numbers, seed, first_sample, threshold, scale):
        n, h = numbers.shape
        self._of(numbers, 0).drop.blocks(blocks_of(stretches_of(n), h), numbers, n, h, seed, first_sample, threshold, scale)

    def _of(self, numbers, activation):
        return self._kernels("tower.cu", COMPUTE=kind(numbers), ACTIVATION=activation)
