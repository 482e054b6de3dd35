"""Factorization machine on a device: the operations of `backend.cpu.fm`.  See kernels/fm.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.key_sums import FM
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width


class FMOperations:
    """Parts of the samples are as `nn.parts` has them: a call works on all parts."""

    def __init__(self, kernels, key_sums, worst):
        self._kernels, self._key_sums, self._worst = kernels, key_sums, worst
        self._scratch = Buffers(kernels.device)

    def partial(self, form, occurrences, state, column, scale):
        offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
        samples = offsets.size - 1
        self._of(form, state, values, stored=True).partial(
            samples * lanes_of(form.dim, form.number), offsets, samples, local, values, addresses, scale, state, state.shape[1],
            column,
        )  # fmt: skip

    def finish(self, form, state, column, dense, weights, factors, logit, begin, end):
        n = end - begin
        self._of(form, form.zero).finish(
            n * lanes_of(form.dim, form.zero), state, state.shape[1], column, dense, weights.size, weights, factors, logit, n
        )

    def finish_adjoint(self, form, state, column, dense, factors, gradient, weight_sums, factor_sums, scale, parts):
        (count, n_dense), width = weight_sums.shape, state.shape[1]
        n, kernels = gradient.size, self._of(form, weight_sums)
        kernels.sum_dense.blocks(
            count * n_dense, state, width, column, gradient, dense, n_dense, factors, n, count, scale, weight_sums, factor_sums
        )
        kernels.finish_adjoint(n * (form.dim + 1), state, width, column, gradient, n)

    def partial_adjoint(self, form, occurrences, state, column, sums, scale):
        self._key_sums.add(FM, form, occurrences, state, column, sums, scale)

    def magnitude(self, form, occurrences):
        offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
        samples = offsets.size - 1
        sizes = self._scratch.array("sizes", samples, np.float64)
        self._of(form, form.zero, values, stored=True).magnitude(
            samples * lanes_of(form.dim, form.number), offsets, samples, local, values, addresses, sizes
        )
        return self._worst(sizes)

    def largest_term(self, form, state, column, gradient, factors, largest_values, begin, end):
        n = end - begin
        terms = self._scratch.array("terms", n, np.float64)
        self._of(form, form.zero).largest_term(
            n, state, state.shape[1], column, gradient, factors, len(factors), largest_values, begin, n, terms
        )
        term, sample = self._worst(terms)
        return term, begin + sample

    def _of(self, form, sums, values=None, stored=False):
        """The kernels for numbers of the compute type or, if `stored`, for those of records."""
        number = form.number if stored else form.zero
        return self._kernels(
            "fm.cu", NUMBER=kind(number), COMPUTE=kind(form.zero), SUM=kind(sums), DIM=form.dim, VALUES=value_width(values)
        )
