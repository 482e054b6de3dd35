"""Rows that travel, CPU: requests of unique keys from home to owner, rows back, gradients of rows out.

The unique keys of a home rank's share are grouped by (owner rank, field), in order of first appearance inside a group;
a request to one shard is that rank's stretch of the list, so fields travel as counts.  Rows and gradients travel in
the order of the request: no index does.
"""

import numpy as np

from deshpc.backend.cpu.memory import address_of, at, cast, load, prefetch, put, size_of, store
from deshpc.backend.cpu.simd import aload, astore, vfma, vload, vsplat
from deshpc.backend.record import CACHE_LINE, EMBEDDING
from deshpc.jit import kernel

AHEAD = 16  # records between asking for one and copying it


@kernel
def group_requests(unique_keys, unique_fields, unique_ranks, counts, places, begins, message):
    """Write every key at its place in its owner rank's request, which begins at byte begins[r] of `message`.

    places : (unique) int32, each key's place in the whole list
    """
    ranks, fields = counts.shape
    next_place = np.empty((ranks, fields), np.int64)
    first = np.empty(ranks, np.int64)
    place = 0
    for r in range(ranks):
        first[r] = place
        for f in range(fields):
            next_place[r, f] = place
            place += counts[r, f]
    base = address_of(message, 0)
    for u in range(len(unique_keys)):
        r = np.int64(unique_ranks[u])
        place = next_place[r, unique_fields[u]]
        next_place[r, unique_fields[u]] += 1
        put(places, u, np.int32(place))
        store(base + begins[r] + 8 * (place - first[r]), unique_keys[u])


def requested_fields(counts, fields):
    """fields (unique) uint16 : of all requested keys, in their order; counts (N, F) int32."""
    numbers = np.arange(counts.shape[1], dtype=np.uint16)
    fields[:] = np.repeat(np.tile(numbers, len(counts)), counts.ravel())


@kernel
def read_requests(message, begins, counts, keys, fields):
    """Copy the requests of all home ranks to one shard out, home by home; begins (N) bytes, counts (N, F) int32."""
    n = 0
    for r in range(len(begins)):
        place = address_of(message, 0) + begins[r]
        for f in range(counts.shape[1]):
            for _ in range(counts[r, f]):
                put(keys, n, load(place, np.uint64(0)))
                put(fields, n, np.uint16(f))
                place += 8
                n += 1


@kernel
def segment_addresses(message, begins, counts, stride, addresses):
    """addresses[u] = where element u lies that belongs to rank r's stretch: begins[r] + stride * place."""
    n = 0
    for r in range(len(begins)):
        place = address_of(message, 0) + begins[r]
        for _ in range(counts[r]):
            put(addresses, n, place)
            place += stride
            n += 1


def home_addresses(layout, places, buffers):
    """Addresses of records whose weights are those that have come, side by side, at `places`: they are read there."""
    places -= layout.first_weight
    return places


@kernel
def send_rows(number, offset, width, lines, local, addresses, targets):
    """Copy the weights, as wide as `width` of `number`, from byte `offset` of the record on, of every requested key to its place (int64 addresses)."""
    size = size_of(number)
    last = len(local) - 1
    for j in range(len(local)):
        soon = at(addresses, np.int64(at(local, min(j + AHEAD, last))))
        for line in range(lines):
            prefetch(soon + line * CACHE_LINE)
        source = at(addresses, np.int64(at(local, j))) + offset
        target = at(targets, j)
        for c in range(width):
            store(target + c * size, load(source + c * size, number))


@kernel
def send_gradients(dim, scalar_sums, vector_sums, square_sums, send_squares, targets):
    """Write each unique row's sums to its place (scalar, vector, then square if send_squares) and leave the sums zero."""
    for c in range(len(targets)):
        target = at(targets, c)
        if scalar_sums is not None:
            store(target, at(scalar_sums, c))
            target += size_of(at(scalar_sums, c))
            put(scalar_sums, c, cast(0, at(scalar_sums, c)))
        if vector_sums is not None:
            like = at(vector_sums, 0)
            nothing, size = cast(0, like), size_of(like)
            sums = address_of(vector_sums, 0) + c * dim * size
            for i in range(dim):
                store(target + i * size, load(sums + i * size, like))
                store(sums + i * size, nothing)
            if square_sums is not None:
                if send_squares:
                    store(target + dim * size, at(square_sums, c))
                put(square_sums, c, nothing)


@kernel
def subtract_squares(form, addresses, vector_sums, square_sums):
    """vector_sums[c] -= v square_sums[c], floating point only: the gradient of v; addresses : of the rows' records."""
    lanes, zero, dim = form.lanes, form.zero, form.dim
    base = address_of(vector_sums, 0)
    for c in range(len(addresses)):
        v = vload(lanes, at(addresses, c) + EMBEDDING)
        place = base + c * dim * size_of(zero)
        astore(place, vfma(v, vsplat(lanes, -at(square_sums, c)), aload(lanes, place)))


@kernel
def add_gradients(sources, dim, local, scalar_sums, vector_sums, square_sums):
    """Add the gradient sums that came for every requested key to its row's, request by request: in home-rank order.

    sources : addresses (int64) of them, as `send_gradients` writes them; square_sums None: none came
    """
    for j in range(len(local)):
        source = at(sources, j)
        c = np.int64(at(local, j))
        if scalar_sums is not None:
            scalar = at(scalar_sums, c)
            put(scalar_sums, c, scalar + load(source, scalar))
            source += size_of(scalar)
        if vector_sums is not None:
            like = at(vector_sums, 0)
            size = size_of(like)
            sums = address_of(vector_sums, 0) + c * dim * size
            for i in range(dim):
                place = sums + i * size
                store(place, load(place, like) + load(source + i * size, like))
            if square_sums is not None:
                put(square_sums, c, at(square_sums, c) + load(source + dim * size, like))
