"""FM's second order over a sample's embeddings and dense features: 1/2 |A|^2 and what its own terms take off.

A = sum_f E_f + sum_d f_d x_d;   pairs = 1/2 |A|^2 - 1/2 sum_d |f_d|^2 x_d^2;   dE_f = g A, df_d = x_d (g A) - g x_d^2 f_d
E_f lies complete in the sample's row; its own terms - 1/2 |v|^2 x^2 have come with the state's first column (`ops.pool`).
"""

from deshpc.backend.weight_form import WeightForm
from deshpc.nn.tape import Operator


class SumFields(Operator):
    """Embeddings (n, F k) -> A = sum_f E_f (n, k)."""

    def __init__(self, backend, compute, dim, n_fields):
        self._kernels, self._matrix = backend.interaction, backend.matrix
        self._form, self._n_fields = WeightForm.of(backend, dim, compute, compute), n_fields

    def forward(self, tape, embeddings):
        total = tape.array((len(embeddings), self._form.dim), self._form.zero.dtype)
        tape.arrays.fill(total, 0)
        self._kernels.sum_fields(self._form, self._n_fields, self._matrix(embeddings), total)
        return total, None

    def backward(self, tape, saved, gradient, into):
        self._kernels.add_to_fields(self._form, self._n_fields, gradient, into.fresh, self._matrix(into.array))
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
        arrays, zero = tape.arrays, self._form.zero
        factors = tape.parameters[self._factors][:, self._columns]
        total, result = tape.array((len(sums), self._form.dim), zero.dtype), tape.array((len(sums),), zero.dtype)
        squares, of_rows = tape.array(dense.shape, zero.dtype), tape.scratch.array("row squares", (len(factors), 1), zero.dtype)
        tape.products.multiply_rows(dense, factors, total)
        arrays.put(sums, total, add=True)
        arrays.multiply(dense, dense, squares)
        arrays.row_products(factors, factors, of_rows, -0.5)
        tape.products.multiply_rows(squares, of_rows, result.reshape(len(sums), 1))
        self._kernels.half_squares(self._form, total, result)
        return result, (total, dense, squares)

    def backward(self, tape, saved, gradient, into, _):
        total, dense, squares = saved
        g, arrays = gradient.reshape(len(gradient), 1), tape.arrays
        arrays.multiply(total, g, total)  # by A
        factors = tape.parameters[self._factors][:, self._columns]

        def of_factors(out):
            own, of_rows = out[:, self._columns], tape.scratch.array("row squares", (len(factors), 1), out.dtype)
            if own.shape != out.shape:
                arrays.fill(out, 0)
            tape.products.multiply(dense.T, total, own)
            tape.products.multiply(squares.T, g, of_rows)
            arrays.subtract_product(of_rows, factors, own)

        tape.add(self._factors, of_factors)
        into.add(tape, total)


class BiInteraction(Operator):
    """NFM: (A and Q side by side (n, 2 k), dense) -> 1/2 (A^2 - Q) (n, k), in every coordinate.

    A = sum v x, Q = sum v^2 x^2 (`ops.bi_interaction`), to which dense features add f_d x_d and its square.
    """

    learns = True

    def __init__(self, backend, factors, dim):
        """factors : name of the parameter (n_dense, k)"""
        self._half_difference, self._dim, self._factors = backend.interaction.half_difference, dim, factors

    def forward(self, tape, sums, dense):
        arrays, factors, dim = tape.arrays, tape.parameters[self._factors], self._dim
        total, result = (tape.array((len(sums), dim), factors.dtype) for _ in range(2))
        squares, of_factors = tape.array(dense.shape, factors.dtype), tape.scratch.array("squares", factors.shape, factors.dtype)
        tape.products.multiply_rows(dense, factors, total)
        arrays.put(sums[:, :dim], total, add=True)
        arrays.multiply(dense, dense, squares)
        arrays.multiply(factors, factors, of_factors)
        tape.products.multiply_rows(squares, of_factors, result)
        arrays.put(sums[:, dim:], result, add=True)
        self._half_difference(total, result)
        return result, (total, dense, squares)

    def backward(self, tape, saved, gradient, into, _):
        total, dense, squares = saved
        arrays, add = tape.arrays, not into.fresh
        arrays.multiply(total, gradient, total)  # by A
        factors = tape.parameters[self._factors]

        def of_factors(out):
            of_squares = tape.scratch.array("squares", factors.shape, out.dtype)
            tape.products.multiply(dense.T, total, out)
            tape.products.multiply(squares.T, gradient, of_squares)
            arrays.subtract_product(of_squares, factors, out)

        tape.add(self._factors, of_factors)
        arrays.put(total, into.array[:, : self._dim], add)
        arrays.put(gradient, into.array[:, self._dim :], add, -0.5)
        into.mark_written()
