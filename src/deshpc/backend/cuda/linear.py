"""Linear term on a device: the operations of `backend.cpu.linear`.  See kernels/linear.cu."""

import numpy as np

from deshpc.backend.arguments import Sums
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.key_sums import FM
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width
from deshpc.backend.weight_form import WeightForm


class LinearOperations:
    """Parts of the samples are as `nn.parts` has them: a call works on all parts."""

    def __init__(self, kernels, key_sums, worst):
        self._kernels, self._key_sums, self._worst = kernels, key_sums, worst
        self._scratch = Buffers(kernels.device)

    def partial(self, form, occurrences, weights, state, column, scale):
        offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
        kernels, n, samples = self._of(form.number, form.zero, state, values), addresses.size, offsets.size - 1
        kernels.gather_weights(n, addresses, n, weights)
        kernels.partial(samples, offsets, samples, local, values, weights, scale, state, state.shape[1], column)

    def finish(self, form, state, column, dense, weights, logit, begin, end):
        n, zero = end - begin, form.zero
        self._of(zero, zero, zero).finish(n, state, state.shape[1], column, dense, weights.size, weights, logit, n)

    def finish_adjoint(self, form, state, column, dense, gradient, weight_sums, scale, parts):
        count, n_dense = weight_sums.shape
        n, kernels = gradient.size, self._of(form.zero, form.zero, weight_sums)
        kernels.sum_dense.blocks(count * n_dense, gradient, dense, n_dense, n, count, scale, weight_sums)
        kernels.finish_adjoint(n, state, state.shape[1], column, gradient, n)

    def partial_adjoint(self, form, occurrences, state, column, sums, scale):
        linear, alone = WeightForm(None, form.number, form.zero, 0), Sums(sums.scalar, None, None)
        self._key_sums.add(FM, linear, occurrences, state, column, alone, scale)

    def magnitude(self, form, occurrences):
        offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
        samples = offsets.size - 1
        sizes = self._scratch.array("sizes", samples, np.float64)
        self._of(form.number, sizes, sizes, values).magnitude(samples, offsets, samples, local, values, addresses, sizes)
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
