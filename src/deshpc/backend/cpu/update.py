"""One update of every distinct key's row, CPU.  The rules are those of `table.optimizer`.

A row's gradient is  scalar_sums[c]  for its linear weight and  vector_sums[c] - self_sums[c] v  for its embedding v
(self_sums None: nothing to subtract; it may be scalar_sums itself).  The sums have the accumulation type, fixed-point
ones a scale of 1 / inverse_scale; they are left zero for the next batch.  lanes is None for a table without
embeddings, scalar_sums for one without linear weights.
"""

import math

import numpy as np

from deshpc.backend.cpu.memory import address_of, at, cast, load, prefetch, put, size_of, store
from deshpc.backend.cpu.simd import astore, vfma, vload, vsplat, vsqrt, vstore
from deshpc.backend.cpu.sums import sload, szero, total_value, vector_value
from deshpc.backend.record import CACHE_LINE, COUNT, STEP, WEIGHTS
from deshpc.jit import kernel

AHEAD = 16  # rows between asking for a record and updating it


@kernel(inline=True)
def touch(addresses, c, lines, step):
    """Ask for a later record; note the update in this one; returns its address."""
    soon = at(addresses, min(c + AHEAD, len(addresses) - 1))
    for line in range(lines):
        prefetch(soon + line * CACHE_LINE)
    record = at(addresses, c)
    store(record + STEP, np.uint32(step))
    count = load(record + COUNT, np.uint32(0)) + np.uint32(1)  # Numba adds two uint32 as a uint64
    store(record + COUNT, np.uint32(count))
    return record


@kernel
def sgd(lanes, number, zero, dim, lines, addresses, inverse_scale, scalar_sums, vector_sums, self_sums, step, rate):
    """weight -= rate * gradient, for every distinct key."""
    minus_rate = cast(-rate, zero)
    for c in range(len(addresses)):
        place = touch(addresses, c, lines, step) + WEIGHTS
        shrink = zero
        if self_sums is not None:
            shrink = total_value(at(self_sums, c), zero, inverse_scale)
        if scalar_sums is not None:
            weight = cast(load(place, number), zero) + minus_rate * total_value(at(scalar_sums, c), zero, inverse_scale)
            store(place, cast(weight, number))
            put(scalar_sums, c, cast(0, at(scalar_sums, c)))
            place += size_of(number)
        if self_sums is not None:
            put(self_sums, c, cast(0, at(self_sums, c)))
        if lanes is not None:
            sums = address_of(vector_sums, 0) + c * dim * size_of(at(vector_sums, 0))
            v = vload(lanes, place)
            gradient = vfma(v, vsplat(lanes, -shrink), vector_value(lanes, sload(lanes, sums), inverse_scale))
            vstore(lanes, place, vfma(gradient, vsplat(lanes, minus_rate), v))
            astore(sums, szero(lanes))


@kernel
def adagrad(lanes, number, zero, dim, lines, addresses, inverse_scale, scalar_sums, vector_sums, self_sums, step, rate, epsilon):
    """s += gradient^2; weight -= rate * gradient / (sqrt(s) + epsilon), for every distinct key.

    The state follows the weights: s of the linear weight, then of each embedding weight.
    """
    size = size_of(number)
    for c in range(len(addresses)):
        record = touch(addresses, c, lines, step)
        place = record + WEIGHTS
        state = place + dim * size
        shrink = zero
        if self_sums is not None:
            shrink = total_value(at(self_sums, c), zero, inverse_scale)
        if scalar_sums is not None:
            state += size
            g = total_value(at(scalar_sums, c), zero, inverse_scale)
            total = cast(load(state, number), zero) + g * g
            weight = cast(load(place, number), zero) - rate * g / (math.sqrt(total) + epsilon)
            store(state, cast(total, number))
            store(place, cast(weight, number))
            put(scalar_sums, c, cast(0, at(scalar_sums, c)))
            place += size
            state += size
        if self_sums is not None:
            put(self_sums, c, cast(0, at(self_sums, c)))
        if lanes is not None:
            sums = address_of(vector_sums, 0) + c * dim * size_of(at(vector_sums, 0))
            v = vload(lanes, place)
            gradient = vfma(v, vsplat(lanes, -shrink), vector_value(lanes, sload(lanes, sums), inverse_scale))
            totals = vfma(gradient, gradient, vload(lanes, state))
            vstore(lanes, state, totals)
            move = gradient * vsplat(lanes, rate) / (vsqrt(totals) + vsplat(lanes, epsilon))
            vstore(lanes, place, v - move)
            astore(sums, szero(lanes))
