"""Field-aware factorization machine, CPU: a sample's pairs from the rows where they lie, and their gradients.  See `ops.ffm`.

A row has G vectors of k numbers, v_g for every field g: those that become keys, then the dense features, whose rows are `factors`.
S_f = sum x v over the occurrences of field f is, where there is one alone, its row where it lies, and x beside it; otherwise it is added up in a
`Room`.  So one-hot fields are read in place, and nothing is copied.

    pairs          sum over f < g of <S_f g, S_g f>, and of each field f   1/2 (|S_f f|^2 - sum of x^2 |v_f|^2 over its occurrences)
    dv_g           z x S_g f of an occurrence of field f, g another field;  dv_f = z x (S_f f - x v_f)

z is the gradient by the logit.  Vectors of four fields g, which lie side by side in the row of one field and apart in the rows of four, are worked on at
once.  A field that is not there has zeros, so whoever is there meets all G.  Arguments that go together are those of `backend.arguments`.
"""

import numpy as np

from deshpc.backend.arguments import Terms
from deshpc.backend.cpu.ahead import prefetch_record
from deshpc.backend.cpu.memory import address_of, at, cast, load, put, size_of
from deshpc.backend.cpu.simd import aload, astore, vfma, vjoin, vload, vsplat, vsum
from deshpc.backend.cpu.sums import add_product
from deshpc.backend.cpu.values import copy_value, embedding_value, linear_value
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.backend.values import value_shape
from deshpc.jit import kernel

AHEAD = 32  # occurrences between asking for a row's linear weight and reading it
FOUR = 4  # vectors that are worked on at once


def new_terms(vectors, fields, n_dense, linear, shards, samples, buffers):
    """(Terms of all shards' Occurrences for `collect` to fill, (samples) int64 where each sample's begin), in scratch arrays of `buffers`."""
    offsets = buffers.array("offsets", samples + 1, np.int64)
    offsets.fill(0)
    for occurrences in shards:
        offsets += occurrences.offsets
        offsets -= occurrences.offsets[0]
    places, count, values = buffers.array("places", samples, np.int64), int(offsets[-1]), shards[0].values
    places[:] = offsets[:-1]
    if values is not None:
        values = buffers.array("values", value_shape(values, count), np.float32)
    addresses, of_field = buffers.array("addresses", count, np.int64), buffers.array("fields", count, np.uint16)
    return Terms(offsets, addresses, of_field, values), places


@kernel
def collect(vectors, linear, occurrences, terms, places, state, begin, end):
    """Write the own occurrences of samples begin .. end to Terms, of each from places[i] on, which moves on; state[i] += their w xl, if linear.

    state : (n, 1) of the compute type
    """
    number, zero = vectors.one.number, vectors.one.zero
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields = occurrences.addresses, occurrences.fields
    last = len(local) - 1
    for i in range(begin, end):
        place, scalar = at(places, i), at(state, i)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            prefetch_record(at(addresses, np.int64(at(local, min(j + AHEAD, last)))), 1)
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
def add_up(vectors, terms, dense, factors, room, i):
    """Fill `room` with S_f of sample i; returns (fields that are there, 1/2 (|S_f f|^2 - sum of x^2 |v_f|^2) over those of several keys)."""
    lanes, number, zero, dim = vectors.one.lanes, vectors.one.number, vectors.one.zero, vectors.one.dim
    fields, n_dense, size = len(room.addresses), dense.shape[1], size_of(zero)
    width, step, in_place = fields * dim * size, dim * size, size_of(number) == size
    nothing = address_of(room.sums, 0) + fields * width
    for f in range(fields):
        put(room.counts, f, np.int32(0))
        put(room.addresses, f, nothing)
    n, own, half = 0, zero, cast(0.5, zero)
    for j in range(at(terms.offsets, i), at(terms.offsets, i + 1)):
        f, row, x = np.int64(at(terms.fields, j)), at(terms.addresses, j), vsplat(lanes, embedding_value(terms.values, j, zero))
        count, sums, factor = at(room.counts, f), address_of(room.sums, 0) + f * width, address_of(room.factors, 0) + f * step
        if count == 0:
            put(room.fields, n, f)
            n += 1
        if count == 0 and in_place:
            put(room.addresses, f, row)
            astore(factor, x)
        else:
            if count == 0:
                for g in range(fields):
                    astore(sums + g * step, vload(lanes, row + g * dim * size_of(number)) * x)
            else:
                if count == 1:
                    before = at(room.addresses, f)
                    v = aload(lanes, before + f * step) * aload(lanes, factor)
                    own -= half * vsum(v * v)
                    if in_place:
                        for g in range(fields):
                            astore(sums + g * step, aload(lanes, before + g * step) * aload(lanes, factor))
                for g in range(fields):
                    place = sums + g * step
                    astore(place, vfma(vload(lanes, row + g * dim * size_of(number)), x, aload(lanes, place)))
                v = vload(lanes, row + f * dim * size_of(number)) * x
                own -= half * vsum(v * v)
            put(room.addresses, f, sums)
            astore(factor, vsplat(lanes, cast(1, zero)))
        put(room.counts, f, np.int32(count + 1))
    for a in range(n):
        f = at(room.fields, a)
        if at(room.counts, f) > 1:
            v = aload(lanes, at(room.addresses, f) + f * step)
            own += half * vsum(v * v)
    for d in range(n_dense):
        f = fields - n_dense + d
        put(room.fields, n, f)
        put(room.addresses, f, address_of(factors, 0) + d * width)
        astore(address_of(room.factors, 0) + f * step, vsplat(lanes, cast(at(dense, i * n_dense + d), zero)))
        n += 1
    return n, own


@kernel(inline=True)
def four_of(vectors, room, g, column):
    """x_g S_g f of the fields g .. g + 3 side by side.  column : bytes before the f-th vector"""
    lanes, four = vectors.one.lanes, vectors.four.lanes
    first = vjoin(aload(lanes, at(room.addresses, g) + column), aload(lanes, at(room.addresses, g + 1) + column))
    second = vjoin(aload(lanes, at(room.addresses, g + 2) + column), aload(lanes, at(room.addresses, g + 3) + column))
    return vjoin(first, second) * aload(four, address_of(room.factors, 0) + g * vectors.one.dim * size_of(vectors.one.zero))


@kernel(inline=True)
def one_of(vectors, room, g, column):
    """x_g S_g f of one field."""
    lanes = vectors.one.lanes
    return aload(lanes, at(room.addresses, g) + column) * aload(lanes, address_of(room.factors, 0) + g * vectors.one.dim * size_of(vectors.one.zero))


@kernel(inline=True)
def pairs_before(vectors, room, f):
    """Sum over the fields g < f of <S_f g, S_g f>, of the compute type."""
    step = vectors.one.dim * size_of(vectors.one.zero)
    row, column, whole = at(room.addresses, f), f * step, f - f % FOUR
    many, one = vsplat(vectors.four.lanes, vectors.one.zero), vsplat(vectors.one.lanes, vectors.one.zero)
    for g in range(0, whole, FOUR):
        many = vfma(aload(vectors.four.lanes, row + g * step), four_of(vectors, room, g, column), many)
    for g in range(whole, f):
        one = vfma(aload(vectors.one.lanes, row + g * step), one_of(vectors, room, g, column), one)
    return (vsum(many) + vsum(one)) * at(room.factors, f * vectors.one.dim)


@kernel(inline=True)
def prefetch_terms(terms, begin, end, lines):
    """Ask for the rows of some terms, as far as there are so many."""
    for j in range(begin, min(end, len(terms.fields))):
        prefetch_record(at(terms.addresses, j), lines)


@kernel
def partial(vectors, terms, dense, factors, room, state, begin, end):
    """state[i] += the pairs of samples begin .. end.

    terms : Terms of all occurrences
    dense : (n, n_dense) float32
    factors : (n_dense, G k) of the compute type
    room : Room
    state : (n, 1) of the compute type
    """
    lines = (len(room.addresses) * vectors.one.dim * size_of(vectors.one.number) + CACHE_LINE - 1) // CACHE_LINE
    for i in range(begin, end):
        n, total = add_up(vectors, terms, dense, factors, room, i)
        following = at(terms.offsets, i + 1)
        for a in range(n):
            prefetch_terms(terms, following + a, following + a + 1, lines)
            total += pairs_before(vectors, room, at(room.fields, a))
        put(state, i, at(state, i) + total)


@kernel(inline=True)
def add_others(vectors, room, f, factor, sums):
    """sums_g += factor x_g S_g f for all fields g but f itself."""
    lanes, step, fields = vectors.one.lanes, vectors.one.dim * size_of(vectors.one.zero), len(room.addresses)
    own, whole, column = aload(lanes, sums + f * step), fields - fields % FOUR, f * step
    many, one = vsplat(vectors.four.lanes, factor), vsplat(lanes, factor)
    for g in range(0, whole, FOUR):
        place = sums + g * step
        astore(place, vfma(four_of(vectors, room, g, column), many, aload(vectors.four.lanes, place)))
    for g in range(whole, fields):
        place = sums + g * step
        astore(place, vfma(one_of(vectors, room, g, column), one, aload(lanes, place)))
    astore(sums + f * step, own)


@kernel
def partial_adjoint(vectors, occurrences, terms, dense, factors, room, state, sums):
    """For every own occurrence of distinct key c: scalar[c] += z xl, vector[c] += the gradient of its vectors, of the Sums.

    state : (n, 1) of the compute type holds z
    """
    lanes, zero, dim = vectors.one.lanes, vectors.one.zero, vectors.one.dim
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    addresses, fields = occurrences.addresses, occurrences.fields
    step, last = dim * size_of(zero), len(local) - 1
    width = len(room.addresses) * step
    lines = (width + CACHE_LINE - 1) // CACHE_LINE
    for i in range(len(offsets) - 1):
        begin, end = at(offsets, i), at(offsets, i + 1)
        if begin == end:
            continue
        z, following = at(state, i), at(terms.offsets, i + 1)
        asked = (following - at(terms.offsets, i) + end - begin - 1) // (end - begin)  # rows of the next sample, with each own occurrence
        add_up(vectors, terms, dense, factors, room, i)
        for j in range(begin, end):
            prefetch_terms(terms, following, following + asked, lines)
            following += asked
            prefetch_record(address_of(sums.vector, 0) + np.int64(at(local, min(j + end - begin, last))) * width, lines)
            c = np.int64(at(local, j))
            f, x = np.int64(at(fields, c)), embedding_value(values, j, zero)
            place = address_of(sums.vector, 0) + c * width
            add_others(vectors, room, f, z * x, place)
            if at(room.counts, f) > 1:
                v = vload(lanes, at(addresses, c) + EMBEDDING + f * dim * size_of(vectors.one.number))
                others = vfma(v, vsplat(lanes, -x), aload(lanes, at(room.addresses, f) + f * step))
                astore(place + f * step, vfma(others, vsplat(lanes, z * x), aload(lanes, place + f * step)))
            add_product(sums.scalar, c, z, linear_value(values, j, zero), 1.0)


@kernel
def factors_adjoint(vectors, terms, dense, factors, room, state, sums, begin, end):
    """Add the gradients of the dense features' vectors, of samples begin .. end, to sums (n_dense, G k), zeros before.  state : as of `partial_adjoint`"""
    dim, fields, n_dense = vectors.one.dim, len(room.addresses), dense.shape[1]
    for i in range(begin, end):
        add_up(vectors, terms, dense, factors, room, i)
        for d in range(n_dense):
            f = fields - n_dense + d
            z, place = at(state, i) * at(room.factors, f * dim), address_of(sums, 0) + d * fields * dim * size_of(vectors.one.zero)
            add_others(vectors, room, f, z, place)
