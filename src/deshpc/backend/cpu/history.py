"""What rows have been through, CPU: the decayed count of their sights, and what an eviction asks of every row.

A decayed count d is a float32 of its own in a record (`RecordLayout.decayed`): a step that updates the row makes it
d p(age) + 1, where p is what is left after so many steps (`arguments.Decay`), age the number of steps since the one before.  A record that nobody has used has 0 there.
decay : `arguments.Decay`, None where no such count is kept
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.memory import address_of, at, load, prefetch_read, put, store
from deshpc.backend.cpu.table import BUCKET_BYTES, RECORDS_AHEAD, ROWS_AT, SLOTS, record_address
from deshpc.backend.record import STEP
from deshpc.hashing.splitmix import mix64
from deshpc.jit import kernel


@kernel(inline=True)
def _left(decay, record, last, step):
    """The decayed count (float32) at `step` of a row that was updated at step `last`."""
    age = max(0, np.int64(step) - np.int64(last))
    left = load(record + decay.place, np.float32(0)) * at(decay.powers, age & 255)
    if age >= 256:
        left *= at(decay.powers, 256 + (age >> 8 & 255)) * at(decay.powers, 512 + (age >> 16 & 255)) * at(decay.powers, 768 + (age >> 24 & 255))
    return left


def note_sight(decay, record, last, step):
    """Count the sight of a row at `step` in its decayed count, where there is one; last : step of the one before, uint32."""
    raise TypeError("note_sight works inside kernels")


@overload(note_sight, inline="always")
def _note_sight(decay, record, last, step):
    if isinstance(decay, types.NoneType):
        return lambda decay, record, last, step: None
    return lambda decay, record, last, step: store(record + decay.place, _left(decay, record, last, step) + np.float32(1))


def worth(decay, record, last, step):
    """What rows are ordered by: the decayed count at `step` (float32, none is negative, so its bits are in the same order), or the
    last step (uint32)."""
    raise TypeError("worth works inside kernels")


@overload(worth)
def _worth(decay, record, last, step):
    if isinstance(decay, types.NoneType):
        return lambda decay, record, last, step: last

    return lambda decay, record, last, step: _left(decay, record, last, step)


@kernel
def histories(buckets, chunks, record_bytes, tail, decay, step, rows, last_steps, worths):
    """Write of every row of an index, in slot order: row number, step of the last update, and what it is worth.

    rows (n) int32;  last_steps, worths (n) uint32, see `worth`
    """
    base, count = address_of(buckets, 0), 0
    for bucket in range(len(buckets) // 8):
        for slot in range(SLOTS):
            if at(buckets, bucket * 8 + slot) != 0:
                put(rows, count, load(base + bucket * BUCKET_BYTES + (ROWS_AT + slot) * 4, np.int32(0)))
                count += 1
    for i in range(count):
        soon = record_address(chunks, record_bytes, np.int64(at(rows, min(i + RECORDS_AHEAD, count - 1))))
        prefetch_read(soon + tail)
        prefetch_read(soon)  # where the decayed count lies, unless it is behind the tail
        record = record_address(chunks, record_bytes, np.int64(at(rows, i)))
        last = load(record + tail + STEP, np.uint32(0))
        put(last_steps, i, last)
        store(address_of(worths, i), worth(decay, record, last, step))


@kernel
def ties(buckets, hashes):
    """hashes (n) uint64 of the keys of an index, in slot order: what decides between rows that are worth the same."""
    count = 0
    for bucket in range(len(buckets) // 8):
        for slot in range(SLOTS):
            key = at(buckets, bucket * 8 + slot)
            if key != 0:
                put(hashes, count, mix64(key))
                count += 1


@kernel
def are_zero(rows, chunks, record_bytes, places, number, zeros):
    """zeros (n) bool: whether every one of the numbers of a row that lie at `places` is 0."""
    last = len(rows) - 1
    for i in range(last + 1):
        prefetch_read(record_address(chunks, record_bytes, np.int64(at(rows, min(i + RECORDS_AHEAD, last)))))
        record = record_address(chunks, record_bytes, np.int64(at(rows, i)))
        zero = True
        for j in range(len(places)):
            zero = zero and load(record + at(places, j), number) == 0
        zeros[i] = zero


@kernel
def read_decayed(rows, chunks, record_bytes, place, decayed):
    """decayed (n) float32: the decayed counts of rows, as of their last steps."""
    for i in range(len(rows)):
        decayed[i] = load(record_address(chunks, record_bytes, np.int64(at(rows, i))) + place, np.float32(0))


@kernel
def write_decayed(addresses, place, decayed):
    """Set the decayed counts of the records at `addresses` (n) int64."""
    for i in range(len(addresses)):
        store(at(addresses, i) + place, np.float32(decayed[i]))


@kernel
def free_rows(buckets, leaving, chunks, record_bytes, place, free, keys, rows):
    """Divide the rows of an index: the numbers of those that leave go to `free`, their decayed counts to 0; keys and rows have the others.

    leaving (n) bool : in slot order
    free (gone) int32;  keys (n - gone) uint64;  rows (n - gone) int32
    place : of decayed counts, negative where none are kept
    """
    base, i, stay, gone = address_of(buckets, 0), 0, 0, 0
    for bucket in range(len(buckets) // 8):
        for slot in range(SLOTS):
            key = at(buckets, bucket * 8 + slot)
            if key != 0:
                row = load(base + bucket * BUCKET_BYTES + (ROWS_AT + slot) * 4, np.int32(0))
                if leaving[i]:
                    if place >= 0:
                        store(record_address(chunks, record_bytes, np.int64(row)) + place, np.float32(0))
                    put(free, gone, row)
                    gone += 1
                else:
                    put(keys, stay, key)
                    put(rows, stay, row)
                    stay += 1
                i += 1
