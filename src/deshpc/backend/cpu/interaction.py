"""Interactions of embeddings that lie side by side in a sample's row, CPU.  See `nn.pairs`, `nn.dots` and `nn.cross`.

What lies in the rows of a tower's input, which hold more than embeddings, is a `backend.arguments.Matrix` of consecutive columns.
All numbers are of the compute type, that of `form` too.
"""

import numpy as np

from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of, store
from deshpc.backend.cpu.simd import aload, astore, vfma, vsplat, vsum
from deshpc.jit import kernel


@kernel
def sum_fields(form, n_fields, x, total):
    """total (n, k) += the sum of the n_fields embeddings of each row of the Matrix x."""
    lanes, zero, dim = form.lanes, form.zero, form.dim
    size = size_of(zero)
    for i in range(len(total)):
        place = address_of(total, 0) + i * dim * size
        sums = aload(lanes, place)
        for f in range(n_fields):
            sums = sums + aload(lanes, x.address + i * x.row + f * dim * size)
        astore(place, sums)


@kernel
def half_squares(form, total, result):
    """result (n) += |total_i|^2 / 2, of total (n, k)."""
    lanes, zero, dim = form.lanes, form.zero, form.dim
    half = vsplat(lanes, cast(0.5, zero))
    for i in range(len(total)):
        sums = aload(lanes, address_of(total, 0) + i * dim * size_of(zero))
        put(result, i, at(result, i) + vsum(sums * sums * half))


@kernel
def add_to_fields(form, n_fields, upstream, fresh, gradient):
    """gradient_if = (or +=, unless fresh) upstream_i for each of the n_fields embeddings; upstream (n, k), gradient a Matrix."""
    lanes, zero, dim = form.lanes, form.zero, form.dim
    size = size_of(zero)
    for i in range(len(upstream)):
        one = aload(lanes, address_of(upstream, 0) + i * dim * size)
        for f in range(n_fields):
            place = gradient.address + i * gradient.row + f * dim * size
            astore(place, one if fresh else one + aload(lanes, place))


@kernel
def dots(side, n_fields, x, last, by_coordinate, result, column):
    """result[i, column ..] = <e_f, e_h> for all pairs f > h of n_fields + 1 vectors: those of the Matrix x, and `last` (n, k).

    Pairs come in the order (1, 0), (2, 0), (2, 1), ...; result (n, >= column + pairs)
    side : WeightForm of so many vectors side by side
    by_coordinate (k + 1, vectors, up to a multiple of those of `side`) : scratch
    """
    lanes, zero, step = side.lanes, side.zero, side.dim
    dim = last.shape[1]
    size, vectors, padded = size_of(zero), n_fields + 1, by_coordinate.shape[1]
    turned, sums = address_of(by_coordinate, 0), address_of(by_coordinate, dim * padded)
    for i in range(len(last)):
        for f in range(n_fields):
            for c in range(dim):
                put(by_coordinate, c * padded + f, load(x.address + i * x.row + (f * dim + c) * size, zero))
        for c in range(dim):
            put(by_coordinate, c * padded + n_fields, at(last, i * dim + c))
        place = address_of(result, 0) + (i * result.shape[1] + column) * size
        for f in range(1, vectors):
            for begin in range(0, f, step):  # vectors, not coordinates, side by side: no sum across lanes
                total = vsplat(lanes, zero)
                for c in range(dim):
                    one = vsplat(lanes, at(by_coordinate, c * padded + f))
                    total = vfma(aload(lanes, turned + (c * padded + begin) * size), one, total)
                if begin + step <= f:
                    astore(place + begin * size, total)
                else:
                    astore(sums, total)
                    for h in range(f - begin):
                        store(place + (begin + h) * size, load(sums + h * size, zero))
            place += f * size


@kernel
def dots_adjoint(form, n_fields, x, last, upstream, column, gradient, fresh, last_gradient):
    """Adjoint of `dots`: gradient_f (+)= sum_h u_fh e_h for the vectors of x, last_gradient (n, k) += that of `last`.

    x, gradient : Matrix
    """
    lanes, zero, dim = form.lanes, form.zero, form.dim
    size, vectors = size_of(zero), n_fields + 1
    # indexed as arrays are: what `memory.at` reads, the compiler does not count as a use of an array that is made here
    symmetric = np.zeros((vectors, vectors), last.dtype)
    for i in range(len(last)):
        place = column
        for f in range(1, vectors):
            for h in range(f):
                symmetric[f, h] = upstream[i, place + h]
                symmetric[h, f] = upstream[i, place + h]
            place += f
        whole = address_of(last, 0) + i * dim * size
        for f in range(vectors):
            total = aload(lanes, whole) * vsplat(lanes, symmetric[f, n_fields])
            for h in range(n_fields):
                total = vfma(aload(lanes, x.address + i * x.row + h * dim * size), vsplat(lanes, symmetric[f, h]), total)
            if f == n_fields:
                target = address_of(last_gradient, 0) + i * dim * size
                astore(target, total + aload(lanes, target))
            else:
                target = gradient.address + i * gradient.row + f * dim * size
                astore(target, total if fresh else total + aload(lanes, target))


@kernel
def cross(side, x0, x, z, bias, result):
    """z += bias;  result = x0 z + x, of d columns each.

    side : WeightForm of so many numbers side by side
    x0, x : Matrix;  z, result (n, d)
    """
    lanes, zero, step = side.lanes, side.zero, side.dim
    size, d = size_of(zero), z.shape[1]
    for i in range(len(z)):
        of_z, of_result = address_of(z, 0) + i * d * size, address_of(result, 0) + i * d * size
        of_x0, of_x, of_bias = x0.address + i * x0.row, x.address + i * x.row, address_of(bias, 0)
        whole = d // step * step
        for j in range(0, whole * size, step * size):
            one = aload(lanes, of_z + j) + aload(lanes, of_bias + j)
            astore(of_z + j, one)
            astore(of_result + j, vfma(aload(lanes, of_x0 + j), one, aload(lanes, of_x + j)))
        for j in range(whole * size, d * size, size):
            one = load(of_z + j, zero) + load(of_bias + j, zero)
            store(of_z + j, one)
            store(of_result + j, load(of_x0 + j, zero) * one + load(of_x + j, zero))


@kernel
def cross_adjoint(side, x0, z, upstream, bias_sum, gradient, columns, fresh):
    """gradient (+)= upstream z, of the first `columns` columns;  z = upstream x0, bias_sum (d) = its sum over samples.

    x0, gradient : Matrix;  everything else as in `cross`
    """
    lanes, zero, step = side.lanes, side.zero, side.dim
    size, d = size_of(zero), z.shape[1]
    bias_sum[:] = zero
    for i in range(len(z)):
        of_z, of_upstream = address_of(z, 0) + i * d * size, address_of(upstream, 0) + i * d * size
        of_x0, of_gradient, of_bias = x0.address + i * x0.row, gradient.address + i * gradient.row, address_of(bias_sum, 0)
        inside, whole = columns // step * step * size, d // step * step * size
        for j in range(0, whole, step * size):
            g = aload(lanes, of_upstream + j)
            if j < inside:
                slope = g * aload(lanes, of_z + j)
                astore(of_gradient + j, slope if fresh else slope + aload(lanes, of_gradient + j))
            elif j < columns * size:
                for part in range(j, columns * size, size):
                    slope = load(of_upstream + part, zero) * load(of_z + part, zero)
                    store(of_gradient + part, slope if fresh else slope + load(of_gradient + part, zero))
            dz = g * aload(lanes, of_x0 + j)
            astore(of_z + j, dz)
            astore(of_bias + j, aload(lanes, of_bias + j) + dz)
        for j in range(whole, d * size, size):
            g = load(of_upstream + j, zero)
            if j < columns * size:
                slope = g * load(of_z + j, zero)
                store(of_gradient + j, slope if fresh else slope + load(of_gradient + j, zero))
            dz = g * load(of_x0 + j, zero)
            store(of_z + j, dz)
            store(of_bias + j, load(of_bias + j, zero) + dz)


def cross_constants(weights, biases, sums, constants):
    """sums (L + 1, d) = B_0 .. B_L, sums of the biases (L, d) before each layer;  constants (L + 1) = B_l . w_l.

    weights (d, L + 1) : w_0 .. w_{L-1}, w_out
    """
    sums[0] = 0
    np.cumsum(biases, axis=0, out=sums[1:])
    (sums * weights.T).sum(axis=1, out=constants)


def cross_weights_adjoint(sums, constant_sums, of_weights):
    """of_weights (d, L + 1) = the gradient by weights of `cross_constants`."""
    np.multiply(sums.T, constant_sums, out=of_weights)


def cross_biases_adjoint(weights, constant_sums, of_biases):
    """of_biases (L, d) = the gradient by biases of `cross_constants`: b_j is part of B_l for l > j."""
    by_sums = weights.T * constant_sums[:, None]
    np.cumsum(by_sums[:0:-1], axis=0, out=of_biases)
    of_biases[...] = of_biases[::-1].copy()


def half_difference(total, squares):
    """squares = (total^2 - squares) / 2, number by number."""
    np.subtract(total * total, squares, out=squares)
    squares *= 0.5


@kernel
def cross_scalars(zero, products, constants, scalars, logit):
    """DCN-v1 from s_l = x_0 . w_l: scalars[i, l] = a_l and logit[i] = a_L s_out + B_L . w_out.

    products (n, L + 1) : s_0 .. s_{L-1}, s_out
    constants (L + 1) : of `cross_constants`
    scalars (n, L + 1)
    a_0 = 1, a_{l+1} = a_l (1 + s_l) + B_l . w_l
    """
    layers = len(constants) - 1
    for i in range(len(products)):
        a = cast(1, zero)
        scalars[i, 0] = a
        for layer in range(layers):
            a = a * (cast(1, zero) + products[i, layer]) + constants[layer]
            scalars[i, layer + 1] = a
        logit[i] = a * products[i, layers] + constants[layers]


@kernel
def cross_scalars_adjoint(zero, products, scalars, upstream, slopes, constant_sums):
    """slopes (n, L + 1) = the gradient by products;  constant_sums (L + 1) = that by constants."""
    layers = len(constant_sums) - 1
    constant_sums[:] = zero
    for i in range(len(products)):
        g = upstream[i]
        slopes[i, layers] = g * scalars[i, layers]
        constant_sums[layers] += g
        da = g * products[i, layers]
        for back in range(layers):
            layer = layers - 1 - back
            constant_sums[layer] += da
            slopes[i, layer] = da * scalars[i, layer]
            da *= cast(1, zero) + products[i, layer]
