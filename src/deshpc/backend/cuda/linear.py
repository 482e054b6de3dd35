"""Linear term on a device: the operations of `backend.cpu.linear`.  See kernels/linear.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width


class LinearOperations:
    """Parts of the samples are as `nn.parts` has them: a call works on all parts."""

    def __init__(self, kernels, key_sums, worst):
        self._kernels, self._key_sums, self._worst = kernels, key_sums, worst
        self._scratch = Buffers(kernels.device)

    def partial(self, number, zero, scale, offsets, local, values, addresses, weights, state, width, column):
        kernels, n, samples = self._of(number, zero, state, values), addresses.size, offsets.size - 1
        kernels.gather_weights(n, addresses, n, weights)
        kernels.partial(samples, offsets, samples, local, values, weights, scale, state, width, column)

    def finish(self, zero, state, width, column, dense, weights, logit, begin, end):
        n = end - begin
        self._of(zero, zero, zero).finish(n, state, width, column, dense, weights.size, weights, logit, n)

    def finish_adjoint(self, zero, scale, state, width, column, dense, gradient, weight_sums, edges, first, last):
        parts, n_dense = weight_sums.shape
        n, kernels = gradient.size, self._of(zero, zero, weight_sums)
        kernels.sum_dense.blocks(parts * n_dense, gradient, dense, n_dense, n, parts, scale, weight_sums)
        kernels.finish_adjoint(n, state, width, column, gradient, n)

    def partial_adjoint(self, zero, scale, offsets, local, values, grouping, state, width, column, scalar_sums):
        self._key_sums.add(zero, scale, 0, grouping, local, values, state, width, column, scalar_sums, None, None)

    def magnitude(self, number, offsets, local, values, addresses):
        samples = offsets.size - 1
        sizes = self._scratch.array("sizes", samples, np.float64)
        self._of(number, sizes, sizes, values).magnitude(samples, offsets, samples, local, values, addresses, sizes)
        return self._worst(sizes)

    def largest_term(self, gradient, largest_values, begin, end):
        terms = self._scratch.array("terms", end - begin, np.float64)
        self._of(gradient, gradient, gradient).largest_term(
            end - begin, gradient, largest_values, begin, end - begin, terms
        )
        term, sample = self._worst(terms)
        return term, begin + sample

    def _of(self, number, compute, sums, values=None):
        return self._kernels(
            "linear.cu", NUMBER=kind(number), COMPUTE=kind(compute), SUM=kind(sums), VALUES=value_width(values)
        )
