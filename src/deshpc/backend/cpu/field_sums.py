"""Sums S_f of a field-aware factorization machine that travel, and the pairs of complete ones, CPU.  See `ops.field_sums`, `nn.field_aware`.

Columns of a state (n, width): c at 0, S_f of field f at columns[f] .. columns[f] + G k, its vectors side by side.  Formulas are those of
`backend.cpu.ffm`; what lies in the rows of a tower's input is a `backend.arguments.Matrix`.
"""

import numpy as np

from deshpc.backend.cpu.ahead import prefetch_record
from deshpc.backend.cpu.ffm import FOUR as FOUR
from deshpc.backend.cpu.ffm import add_others, pairs_before
from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of, store
from deshpc.backend.cpu.simd import aload, astore, vfma, vload, vsplat, vsum
from deshpc.backend.cpu.sums import add_product
from deshpc.backend.cpu.values import embedding_value, linear_value
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.jit import kernel

AHEAD = 8  # occurrences between asking for a row and reading it


@kernel
def partial(pair, vectors, linear, occurrences, columns, state, begin, end, cleared):
    """S_f += sum v x, c += sum (w xl if linear, - |v_f|^2 x^2 / 2) over own occurrences of samples begin .. end.

    pair : WeightForm of one vector
    vectors : G
    columns : (F) int64
    state : (n, width) of the compute type
    cleared : numbers of a sample, from its first on, that are set to zero before
    """
    lanes, number, zero, dim = pair.lanes, pair.number, pair.zero, pair.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields = occurrences.addresses, occurrences.fields
    width, last, size, half = state.shape[1], len(local) - 1, size_of(zero), cast(0.5, zero)
    lines = (EMBEDDING + vectors * dim * size_of(number) + CACHE_LINE - 1) // CACHE_LINE
    for i in range(begin, end):
        sample, scalar = address_of(state, 0) + i * width * size, zero
        for c in range(i * width, i * width + cleared):
            put(state, c, zero)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            prefetch_record(at(addresses, np.int64(at(local, min(j + AHEAD, last)))), lines)
            c = np.int64(at(local, j))
            record, f, x = at(addresses, c), np.int64(at(fields, c)), embedding_value(values, j, zero)
            row, sums, many = record + EMBEDDING, sample + at(columns, f) * size, vsplat(lanes, x)
            for g in range(vectors):
                place = sums + g * dim * size
                astore(place, vfma(vload(lanes, row + g * dim * size_of(number)), many, aload(lanes, place)))
            v = vload(lanes, row + f * dim * size_of(number)) * many
            scalar -= half * vsum(v * v)
            if linear:
                scalar += cast(load(record + EMBEDDING - size_of(number), number), zero) * linear_value(values, j, zero)
        put(state, i * width, at(state, i * width) + scalar)


@kernel
def partial_adjoint(pair, vectors, occurrences, columns, state, sums):
    """For every own occurrence of distinct key c: vector[c] += x dS_f, and - z x^2 v_f to its f-th, scalar[c] += z xl of the Sums.

    state : (n, width) of the compute type holds z = dc and dS
    """
    lanes, zero, dim = pair.lanes, pair.zero, pair.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields = occurrences.addresses, occurrences.fields
    width, step = state.shape[1], dim * size_of(zero)
    for i in range(len(offsets) - 1):
        sample, z = address_of(state, 0) + i * width * size_of(zero), at(state, i * width)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            f, x = np.int64(at(fields, c)), embedding_value(values, j, zero)
            place, upstream, many = address_of(sums.vector, 0) + c * vectors * step, sample + at(columns, f) * size_of(zero), vsplat(lanes, x)
            for g in range(vectors):
                astore(place + g * step, vfma(aload(lanes, upstream + g * step), many, aload(lanes, place + g * step)))
            v = vload(lanes, at(addresses, c) + EMBEDDING + f * dim * size_of(pair.number))
            own = place + f * step
            astore(own, vfma(v, vsplat(lanes, -z * x * x), aload(lanes, own)))
            add_product(sums.scalar, c, z, linear_value(values, j, zero), 1.0)


@kernel(inline=True)
def take(vectors, sums, dense, factors, room, i):
    """Fill `room` with all fields of sample i."""
    lanes, zero, fields, n_dense = vectors.one.lanes, vectors.one.zero, len(room.addresses), len(factors)
    step = vectors.one.dim * size_of(zero)
    for f in range(fields - n_dense):
        put(room.addresses, f, sums.address + i * sums.row + f * fields * step)
        astore(address_of(room.factors, 0) + f * step, vsplat(lanes, cast(1, zero)))
    for d in range(n_dense):
        f = fields - n_dense + d
        put(room.addresses, f, address_of(factors, 0) + d * fields * step)
        astore(address_of(room.factors, 0) + f * step, vsplat(lanes, load(dense.address + i * dense.row + d * dense.column, zero)))


@kernel
def pairs(vectors, sums, dense, factors, room, result):
    """result (n) = the pairs of complete sums, dense features among them, but for what c has.

    sums : Matrix (n, F G k);  dense : Matrix (n, n_dense);  factors (n_dense, G k);  room : Room, all of the compute type
    """
    lanes, zero, fields = vectors.one.lanes, vectors.one.zero, len(room.addresses)
    step = vectors.one.dim * size_of(zero)
    for i in range(len(result)):
        take(vectors, sums, dense, factors, room, i)
        own, total = vsplat(lanes, zero), zero
        for f in range(fields):
            total += pairs_before(vectors, room, f)
            if f < fields - len(factors):
                v = aload(lanes, at(room.addresses, f) + f * step)
                own = vfma(v, v, own)
        put(result, i, total + cast(0.5, zero) * vsum(own))


@kernel
def pairs_adjoint(vectors, sums, dense, factors, room, upstream, gradient, fresh, factor_sums):
    """gradient (+)= that by the sums, a Matrix like them;  factor_sums (n_dense, G k) = that by the factors.

    upstream : (n), the gradient by the result
    """
    lanes, zero, fields = vectors.one.lanes, vectors.one.zero, len(room.addresses)
    step = vectors.one.dim * size_of(zero)
    n_fields, width = fields - len(factors), fields * step
    for i in range(len(factors) * fields * vectors.one.dim):
        put(factor_sums, i, zero)
    for i in range(len(upstream)):
        z = at(upstream, i)
        take(vectors, sums, dense, factors, room, i)
        for f in range(n_fields):
            target = gradient.address + i * gradient.row + f * width
            if fresh:
                for g in range(0, width, size_of(zero)):
                    store(target + g, zero)
            add_others(vectors, room, f, z, target)
            own = target + f * step
            astore(own, vfma(aload(lanes, at(room.addresses, f) + f * step), vsplat(lanes, z), aload(lanes, own)))
        for d in range(len(factors)):
            f = n_fields + d
            add_others(vectors, room, f, z * at(room.factors, f * vectors.one.dim), address_of(factor_sums, 0) + d * width)
