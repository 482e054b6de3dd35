"""Field-aware factorization machine, CPU: a sample's pairs from the rows where they lie, and their gradients.  See `ops.ffm`.

A row has G vectors of k numbers, v_g for every field g: those that become keys, then the dense features, whose rows are `factors`.
S_f = sum x v over the occurrences of field f is, where there is one alone, its row where it lies, and x beside it; otherwise it is added up in a
`Room`.  So one-hot fields are read in place, and nothing is copied.

    pairs          sum over f < g of <S_f g, S_g f>, and of each field f   1/2 (|S_f f|^2 - sum of x^2 |v_f|^2 over its occurrences)
    dv_g           z x S_g f of an occurrence of field f, g another field;  dv_f = z x (S_f f - x v_f)

z is the gradient by the logit.  `pair` is the WeightForm of one vector; the numbers of a row are G times as many.  Arguments that go together are those of
`backend.arguments`.
"""

import numpy as np

from deshpc.backend.cpu.ahead import prefetch_record
from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of
from deshpc.backend.cpu.simd import aload, astore, vfma, vload, vsplat, vsum
from deshpc.backend.cpu.sums import add_product
from deshpc.backend.cpu.values import copy_value, embedding_value, linear_value
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.jit import kernel

AHEAD = 8  # occurrences between asking for a row and reading it


@kernel
def collect(pair, linear, occurrences, terms, places, state, begin, end):
    """Write the own occurrences of samples begin .. end to Terms, of each from places[i] on, which moves on; state[i] += their w xl, if linear.

    state : (n, 1) of the compute type
    """
    number, zero = pair.number, pair.zero
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields = occurrences.addresses, occurrences.fields
    first, last = at(offsets, 0), len(local) - 1
    for i in range(begin, end):
        place, scalar = at(places, i), at(state, i)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            prefetch_record(at(addresses, np.int64(at(local, min(j + 4 * AHEAD, last)))), 1)
            c = np.int64(at(local, j))
            record = at(addresses, c)
            put(terms.addresses, place, record + EMBEDDING)
            put(terms.fields, place, at(fields, c))
            copy_value(values, j, terms.values, place)
            if linear:
                scalar += cast(load(record + EMBEDDING - size_of(number), number), zero) * linear_value(values, j, zero)
            place += 1
        put(places, i, place)
        put(state, i, scalar)


@kernel
def add_up(pair, terms, dense, factors, room, i, ahead):
    """Fill `room` with S_f of sample i; returns (fields that are there, 1/2 (|S_f f|^2 - sum of x^2 |v_f|^2) over those of several keys).

    ahead : cache lines of a row that are asked for
    """
    lanes, zero, dim = pair.lanes, pair.zero, pair.dim
    vectors, n_dense = len(room.addresses), dense.shape[1]
    n_fields, size = vectors - n_dense, size_of(zero)
    in_place = size_of(pair.number) == size
    for a in range(at(room.fields, vectors)):
        put(room.counts, np.int64(at(room.fields, a)), np.int32(0))
    n, own, half, last = 0, zero, cast(0.5, zero), len(terms.fields) - 1
    for j in range(at(terms.offsets, i), at(terms.offsets, i + 1)):
        if ahead:
            prefetch_record(at(terms.addresses, min(j + AHEAD, last)), ahead)
        f, row, x = np.int64(at(terms.fields, j)), at(terms.addresses, j), embedding_value(terms.values, j, zero)
        count = at(room.counts, f)
        sums = address_of(room.sums, 0) + f * vectors * dim * size
        if count == 0:
            put(room.fields, n, f)
            n += 1
        if count == 0 and in_place:
            put(room.addresses, f, row)
            put(room.factors, f, x)
        else:
            many = vsplat(lanes, x)
            if count == 0:
                for g in range(vectors):
                    astore(sums + g * dim * size, vload(lanes, row + g * dim * size_of(pair.number)) * many)
            elif count == 1 and in_place:
                before = vsplat(lanes, at(room.factors, f))
                for g in range(vectors):
                    place = g * dim * size
                    astore(sums + place, vfma(aload(lanes, at(room.addresses, f) + place), before, vload(lanes, row + place) * many))
                v = aload(lanes, at(room.addresses, f) + f * dim * size) * before
                own -= half * vsum(v * v)
            else:
                if count == 1:
                    v = aload(lanes, sums + f * dim * size)
                    own -= half * vsum(v * v)
                for g in range(vectors):
                    place = sums + g * dim * size
                    astore(place, vfma(vload(lanes, row + g * dim * size_of(pair.number)), many, aload(lanes, place)))
            if count:
                v = vload(lanes, row + f * dim * size_of(pair.number)) * many
                own -= half * vsum(v * v)
            put(room.addresses, f, sums)
            put(room.factors, f, cast(1, zero))
        put(room.counts, f, np.int32(count + 1))
    for a in range(n):
        f = at(room.fields, a)
        if at(room.counts, f) > 1:
            v = aload(lanes, at(room.addresses, f) + f * dim * size)
            own += half * vsum(v * v)
    for d in range(n_dense):
        put(room.fields, n, n_fields + d)
        put(room.counts, n_fields + d, np.int32(1))
        put(room.addresses, n_fields + d, address_of(factors, 0) + d * vectors * dim * size)
        put(room.factors, n_fields + d, cast(at(dense, i * n_dense + d), zero))
        n += 1
    put(room.fields, vectors, n)
    return n, own


@kernel(inline=True)
def pairs(pair, room, n):
    """Sum over pairs of the n fields that are there, of the compute type."""
    lanes, zero, step = pair.lanes, pair.zero, pair.dim * size_of(pair.zero)
    total = vsplat(lanes, zero)
    for a in range(1, n):
        f = at(room.fields, a)
        row, column = at(room.addresses, f), f * step
        even, odd = vsplat(lanes, zero), vsplat(lanes, zero)  # two sums, which do not wait for each other
        for b in range(0, a - 1, 2):
            g, h = at(room.fields, b), at(room.fields, b + 1)
            one = aload(lanes, row + g * step) * vsplat(lanes, at(room.factors, g))
            other = aload(lanes, row + h * step) * vsplat(lanes, at(room.factors, h))
            even = vfma(one, aload(lanes, at(room.addresses, g) + column), even)
            odd = vfma(other, aload(lanes, at(room.addresses, h) + column), odd)
        if a % 2:
            g = at(room.fields, a - 1)
            one = aload(lanes, row + g * step) * vsplat(lanes, at(room.factors, g))
            even = vfma(one, aload(lanes, at(room.addresses, g) + column), even)
        total = vfma(even + odd, vsplat(lanes, at(room.factors, f)), total)
    return vsum(total)


@kernel
def partial(pair, terms, dense, factors, room, state, begin, end):
    """state[i] += the pairs of samples begin .. end.

    terms : Terms of all occurrences
    dense : (n, n_dense) float32
    factors : (n_dense, G k) of the compute type
    room : Room
    state : (n, 1) of the compute type
    """
    dim = pair.dim
    lines = (len(room.addresses) * dim * size_of(pair.number) + CACHE_LINE - 1) // CACHE_LINE
    for i in range(begin, end):
        n, own = add_up(pair, terms, dense, factors, room, i, lines)
        put(state, i, at(state, i) + own + pairs(pair, room, n))


@kernel(inline=True)
def add_others(pair, room, n, f, factor, sums):
    """sums_g += factor S_g f for the n fields g that are there, but for f itself."""
    lanes, step = pair.lanes, pair.dim * size_of(pair.zero)
    own = aload(lanes, sums + f * step)
    for b in range(n):
        g = at(room.fields, b)
        other = aload(lanes, at(room.addresses, g) + f * step)
        place = sums + g * step
        astore(place, vfma(other, vsplat(lanes, factor * at(room.factors, g)), aload(lanes, place)))
    astore(sums + f * step, own)


@kernel
def partial_adjoint(pair, occurrences, terms, dense, factors, room, state, sums):
    """For every own occurrence of distinct key c: scalar[c] += z xl, vector[c] += the gradient of its vectors, of the Sums.

    state : (n, 1) of the compute type holds z
    """
    lanes, zero, dim = pair.lanes, pair.zero, pair.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields = occurrences.addresses, occurrences.fields
    step = dim * size_of(zero)
    for i in range(len(offsets) - 1):
        if at(offsets, i) == at(offsets, i + 1):
            continue
        z = at(state, i)
        n, _ = add_up(pair, terms, dense, factors, room, i, 0)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            f, x = np.int64(at(fields, c)), embedding_value(values, j, zero)
            place = address_of(sums.vector, 0) + c * len(room.addresses) * step
            add_others(pair, room, n, f, z * x, place)
            if at(room.counts, f) > 1:
                v = vload(lanes, at(addresses, c) + EMBEDDING + f * dim * size_of(pair.number))
                others = vfma(v, vsplat(lanes, -x), aload(lanes, at(room.addresses, f) + f * step))
                astore(place + f * step, vfma(others, vsplat(lanes, z * x), aload(lanes, place + f * step)))
            add_product(sums.scalar, c, z, linear_value(values, j, zero), 1.0)


@kernel
def factors_adjoint(pair, terms, dense, factors, room, state, sums, begin, end):
    """sums (n_dense, G k) += the gradients of the dense features' vectors, of samples begin .. end.  state : as of `partial_adjoint`"""
    step, n_dense = pair.dim * size_of(pair.zero), dense.shape[1]
    vectors = len(room.addresses)
    for i in range(begin, end):
        n, _ = add_up(pair, terms, dense, factors, room, i, 0)
        for d in range(n_dense):
            f = vectors - n_dense + d
            add_others(pair, room, n, f, at(state, i) * at(room.factors, f), address_of(sums, 0) + d * vectors * step)
