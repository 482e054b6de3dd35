"""Factorization machine on a device: the operations of `backend.cpu.fm`.  See kernels/fm.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width


class FMOperations:
    """Parts of the samples are as `nn.parts` has them: a call works on all parts."""

    def __init__(self, kernels, key_sums, worst):
        self._kernels, self._key_sums, self._worst = kernels, key_sums, worst
        self._scratch = Buffers(kernels.device)

    def partial(self, lanes, number, zero, scale, dim, offsets, local, values, addresses, in_order, state, width, column):
        samples = offsets.size - 1
        self._of(dim, number, zero, state, values).partial(
            samples * lanes_of(dim, number), offsets, samples, local, values, addresses, scale, state, width, column
        )

    def finish(self, lanes, zero, dim, state, width, column, dense, weights, factors, logit, begin, end):
        n = end - begin
        self._of(dim, zero, zero, zero).finish(
            n * lanes_of(dim, zero), state, width, column, dense, weights.size, weights, factors, logit, n
        )

    def finish_adjoint(
        self, lanes, zero, scale, dim, state, width, column, dense, factors, gradient, weight_sums, factor_sums, edges,
        first, last,
    ):  # fmt: skip
        parts, n_dense = weight_sums.shape
        n, kernels = gradient.size, self._of(dim, zero, zero, weight_sums)
        kernels.sum_dense.blocks(
            parts * n_dense, state, width, column, gradient, dense, n_dense, factors, n, parts, scale, weight_sums, factor_sums
        )
        kernels.finish_adjoint(n * (dim + 1), state, width, column, gradient, n)

    def partial_adjoint(
        self, lanes, zero, scale, dim, offsets, local, values, grouping, state, width, column, scalar_sums, vector_sums,
        self_sums,
    ):  # fmt: skip
        self._key_sums.add(
            zero, scale, dim, grouping, local, values, state, width, column, scalar_sums, vector_sums, self_sums
        )

    def magnitude(self, lanes, number, zero, dim, offsets, local, values, addresses):
        samples = offsets.size - 1
        sizes = self._scratch.array("sizes", samples, np.float64)
        self._of(dim, number, zero, zero, values).magnitude(
            samples * lanes_of(dim, number), offsets, samples, local, values, addresses, sizes
        )
        return self._worst(sizes)

    def largest_term(self, lanes, zero, dim, state, width, column, gradient, factors, largest_values, begin, end):
        terms = self._scratch.array("terms", end - begin, np.float64)
        self._of(dim, zero, zero, zero).largest_term(
            end - begin, state, width, column, gradient, factors, len(factors), largest_values, begin, end - begin, terms
        )
        term, sample = self._worst(terms)
        return term, begin + sample

    def _of(self, dim, number, compute, sums, values=None):
        return self._kernels(
            "fm.cu", NUMBER=kind(number), COMPUTE=kind(compute), SUM=kind(sums), DIM=dim, VALUES=value_width(values)
        )
