"""Cross networks: DCN's from L + 1 scalars a sample, and DCN-v2's matrix layers, full or of low rank."""

import math

import numpy as np

from deshpc.backend.weight_form import WeightForm
from deshpc.nn.first_dense import FirstDense
from deshpc.nn.lockstep import OverRanks
from deshpc.nn.tape import Operator

_LANES = 16


class CrossProducts(FirstDense):
    """DCN's x_0 . w_l for all layers, and x_0 . w_out: x_0 (n, d) -> (n, L + 1), one matrix product."""

    def __init__(self, backend, values, name, inputs, n_dense, layers):
        super().__init__(backend, values, name, inputs, layers + 1, n_dense, bias=False, bound=1 / math.sqrt(inputs))


class CrossScalars(Operator):
    """DCN's cross network from its products: (n, L + 1) -> logits (n).

    x_{l+1} = x_0 (x_l . w_l) + b_l + x_l.  Since x_l = a_l x_0 + B_l with a_0 = 1, B_0 = 0,
        a_{l+1} = a_l (1 + x_0 . w_l) + B_l . w_l,  B_{l+1} = B_l + b_l,  x_L . w_out = a_L (x_0 . w_out) + B_L . w_out.
    The w are the parameter `weights` (d, L + 1) of the products; B . w does not depend on the sample.
    """

    learns = True

    def __init__(self, backend, values, name, weights, inputs, layers):
        self._kernels, self._weights = backend.interaction, weights
        self._biases = values.zeros(name, layers, inputs)

    def forward(self, tape, products):
        weights, biases = tape.parameters[self._weights], tape.parameters[self._biases]
        kind = weights.dtype
        sums, constants = tape.array((len(biases) + 1, len(weights)), kind), tape.scratch.array("constants", len(biases) + 1, kind)
        self._kernels.cross_constants(weights, biases, sums, constants)
        scalars, logit = tape.array(products.shape, kind), tape.array((len(products),), kind)
        self._kernels.cross_scalars(kind.type(0), products, constants, scalars, logit)
        return logit, (products, scalars, sums)

    def backward(self, tape, saved, gradient, into):
        products, scalars, sums = saved
        weights, upstream = tape.parameters[self._weights], gradient.reshape(len(products))
        slopes = tape.scratch.array("slopes", products.shape, weights.dtype)
        of_constants = tape.scratch.array("constants", len(sums), weights.dtype)
        self._kernels.cross_scalars_adjoint(weights.dtype.type(0), products, scalars, upstream, slopes, of_constants)
        tape.add(self._weights, lambda out: self._kernels.cross_weights_adjoint(sums, of_constants, out))
        tape.add(self._biases, lambda out: self._kernels.cross_biases_adjoint(weights, of_constants, out))
        into.add(tape, slopes)


class CrossLayer(Operator):
    """DCN-v2: (x_0, x_l) -> x_0 * (x_l W + b) + x_l, of d columns; with rank r, W = V U of (d, r) and (r, d).

    dz = g x_0;  dx_0 += g z;  dx_l = g + dz W^T
    """

    learns = True

    def __init__(self, backend, values, name, compute, inputs, rank=0):
        self._kernels, self._matrix = backend.interaction, backend.matrix
        self._side = WeightForm.of(backend, _LANES, compute, compute)
        self._inputs, self.rank = inputs, rank
        if rank:
            self.narrow = values.dense(f"{name}.narrow", inputs, rank)
            self.wide = values.dense(f"{name}.wide", rank, inputs)
        else:
            self.wide = values.dense(f"{name}.weights", inputs, inputs)
        self.bias = values.zeros(f"{name}.bias", inputs)

    def forward(self, tape, x0, x):
        narrow, kind = x, self._side.zero.dtype
        if self.rank:
            narrow = tape.array((len(x), self.rank), kind)
            tape.products.multiply_rows(x, tape.parameters[self.narrow], narrow)
        z, result = (tape.array((len(x), self._inputs), kind) for _ in range(2))
        tape.products.multiply_rows(narrow, tape.parameters[self.wide], z)
        self._kernels.cross(self._side, self._matrix(x0), self._matrix(x), z, tape.parameters[self.bias], result)
        return result, (x0, x, narrow, z)

    def backward(self, tape, saved, gradient, into_x0, into_x):
        x0, x, narrow, z = saved

        def of_bias(out):
            columns = into_x0.array.shape[1]
            self._kernels.cross_adjoint(
                self._side, self._matrix(x0), z, gradient, out, self._matrix(into_x0.array), columns, into_x0.fresh
            )
            into_x0.mark_written()

        tape.add(self.bias, of_bias)  # leaves dz in z
        wide = tape.parameters[self.wide]
        tape.add_product(self.wide, narrow, z)
        slope = z
        if self.rank:
            slope = tape.scratch.array("narrow", narrow.shape, narrow.dtype)
            tape.products.multiply(z, wide.T, slope)
            tape.add_product(self.narrow, x, slope)
            wide = tape.parameters[self.narrow]
        into_x.add_product(tape, slope, wide)
        into_x.add(tape, gradient)


class OwnCrossLayer(Operator):
    """DCN-v2 of rank r on own coordinates of x_0 and x_l: (n, d_own) each; every rank has all samples.

    z = sum over ranks of x_l V, r numbers a sample;  x_{l+1} = x_0 * (z U + b) + x_l on own coordinates
    q = sum over ranks of dz U^T, r numbers a sample;  dx_l = g + q V^T, dV = x_l^T q, dU = z^T dz
    forward and backward are generators, see `nn.lockstep.OverRanks`.
    """

    learns = True

    def __init__(self, layer, own):
        """layer : `CrossLayer` of low rank
        own : numbers of the coordinates that are here"""
        self._layer, self._own = layer, own

    def forward(self, tape, x0, x):
        layer = self._layer
        narrow, wide, bias = (tape.parameters[name] for name in (layer.narrow, layer.wide, layer.bias))
        of_own = tape.array((len(x), layer.rank), x.dtype)
        tape.products.multiply_rows(x, narrow[self._own], of_own)
        z = yield OverRanks(of_own)
        slope, result = (tape.array(x.shape, x.dtype) for _ in range(2))
        tape.products.multiply_rows(z, wide[:, self._own], slope)
        slope += bias[self._own]
        np.multiply(x0, slope, out=result)
        result += x
        return result, (x0, x, z, slope)

    def backward(self, tape, saved, gradient, into_x0, into_x):
        x0, x, z, slope = saved
        layer, own = self._layer, self._own
        narrow, wide = (tape.parameters[name][rows] for name, rows in ((layer.narrow, own), (layer.wide, slice(None))))
        of_slope = gradient * x0
        tape.add(layer.bias, lambda out: of_slope.sum(axis=0, out=out), own)

        def of_wide(out):
            out[...] = 0
            out[:, own] = z.T @ of_slope

        tape.add(layer.wide, of_wide)
        q = yield OverRanks(of_slope @ wide[:, own].T)
        tape.add_product(layer.narrow, x, q, own)
        into_x0.add(tape, gradient * slope)
        into_x.add(tape, gradient + q @ narrow.T)
