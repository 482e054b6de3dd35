"""FM's second order over a sample's embeddings and dense features: 1/2 |A|^2 and what its own terms take off.

A = sum_f E_f + sum_d f_d x_d;   pairs = 1/2 |A|^2 - 1/2 sum_d |f_d|^2 x_d^2;   dE_f = g A, df_d = x_d (g A) - g x_d^2 f_d
E_f lies complete in the sample's row; its own terms - 1/2 |v|^2 x^2 have come with the state's first column (`ops.pool`).
"""

import numpy as np

from deshpc.backend.arguments import Matrix
from deshpc.backend.weight_form import WeightForm
from deshpc.nn.tape import Operator


class SumFields(Operator):
    """Embeddings (n, F k) -> A = sum_f E_f (n, k)."""

    def __init__(self, backend, compute, dim, n_fields):
        self._kernels, self._form, self._n_fields = backend.interaction, WeightForm.of(backend, dim, compute, compute), n_fields

    def forward(self, tape, embeddings):
        total = tape.array((len(embeddings), self._form.dim), self._form.zero.dtype)
        total[...] = 0
        self._kernels.sum_fields(self._form, self._n_fields, Matrix.of(embeddings), total)
        return total, None

    def backward(self, tape, saved, gradient, into):
        self._kernels.add_to_fields(self._form, self._n_fields, gradient, into.fresh, Matrix.of(into.array))
        into.mark_written()


class Pairs(Operator):
    """(A = sum_f E_f (n, k), dense (n, n_dense)) -> (n); the factors (n_dense, k) of dense features are a parameter.

    A may be some columns of all, of which `columns` is the slice: what they give adds up to the whole.
    """

    learns = True

    def __init__(self, backend, factors, compute, dim, columns=slice(None)):
        """factors : name of the parameter
        dim : of all columns"""
        own = len(range(dim)[columns])
        self._kernels, self._form = backend.interaction, WeightForm.of(backend, own, compute, compute)
        self._columns, self._factors = columns, factors

    def forward(self, tape, sums, dense):
        factors, zero = tape.parameters[self._factors][:, self._columns], self._form.zero
        total = tape.array((len(sums), self._form.dim), zero.dtype)
        result = tape.array((len(sums),), zero.dtype)
        squares = zero.dtype.type(-0.5) * np.square(factors).sum(axis=1, keepdims=True)
        tape.products.multiply_rows(dense, factors, total)
        total += sums
        tape.products.multiply_rows(dense * dense, squares, result.reshape(-1, 1))
        self._kernels.half_squares(self._form, total, result)
        return result, (total, dense)

    def backward(self, tape, saved, gradient, into, _):
        total, dense = saved
        g = gradient.reshape(-1, 1)
        upstream = np.multiply(total, g, out=total)
        factors = tape.parameters[self._factors]

        def of_factors(out):
            out[...] = 0
            out[:, self._columns] = dense.T @ upstream - ((dense * dense).T @ g) * factors[:, self._columns]

        tape.add(self._factors, of_factors)
        into.add(upstream)


class BiInteraction(Operator):
    """NFM: (A and Q side by side (n, 2 k), dense) -> 1/2 (A^2 - Q) (n, k), in every coordinate.

    A = sum v x, Q = sum v^2 x^2 (`ops.bi_interaction`), to which dense features add f_d x_d and its square.
    """

    learns = True

    def __init__(self, factors, dim):
        """factors : name of the parameter (n_dense, k)"""
        self._dim, self._factors = dim, factors

    def forward(self, tape, sums, dense):
        factors, dim = tape.parameters[self._factors], self._dim
        total = tape.array((len(sums), dim), factors.dtype)
        result = tape.array((len(sums), dim), factors.dtype)
        tape.products.multiply_rows(dense, factors, total)
        total += sums[:, :dim]
        tape.products.multiply_rows(dense * dense, np.square(factors), result)
        result += sums[:, dim:]
        np.subtract(total * total, result, out=result)
        result *= 0.5
        return result, (total, dense)

    def backward(self, tape, saved, gradient, into, _):
        total, dense = saved
        upstream = np.multiply(total, gradient, out=total)  # by A
        factors = tape.parameters[self._factors]

        def of_factors(out):
            np.matmul(dense.T, upstream, out=out)
            out -= ((dense * dense).T @ gradient) * factors

        tape.add(self._factors, of_factors)
        if into.fresh:
            into.array[:, : self._dim] = upstream
            np.multiply(gradient, -0.5, out=into.array[:, self._dim :])
        else:
            into.array[:, : self._dim] += upstream
            into.array[:, self._dim :] -= 0.5 * gradient
        into.mark_written()
