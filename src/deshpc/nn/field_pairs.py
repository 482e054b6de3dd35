"""Pairs of fields with weights of their own: one number a pair (FwFM), or a matrix a pair (FmFM).

x (n, G k) : E_f of all fields side by side, those of the dense features, x_d f_d, behind them
"""

from deshpc.nn.tape import Operator


class DenseFields(Operator):
    """dense (n, n_dense) -> x_d f_d side by side (n, n_dense k); the factors f (n_dense, k) are a parameter, of which some columns may be meant."""

    learns = True

    def __init__(self, factors, columns=slice(None)):
        """factors : name of the parameter
        columns : slice of its columns"""
        self._factors, self._columns = factors, columns

    def forward(self, tape, dense):
        factors = tape.parameters[self._factors][:, self._columns]
        fields = tape.array((len(dense), factors.size), factors.dtype)
        for d, part in enumerate(_parts(fields, len(factors))):
            tape.products.multiply_rows(dense[:, d : d + 1], factors[d : d + 1], part)
        return fields, dense

    def backward(self, tape, dense, gradient, _):
        def of_factors(out):
            own = out[:, self._columns]
            if own.shape != out.shape:
                tape.arrays.fill(out, 0)
            for d, part in enumerate(_parts(gradient, len(out))):
                tape.products.multiply(dense[:, d : d + 1].T, part, own[d : d + 1])

        tape.add(self._factors, of_factors)


class WeightedPairs(Operator):
    """x (n, G k) -> sum over f > g of r_fg <E_f, E_g> (n); r (G, G) is a parameter, of which what is below the diagonal counts.

    Rows of one coordinate meet each other only:  x_c (n k, G), the coordinates of all samples,  z = sum of x_c * (x_c r)
    """

    learns = True

    def __init__(self, backend, weights, dim, fields):
        """weights : name of the parameter
        dim : k, or how many columns are here
        fields : G"""
        self._kernels, self._weights, self._dim, self._fields = backend.cin, weights, dim, fields

    def forward(self, tape, x):
        by_coordinate = tape.array((len(x) * self._dim, self._fields), x.dtype)
        self._kernels.by_coordinate(x, by_coordinate)
        products, sums = (tape.array(shape, x.dtype) for shape in (by_coordinate.shape, (len(by_coordinate), 1)))
        tape.products.multiply_rows(by_coordinate, self._below(tape), products)
        tape.arrays.multiply(by_coordinate, products, products)
        tape.products.multiply_rows(products, _ones(tape, self._fields, x.dtype), sums)
        result = tape.array((len(x), 1), x.dtype)
        self._kernels.sum_coordinates(sums, result)
        return result.reshape(len(x)), by_coordinate

    def backward(self, tape, by_coordinate, gradient, into):
        weights, kind = self._below(tape), by_coordinate.dtype
        slope, scaled = tape.array((len(by_coordinate), 1), kind), tape.array(by_coordinate.shape, kind)
        self._kernels.spread_coordinates(gradient.reshape(len(gradient), 1), slope, False)
        tape.arrays.multiply(by_coordinate, slope, scaled)

        def of_weights(out):
            tape.products.multiply(by_coordinate.T, scaled, out)
            tape.arrays.multiply(out, self._mask(tape), out)

        tape.add(self._weights, of_weights)
        tape.products.multiply(scaled, weights, by_coordinate)
        tape.products.multiply(scaled, weights.T, by_coordinate, add=True)
        self._kernels.by_field(by_coordinate, into.array, not into.fresh)
        into.mark_written()

    def _below(self, tape):
        """(G, G): r, and 0 on the diagonal and above, whatever is there."""
        weights = tape.parameters[self._weights]
        below = tape.scratch.array("r", weights.shape, weights.dtype)
        tape.arrays.multiply(weights, self._mask(tape), below)
        return below

    def _mask(self, tape):
        """(G, G): 1 below the diagonal, else 0."""
        mask = tape.scratch.array("below", (self._fields, self._fields), tape.parameters[self._weights].dtype)
        tape.arrays.fill(mask, 0)
        for f in range(1, self._fields):
            tape.arrays.fill(mask[f : f + 1, :f], 1)
        return mask


class MatrixPairs(Operator):
    """x (n, G k) -> sum over f < g of E_f M_fg E_g (n); the matrices of the fields behind f, transposed, are a parameter ((G - 1 - f) k, k)."""

    learns = True

    def __init__(self, matrices, dim):
        """matrices : names of the parameters, of the fields f below G - 1
        dim : k"""
        self._matrices, self._dim = matrices, dim

    def forward(self, tape, x):
        others = tape.array((len(x), len(self._matrices) * self._dim), x.dtype)
        for name, (_, after), other in self._fields(tape, x, others):
            tape.products.multiply_rows(after, tape.parameters[name], other)
        products, result = tape.array(others.shape, x.dtype), tape.array((len(x), 1), x.dtype)
        tape.arrays.multiply(x[:, : others.shape[1]], others, products)
        tape.products.multiply_rows(products, _ones(tape, others.shape[1], x.dtype), result)
        return result.reshape(len(x)), (x, others)

    def backward(self, tape, saved, gradient, into):
        x, others = saved
        u = gradient.reshape(len(gradient), 1)
        into.zero_if_fresh(tape)
        part, upstream = (tape.array(shape, x.dtype) for shape in (others.shape, (len(x), self._dim)))
        tape.arrays.multiply(others, u, part)
        tape.arrays.put(part, into.array[:, : others.shape[1]], add=True)
        for f, (name, (own, after), _) in enumerate(self._fields(tape, x, others)):
            tape.arrays.multiply(own, u, upstream)
            tape.add_product(name, after, upstream)
            tape.products.multiply(upstream, tape.parameters[name].T, into.array[:, (f + 1) * self._dim :], add=True)

    def _fields(self, tape, x, others):
        """(name of the matrices, (E_f, those behind it), what it meets of them) of each field but the last."""
        dim = self._dim
        for f, name in enumerate(self._matrices):
            yield name, (x[:, f * dim : (f + 1) * dim], x[:, (f + 1) * dim :]), others[:, f * dim : (f + 1) * dim]


def _parts(array, count):
    """`count` equal parts of the columns of an array."""
    width = array.shape[1] // max(1, count)
    return [array[:, i * width : (i + 1) * width] for i in range(count)]


def _ones(tape, count, kind):
    """(count, 1), by which a product adds columns up."""
    ones = tape.scratch.array("ones", (count, 1), kind)
    tape.arrays.fill(ones, 1)
    return ones
