"""Factorization machine, CPU: partial (A, c), adjoint by sums per key.  See `ops.fm`.

An occurrence multiplies its embedding by x and its linear weight by xl, see `backend.values`.  Arguments that go together are
those of `backend.arguments`.
Columns of the state (n, width): A at column .. column + k, then c.  The gradient of v_j is sum(g x A) - v_j sum(g x^2): the
backward pass adds g x A and g x^2 per key without reading a row; the update, which reads it anyway, subtracts.
"""

import math

import numpy as np

from deshpc.backend.cpu.ahead import OCCURRENCES, prefetch_new_rows, prefetch_record
from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of
from deshpc.backend.cpu.simd import aload, astore, vfma, vload, vsplat, vsum
from deshpc.backend.cpu.sums import accumulate, accumulate_product, add_product, sload, szero
from deshpc.backend.cpu.values import embedding_value, linear_value
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.jit import kernel

BLOCK = 16  # samples that a dense feature's gradient is summed over at a time


@kernel
def partial(form, occurrences, state, column, scale):
    """A_i = sum v x and c_i = sum (w xl - |v|^2 x^2 / 2) over sample i's own occurrences.

    state : (n, width) of the accumulation type
    scale : float64, of fixed-point sums
    """
    lanes, number, zero, dim = form.lanes, form.number, form.zero, form.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, in_order = occurrences.addresses, occurrences.in_order
    width, last = state.shape[1], len(local) - 1
    lines = (EMBEDDING + dim * size_of(form.element) + CACHE_LINE - 1) // CACHE_LINE
    half = cast(0.5, zero)
    halves = vsplat(lanes, half)
    nothing = cast(0, at(state, 0))
    row, size = address_of(state, 0) + column * size_of(nothing), size_of(nothing)
    asked, highest = 0, -1
    for i in range(len(offsets) - 1):
        if in_order:
            asked = prefetch_new_rows(addresses, lines, asked, highest)
        total, squares, scalar = szero(lanes), szero(lanes), nothing
        for j in range(at(offsets, i), at(offsets, i + 1)):
            if not in_order:
                prefetch_record(at(addresses, np.int64(at(local, min(j + OCCURRENCES, last)))), lines)
            c = np.int64(at(local, j))
            highest = max(highest, c)
            record = at(addresses, c)
            v = vload(lanes, record + EMBEDDING) * vsplat(lanes, embedding_value(values, j, zero))
            weight = cast(load(record + EMBEDDING - size_of(number), number), zero)
            scalar = accumulate_product(scalar, weight, linear_value(values, j, zero), scale)
            total = accumulate(total, v, scale)
            squares = accumulate_product(squares, v, v * halves, scale)
        astore(row + i * width * size, total)
        put(state, i * width + column + dim, scalar - vsum(squares))


@kernel
def finish(form, state, column, dense, weights, factors, logit, begin, end):
    """logit[i] += c + |A|^2 / 2 with the dense features' own terms added to A and c, samples begin .. end.

    state : (n, width) of the compute type; A in it is completed by the dense features, as the adjoint needs it
    dense : (n, n_dense) float32
    weights, factors : (n_dense) and (n_dense, k) of the compute type
    """
    lanes, zero, dim = form.lanes, form.zero, form.dim
    width, n_dense = state.shape[1], len(weights)
    half = cast(0.5, zero)
    row = address_of(state, 0) + column * size_of(zero)
    factor = address_of(factors, 0)
    for i in range(begin, end):
        place = row + i * width * size_of(zero)
        total = aload(lanes, place)
        scalar = at(state, i * width + column + dim)
        squares = vsplat(lanes, zero)
        for f in range(n_dense):
            x = cast(at(dense, i * n_dense + f), zero)
            v = aload(lanes, factor + f * dim * size_of(zero)) * vsplat(lanes, x)
            total = total + v
            squares = vfma(v, v, squares)
            scalar += x * at(weights, f)
        if n_dense:
            astore(place, total)
        put(logit, i, at(logit, i) + scalar + half * vsum(total * total - squares))


@kernel
def finish_adjoint(form, state, column, dense, factors, gradient, weight_sums, factor_sums, scale, parts):
    """Turn the state into its gradient (g A, g) and add up the dense features' gradients, for some Parts of the samples.

    weight_sums : (parts, n_dense) += g x
    factor_sums : (parts, n_dense, k) += g x (A - v x), v : factors (n_dense, k)
    scale : of these sums in fixed point; they have the accumulation type
    """
    lanes, zero, dim = form.lanes, form.zero, form.dim
    width, edges = state.shape[1], parts.edges
    n_dense, size = weight_sums.shape[1], size_of(zero)
    row, factor = address_of(state, 0) + column * size, address_of(factors, 0)
    sum_bytes = dim * size_of(at(factor_sums, 0))
    for p in range(parts.begin, parts.end):
        slots = address_of(factor_sums, 0) + p * n_dense * sum_bytes
        for begin in range(at(edges, p), at(edges, p + 1), BLOCK):
            end = min(begin + BLOCK, at(edges, p + 1))
            for f in range(n_dense):  # a block of samples for each feature: its sums stay in registers
                v = aload(lanes, factor + f * dim * size)
                total, weight = sload(lanes, slots + f * sum_bytes), at(weight_sums, p * n_dense + f)
                for i in range(begin, end):
                    x, g = cast(at(dense, i * n_dense + f), zero), at(gradient, i)
                    others = vfma(v, vsplat(lanes, -x), aload(lanes, row + i * width * size))
                    total = accumulate_product(total, others, vsplat(lanes, g * x), scale)
                    weight = accumulate_product(weight, g, x, scale)
                astore(slots + f * sum_bytes, total)
                put(weight_sums, p * n_dense + f, weight)
            for i in range(begin, end):
                g, place = at(gradient, i), row + i * width * size
                astore(place, aload(lanes, place) * vsplat(lanes, g))
                put(state, i * width + column + dim, g)


@kernel
def partial_adjoint(form, occurrences, state, column, sums, scale):
    """For every own occurrence of distinct key c: scalar[c] += g xl, vector[c] += g x A, square[c] += g x^2 of the Sums.

    state : (n, width) of the compute type holds (g A, g)
    The square sums are None where values are: they would equal the scalar ones.
    """
    lanes, zero, dim = form.lanes, form.zero, form.dim
    offsets, local, values, width = occurrences.offsets, occurrences.local, occurrences.values, state.shape[1]
    row = address_of(state, 0) + column * size_of(zero)
    vectors, size = address_of(sums.vector, 0), dim * size_of(at(sums.scalar, 0))
    for i in range(len(offsets) - 1):
        upstream = aload(lanes, row + i * width * size_of(zero))
        g = at(state, i * width + column + dim)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            place = vectors + c * size
            x, xl = embedding_value(values, j, zero), linear_value(values, j, zero)
            astore(place, accumulate_product(sload(lanes, place), upstream, vsplat(lanes, x), scale))
            add_product(sums.scalar, c, g, xl, scale)
            add_product(sums.square, c, g * x, x, scale)


@kernel
def magnitude(form, occurrences):
    """(largest sum of |terms| of a sample's partial over the own occurrences, that sample); the first NaN wins.

    Of the k + 1 sums of a sample: |w xl| + |v|^2 x^2 / 2 and, as a bound of all of A, the root of |v|^2 x^2.
    """
    lanes, number = form.lanes, form.number
    offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
    worst, where = 0.0, 0
    for i in range(len(offsets) - 1):
        total, scalar = 0.0, 0.0
        for j in range(at(offsets, i), at(offsets, i + 1)):
            record = at(addresses, np.int64(at(local, j)))
            v = vload(lanes, record + EMBEDDING)
            x, xl = embedding_value(values, j, 0.0), linear_value(values, j, 0.0)
            square = np.float64(vsum(v * v)) * x * x
            total += math.sqrt(square)
            scalar += abs(np.float64(load(record + EMBEDDING - size_of(number), number)) * xl) + 0.5 * square
        size = max(total, scalar)
        if scalar != scalar or not size <= worst:
            worst, where = scalar if scalar != scalar else size, i
            if worst != worst:
                break
    return worst, where


@kernel
def largest_term(form, state, column, gradient, factors, largest_values, begin, end):
    """(bound of the |terms| of the sums of gradients over samples begin .. end, that sample); the first NaN wins.

    Terms are g xl, g x A, g x^2 of keys, g x (A - v x) of dense features.

    state : (n, width) holds A, of which this is read
    gradient : (n)
    largest_values : (end - begin) float64, the largest |x| or |xl| of each sample
    """
    dim, width, largest_factor = form.dim, state.shape[1], 0.0
    for f in range(len(factors)):
        for c in range(dim):
            largest_factor = max(largest_factor, abs(float(factors[f, c])))
    worst, where = 0.0, begin
    for i in range(begin, end):
        x = max(1.0, at(largest_values, i - begin))
        total = x
        for c in range(dim):
            total = max(total, abs(float(at(state, i * width + column + c))))
        term = abs(float(at(gradient, i))) * x * (total + x * largest_factor)
        if not term <= worst:
            worst, where = term, i
            if worst != worst:
                break
    return worst, where
