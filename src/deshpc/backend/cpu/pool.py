"""Embeddings of a sample added up field by field, CPU.  See `ops.pool`.

Columns of the state (n, width): c at 0 if there is one, the sum E_f of field f at columns[f] .. columns[f] + k.  An occurrence
multiplies its embedding by x and its linear weight by xl, see `backend.values`.  Arguments that go together are those of
`backend.arguments`.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.ahead import OCCURRENCES, prefetch_record
from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of
from deshpc.backend.cpu.simd import aload, astore, vload, vsplat, vsum
from deshpc.backend.cpu.sums import accumulate, accumulate_product, add_product, sload
from deshpc.backend.cpu.values import embedding_value, linear_value
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.jit import kernel


def seat_of(fields, seats, c, j):
    """Which of its sample's embeddings occurrence j, of distinct row c, is added to; inside kernels only."""
    raise TypeError("seat_of works inside kernels")


@overload(seat_of, inline="always")
def _seat_of(fields, seats, c, j):
    if isinstance(seats, types.NoneType):
        return lambda fields, seats, c, j: np.int64(at(fields, c))
    return lambda fields, seats, c, j: np.int64(at(seats, j))


@kernel
def clear(state, columns, begin, end):
    """Set the first `columns` numbers of samples begin .. end to zero."""
    for i in range(begin, end):
        for c in range(columns):
            state[i, c] = 0


@kernel
def partial(form, linear, squares, occurrences, columns, state, scale, begin, end, cleared=0):
    """E_f += sum v x, c += sum (w xl if linear, - |v|^2 x^2 / 2 if squares) over own occurrences of samples begin .. end.

    columns : (F) int64
    state : (n, width) of the accumulation type
    scale : float64, of fixed-point sums
    cleared : numbers of a sample, from its first on, that are set to zero before
    """
    lanes, number, zero, dim = form.lanes, form.number, form.zero, form.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields, seats = occurrences.addresses, occurrences.fields, occurrences.seats
    width, last = state.shape[1], len(local) - 1
    lines = (EMBEDDING + dim * size_of(form.element) + CACHE_LINE - 1) // CACHE_LINE
    halves = vsplat(lanes, cast(0.5, zero))
    nothing = cast(0, at(state, 0))
    size = size_of(nothing)
    base = address_of(state, 0)
    for i in range(begin, end):
        row, scalar = base + i * width * size, nothing
        for c in range(i * width, i * width + cleared):
            put(state, c, nothing)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            prefetch_record(at(addresses, np.int64(at(local, min(j + OCCURRENCES, last)))), lines)
            c = np.int64(at(local, j))
            record = at(addresses, c)
            v = vload(lanes, record + EMBEDDING) * vsplat(lanes, embedding_value(values, j, zero))
            place = row + at(columns, seat_of(fields, seats, c, j)) * size
            astore(place, accumulate(sload(lanes, place), v, scale))
            if linear:
                weight = cast(load(record + EMBEDDING - size_of(number), number), zero)
                scalar = accumulate_product(scalar, weight, linear_value(values, j, zero), scale)
            if squares:
                scalar = accumulate(scalar, -vsum(v * v * halves), scale)
        if linear or squares:
            put(state, i * width, at(state, i * width) + scalar)


@kernel
def partial_adjoint(form, occurrences, columns, state, sums, scale):
    """For every own occurrence of distinct key c: vector[c] += x dE_f, scalar[c] += g xl, square[c] += g x^2 of the Sums.

    state : (n, width) of the compute type holds g = dc and dE
    """
    lanes, zero, dim = form.lanes, form.zero, form.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    fields, seats = occurrences.fields, occurrences.seats
    base, vectors, width = address_of(state, 0), address_of(sums.vector, 0), state.shape[1]
    size, sum_bytes = size_of(zero), dim * size_of(at(sums.vector, 0))
    for i in range(len(offsets) - 1):
        row, g = base + i * width * size, at(state, i * width)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            x, place = embedding_value(values, j, zero), vectors + c * sum_bytes
            upstream = aload(lanes, row + at(columns, seat_of(fields, seats, c, j)) * size)
            astore(place, accumulate_product(sload(lanes, place), upstream, vsplat(lanes, x), scale))
            add_product(sums.scalar, c, g, linear_value(values, j, zero), scale)
            add_product(sums.square, c, g * x, x, scale)


@kernel
def magnitude(form, linear, squares, n_fields, occurrences):
    """(largest sum of |terms| of a sample's partial over the own occurrences, that sample); the first NaN wins.

    Of each field sum |v| |x| with |v| the embedding's norm, and of c the sum of |w xl| and |v|^2 x^2 / 2.
    """
    lanes, number = form.lanes, form.number
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields, seats = occurrences.addresses, occurrences.fields, occurrences.seats
    worst, where = 0.0, 0
    of_field = np.zeros(n_fields)
    for i in range(len(offsets) - 1):
        scalar, largest = 0.0, 0.0
        of_field[:] = 0.0
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            record = at(addresses, c)
            v = vload(lanes, record + EMBEDDING)
            x, xl = embedding_value(values, j, 0.0), linear_value(values, j, 0.0)
            square = np.float64(vsum(v * v)) * x * x
            f = seat_of(fields, seats, c, j)
            of_field[f] += np.sqrt(square)
            largest = max(largest, of_field[f])
            scalar += square * 0.5 if squares else 0.0 * square
            if linear:
                scalar += abs(np.float64(load(record + EMBEDDING - size_of(number), number)) * xl)
        size = max(largest, scalar)
        if scalar != scalar or not size <= worst:
            worst, where = scalar if scalar != scalar else size, i
            if worst != worst:
                break
    return worst, where


@kernel
def largest_term(gradient, width, largest_values, begin, end):
    """(bound of the |terms| of the sums of gradients over samples begin .. end, that sample); the first NaN wins.

    gradient : (n, >= width), of the states
    largest_values : (end - begin) float64, the largest |x| or |xl| of each sample
    Terms are x dE, g xl and g x^2.
    """
    worst, where = 0.0, begin
    for i in range(begin, end):
        x = max(1.0, at(largest_values, i - begin))
        total = 0.0
        for c in range(width):
            number = abs(float(gradient[i, c]))
            if not number <= total:
                total = number
                if number != number:
                    break
        term = total * x * x
        if not term <= worst:
            worst, where = term, i
            if worst != worst:
                break
    return worst, where
