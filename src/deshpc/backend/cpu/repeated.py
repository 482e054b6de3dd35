"""Products of rows that repeat in a batch, CPU: made once a row, added to each sample that has the row.  See `nn.first_dense`.

slots (distinct) int32 : place of a shard's row among the repeated ones, -1 where it is none of them.  wide, narrow : lanes of WIDE
and of NARROW numbers of the compute type, as zero.  Arguments that go together are those of `backend.arguments`.
"""

import numpy as np

from deshpc.backend.cpu.memory import address_of, at, load, put, size_of, store
from deshpc.backend.cpu.simd import aload, astore, vfma, vload, vsplat
from deshpc.backend.cpu.values import embedding_value
from deshpc.backend.record import EMBEDDING
from deshpc.jit import kernel

WIDE, NARROW = 128, 16
_HELD = 64  # occurrences of a sample that are worked on at a time


@kernel
def count_rows(fields, counts):
    """counts (F) += the distinct rows of each field."""
    for c in range(len(fields)):
        counts[at(fields, c)] += 1


@kernel
def take_rows(form, fields, addresses, next_slot, slots, rows):
    """rows[slot] (k) = the embedding of each row of a chosen field; next_slot (F) counts on from a field's slots, -1: not chosen."""
    lanes, zero, dim = form.lanes, form.zero, form.dim
    for c in range(len(addresses)):
        f = np.int64(at(fields, c))
        slot = next_slot[f]
        put(slots, c, np.int32(slot))
        if slot >= 0:
            next_slot[f] = slot + 1
            astore(address_of(rows, 0) + slot * dim * size_of(zero), vload(lanes, at(addresses, c) + EMBEDDING))


@kernel
def add_products(wide, narrow, zero, occurrences, slots, products, begin, y):
    """y_i += sum of x products[slot] over the occurrences of sample begin + i whose rows repeat; y (n, h), products (R, h)."""
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    size, h = size_of(zero), y.shape[1]
    held, factors = np.empty(_HELD, np.int64), np.empty(_HELD, y.dtype)
    base = address_of(products, 0)
    whole, nearly = h // WIDE * WIDE * size, h // NARROW * NARROW * size
    for i in range(len(y)):
        row, j, end = address_of(y, 0) + i * h * size, at(offsets, begin + i), at(offsets, begin + i + 1)
        while j < end:
            count = 0
            while j < end and count < _HELD:
                slot = np.int64(at(slots, np.int64(at(local, j))))
                held[count], factors[count] = base + slot * h * size, embedding_value(values, j, zero)
                count += np.int64(slot >= 0)
                j += 1
            for column in range(0, whole, WIDE * size):
                total = aload(wide, row + column)
                for e in range(count):
                    total = vfma(aload(wide, held[e] + column), vsplat(wide, factors[e]), total)
                astore(row + column, total)
            for column in range(whole, nearly, NARROW * size):
                part = aload(narrow, row + column)
                for e in range(count):
                    part = vfma(aload(narrow, held[e] + column), vsplat(narrow, factors[e]), part)
                astore(row + column, part)
            for column in range(nearly, h * size, size):
                number = load(row + column, zero)
                for e in range(count):
                    number += load(held[e] + column, zero) * factors[e]
                store(row + column, number)


@kernel
def add_gradients(wide, narrow, zero, occurrences, slots, gradient, begin, sums):
    """Adjoint of `add_products`: sums[slot] (R, h) += x gradient_i for the same occurrences; gradient (n, h)."""
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    size, h = size_of(zero), gradient.shape[1]
    whole, nearly = h // WIDE * WIDE * size, h // NARROW * NARROW * size
    for i in range(len(gradient)):
        row = address_of(gradient, 0) + i * h * size
        for j in range(at(offsets, begin + i), at(offsets, begin + i + 1)):
            slot = np.int64(at(slots, np.int64(at(local, j))))
            if slot < 0:
                continue
            target, x = address_of(sums, 0) + slot * h * size, embedding_value(values, j, zero)
            for column in range(0, whole, WIDE * size):
                astore(target + column, vfma(aload(wide, row + column), vsplat(wide, x), aload(wide, target + column)))
            for column in range(whole, nearly, NARROW * size):
                astore(target + column, vfma(aload(narrow, row + column), vsplat(narrow, x), aload(narrow, target + column)))
            for column in range(nearly, h * size, size):
                store(target + column, load(row + column, zero) * x + load(target + column, zero))


@kernel
def add_to_rows(lanes, dim, slots, gradient, sums):
    """sums[c] += gradient[slot of c] (R, k) for the rows that repeat; sums (distinct, k)."""
    for c in range(len(slots)):
        slot = np.int64(at(slots, c))
        if slot >= 0:
            place = address_of(sums, 0) + c * dim * size_of(at(sums, 0))
            one = aload(lanes, address_of(gradient, 0) + slot * dim * size_of(at(gradient, 0)))
            astore(place, aload(lanes, place) + one)
