"""Sums and sums of squares of a sample's embeddings, coordinate by coordinate, CPU.  See `ops.bi_interaction`.

Columns of the state (n, width): c, A (k), Q (k).  Arguments are those of `pool`, without fields.
"""

import numpy as np

from deshpc.backend.cpu.ahead import OCCURRENCES, prefetch_record
from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of
from deshpc.backend.cpu.simd import aload, astore, vfma, vload, vsplat, vsum
from deshpc.backend.cpu.sums import accumulate, accumulate_product, add_product, sload
from deshpc.backend.cpu.values import embedding_value, linear_value
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.jit import kernel


@kernel
def partial(form, occurrences, state, scale, begin, end):
    """c += sum w xl, A += sum v x, Q += sum v^2 x^2 over own occurrences of samples begin .. end."""
    lanes, number, zero, dim = form.lanes, form.number, form.zero, form.dim
    offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
    width, last = state.shape[1], len(local) - 1
    lines = (EMBEDDING + dim * size_of(form.element) + CACHE_LINE - 1) // CACHE_LINE
    size = size_of(at(state, 0))
    for i in range(begin, end):
        scalar, place = at(state, i * width), address_of(state, 0) + (i * width + 1) * size
        total, squares = sload(lanes, place), sload(lanes, place + dim * size)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            prefetch_record(at(addresses, np.int64(at(local, min(j + OCCURRENCES, last)))), lines)
            record = at(addresses, np.int64(at(local, j)))
            v = vload(lanes, record + EMBEDDING) * vsplat(lanes, embedding_value(values, j, zero))
            total = accumulate(total, v, scale)
            squares = accumulate_product(squares, v, v, scale)
            weight = cast(load(record + EMBEDDING - size_of(number), number), zero)
            scalar = accumulate_product(scalar, weight, linear_value(values, j, zero), scale)
        put(state, i * width, scalar)
        astore(place, total)
        astore(place + dim * size, squares)


@kernel
def partial_adjoint(form, occurrences, state, sums, scale):
    """vector[c] += x dA + 2 x^2 v dQ, scalar[c] += g xl of the Sums, for every own occurrence of distinct key c."""
    lanes, zero, dim = form.lanes, form.zero, form.dim
    offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
    vectors, sum_bytes, size = address_of(sums.vector, 0), dim * size_of(at(sums.vector, 0)), size_of(zero)
    width, two = state.shape[1], cast(2, zero)
    for i in range(len(offsets) - 1):
        g, place = at(state, i * width), address_of(state, 0) + (i * width + 1) * size
        of_total, of_squares = aload(lanes, place), aload(lanes, place + dim * size)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            x = embedding_value(values, j, zero)
            v = vload(lanes, at(addresses, c) + EMBEDDING)
            slope = vfma(v * vsplat(lanes, two * x), of_squares, of_total)
            target = vectors + c * sum_bytes
            astore(target, accumulate_product(sload(lanes, target), slope, vsplat(lanes, x), scale))
            add_product(sums.scalar, c, g, linear_value(values, j, zero), scale)


@kernel
def magnitude(form, occurrences):
    """(largest sum of |terms| of a sample's partial over the own occurrences, that sample); the first NaN wins.

    Bounds: sum |w xl|, sum |v| |x| and sum |v|^2 x^2, with |v| the embedding's norm.
    """
    lanes, number = form.lanes, form.number
    offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
    worst, where = 0.0, 0
    for i in range(len(offsets) - 1):
        total, squares, scalar = 0.0, 0.0, 0.0
        for j in range(at(offsets, i), at(offsets, i + 1)):
            record = at(addresses, np.int64(at(local, j)))
            v = vload(lanes, record + EMBEDDING)
            x, xl = embedding_value(values, j, 0.0), linear_value(values, j, 0.0)
            square = np.float64(vsum(v * v)) * x * x
            squares += square
            total += np.sqrt(square)
            scalar += abs(np.float64(load(record + EMBEDDING - size_of(number), number)) * xl)
        size = max(total, max(squares, scalar))
        whole = squares + scalar
        if whole != whole or not size <= worst:
            worst, where = whole if whole != whole else size, i
            if worst != worst:
                break
    return worst, where
