"""Interactions of embeddings that lie side by side, on a device: the operations of `backend.cpu.interaction`.

See kernels/interaction.cu, dots.cu and cross.cu.  Where the CPU takes a `backend.arguments.Matrix`, this takes an array whose rows may
lie apart; `side` and `by_coordinate` are the CPU's affair.
"""

from deshpc.backend.cuda.columns import blocks_of, stretches_of
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.kinds import kind


class InteractionOperations:
    def __init__(self, kernels, column_sums):
        self._kernels, self._column_sums = kernels, column_sums

    def sum_fields(self, form, n_fields, x, total):
        self._sums(form).sum_fields(total.size, x, len(total), n_fields, total)

    def half_squares(self, form, total, result):
        n = result.size
        self._sums(form).half_squares(n * lanes_of(form.dim, form.zero), total, n, result)

    def add_to_fields(self, form, n_fields, upstream, fresh, gradient):
        self._sums(form).add_to_fields(upstream.size, upstream, len(upstream), n_fields, int(fresh), gradient)

    def dots(self, side, n_fields, x, last, by_coordinate, result, column):
        self._dots(n_fields, last).dots.blocks(len(last), x, last, result, result.shape[1], column)

    def dots_adjoint(self, form, n_fields, x, last, upstream, column, gradient, fresh, last_gradient):
        self._dots(n_fields, last).dots_adjoint.blocks(
            len(last), x, last, upstream, upstream.shape[1], column, gradient, int(fresh), last_gradient
        )

    def cross(self, side, x0, x, z, bias, result):
        n, d = z.shape
        self._cross(z).cross.blocks(blocks_of(stretches_of(n), d), x0, x, z, n, d, bias, result)

    def cross_adjoint(self, side, x0, z, upstream, bias_sum, gradient, columns, fresh):
        n, d = z.shape
        count = stretches_of(n)
        sums = self._column_sums.stretches(count, d, z.dtype)
        self._cross(z).cross_adjoint.blocks(
            blocks_of(count, d), x0, z, upstream, n, d, gradient, columns, int(fresh), sums
        )
        self._column_sums.add(sums, bias_sum)

    def cross_constants(self, weights, biases, sums, constants):
        (width, d), kernels = sums.shape, self._cross(weights)
        kernels.sum_biases(d, biases, width - 1, d, sums)
        kernels.cross_constants.blocks(width, weights, sums, width, d, constants)

    def cross_weights_adjoint(self, sums, constant_sums, of_weights):
        width, d = sums.shape
        self._cross(sums).cross_weights_adjoint(sums.size, sums, constant_sums, width, d, of_weights)

    def cross_biases_adjoint(self, weights, constant_sums, of_biases):
        d, width = weights.shape
        self._cross(weights).cross_biases_adjoint(d, weights, constant_sums, width, d, of_biases)

    def half_difference(self, total, squares):
        self._cross(total).half_difference(total.size, total, total.size, squares)

    def cross_scalars(self, zero, products, constants, scalars, logit):
        n, width = products.shape
        self._cross(zero).cross_scalars(n, products, n, width, constants, scalars, logit)

    def cross_scalars_adjoint(self, zero, products, scalars, upstream, slopes, constant_sums):
        (n, width), kernel = products.shape, self._cross(zero).cross_scalars_adjoint
        sums = self._column_sums.stretches(-(-n // kernel.threads), width, products.dtype)
        kernel(n, products, scalars, upstream, n, width, slopes, sums)
        self._column_sums.add(sums, constant_sums)

    def _sums(self, form):
        return self._kernels("interaction.cu", COMPUTE=kind(form.zero), DIM=form.dim)

    def _dots(self, n_fields, last):
        return self._kernels("dots.cu", COMPUTE=kind(last), DIM=last.shape[1], FIELDS=n_fields)

    def _cross(self, like):
        return self._kernels("cross.cu", COMPUTE=kind(like))
