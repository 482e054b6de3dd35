"""One update of every distinct key's row and of dense parameters, CPU.  The rules' formulas are those of `rules.py`.

A row's gradient is  scalar_sums[c]  for its linear weight and  vector_sums[c] - self_sums[c] v  for its embedding v
(self_sums None: nothing to subtract; it may be scalar_sums itself).  The sums have the accumulation type, fixed-point
ones a scale of 1 / inverse_scale (float64).  lanes is None for a table without embeddings, scalar_sums for one without
linear weights.  number and zero are zeros of the storage and of the compute type.
"""

import numpy as np

from deshpc.backend.cpu.generic import multiply_add, read, spread, write
from deshpc.backend.cpu.memory import address_of, at, cast, load, prefetch, put, size_of, store
from deshpc.backend.cpu.rules import new_weight
from deshpc.backend.cpu.simd import aload, astore, vfma, vsplat, vsum, vwide
from deshpc.backend.cpu.sums import sload, szero, total_value, vector_value
from deshpc.backend.record import CACHE_LINE, COUNT, EMBEDDING, STEP
from deshpc.jit import kernel

AHEAD = 16  # rows between prefetching a record and updating it


@kernel(inline=True)
def prefetched(addresses, c, lines):
    """The address of record c; a later one is prefetched."""
    soon = at(addresses, min(c + AHEAD, len(addresses) - 1))
    for line in range(lines):
        prefetch(soon + line * CACHE_LINE)
    return at(addresses, c)


@kernel(inline=True)
def note_update(tail, step):
    """Write last step and count of the record whose tail is at this address."""
    store(tail + STEP, np.uint32(step))
    count = load(tail + COUNT, np.uint32(0)) + np.uint32(1)  # Numba adds two uint32 as a uint64
    store(tail + COUNT, np.uint32(count))


@kernel(inline=True)
def embedding_gradient(lanes, zero, dim, c, inverse_scale, vector_sums, shrink, v):
    """vector_sums[c] - shrink v."""
    sums = sload(lanes, address_of(vector_sums, 0) + c * dim * size_of(at(vector_sums, 0)))
    return vfma(v, vsplat(lanes, -shrink), vector_value(lanes, sums, inverse_scale))


@kernel(inline=True)
def renew(rule, lanes, number, zero, place, weight, gradient, state, plane, clip, l2):
    """Apply the rule to the weight (read from `place`) with gradient  clip gradient + l2 weight."""
    whole = multiply_add(spread(lanes, l2), weight, spread(lanes, clip) * gradient)
    write(lanes, number, place, new_weight(rule, lanes, number, zero, weight, whole, state, plane))


@kernel
def rows(
    rule, lanes, number, zero, dim, linear_state, tail, lines, addresses, inverse_scale, scalar_sums, vector_sums, self_sums,
    step, clip, l2,
):  # fmt: skip
    """Apply `rule` to the row of every distinct key, with gradient  clip sum + l2 weight; the sums become zero again.

    rule : a class of `backend.rules`;  linear_state, tail : of the `RecordLayout`;  lines : cache lines of a record
    clip, l2 : of the compute type
    """
    size = size_of(number)
    for c in range(len(addresses)):
        record = prefetched(addresses, c, lines)
        note_update(record + tail, step)
        place = record + EMBEDDING
        shrink = zero
        if self_sums is not None:
            shrink = total_value(at(self_sums, c), zero, inverse_scale)
        if scalar_sums is not None:
            gradient = total_value(at(scalar_sums, c), zero, inverse_scale)
            weight = read(None, number, zero, place - size)
            renew(rule, None, number, zero, place - size, weight, gradient, record + linear_state, size, clip, l2)
            put(scalar_sums, c, cast(0, at(scalar_sums, c)))
        if self_sums is not None:
            put(self_sums, c, cast(0, at(self_sums, c)))
        if lanes is not None:
            v = read(lanes, number, zero, place)
            slope = embedding_gradient(lanes, zero, dim, c, inverse_scale, vector_sums, shrink, v)
            renew(rule, lanes, number, zero, place, v, slope, place + dim * size, dim * size, clip, l2)
            astore(address_of(vector_sums, 0) + c * dim * size_of(at(vector_sums, 0)), szero(lanes))


@kernel
def square_norms(lanes, number, zero, dim, addresses, inverse_scale, scalar_sums, vector_sums, self_sums, norms):
    """norms (distinct) float64: squared norm of each row's gradient, before clipping and l2.  The sums stay."""
    lines = 0 if self_sums is None else (EMBEDDING + dim * size_of(number) + CACHE_LINE - 1) // CACHE_LINE
    for c in range(len(addresses)):
        place = prefetched(addresses, c, lines) + EMBEDDING
        norm = 0.0
        shrink = zero
        if self_sums is not None:
            shrink = total_value(at(self_sums, c), zero, inverse_scale)
        if scalar_sums is not None:
            norm = np.float64(total_value(at(scalar_sums, c), zero, inverse_scale)) ** 2
        if lanes is not None:
            v = read(lanes, number, zero, place)
            wide = vwide(embedding_gradient(lanes, zero, dim, c, inverse_scale, vector_sums, shrink, v))
            norm += vsum(wide * wide)
        norms[c] = norm


def sum_parts(sums, total):
    """total (n) = sums (parts, ...) over all parts, added in order; they become zero."""
    np.add.reduce(sums.reshape(len(sums), -1), axis=0, out=total)
    sums[...] = 0


def set_numbers(sums, inverse_scale, numbers):
    """numbers = the values of sums, which are fixed point of this inverse scale unless they are of the same type."""
    numbers[...] = sums if sums.dtype == numbers.dtype else sums * inverse_scale


def square_norm(numbers):
    """Sum of squares, float64."""
    return float(np.square(numbers, dtype=np.float64).sum())


LANES = 16
"""Dense parameters that are updated at once, where they are many."""


@kernel
def dense(rule, lanes, zero, values, state, gradient, clip, begin, end):
    """Apply `rule` to the flat dense parameters begin .. end, with gradient  clip gradient.

    values, gradient (n), state (planes n), plane after plane: of the compute type
    lanes : of LANES numbers, or None: then each product is rounded by itself
    """
    size, n = size_of(zero), len(gradient)
    if lanes is not None:
        whole = begin + (end - begin) // LANES * LANES
        for i in range(begin, whole, LANES):
            place, weight = address_of(state, 0) + i * size, address_of(values, 0) + i * size
            slope = aload(lanes, address_of(gradient, 0) + i * size) * vsplat(lanes, clip)
            astore(weight, new_weight(rule, lanes, zero, zero, aload(lanes, weight), slope, place, n * size))
        begin = whole
    for i in range(begin, end):
        place = address_of(state, 0) + i * size
        slope = clip * at(gradient, i)
        put(values, i, new_weight(rule, None, zero, zero, at(values, i), slope, place, n * size))
