"""What rows have been through, CPU: the decayed count of their sights, and what an eviction asks of every row.

A decayed count is a float32 of its own in a record (`RecordLayout.decayed`), to which a step that updates the row adds
(`arguments.Decay`, `table.decay`).  A record that nobody has used has 0 there.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.halves import load_number
from deshpc.backend.cpu.memory import address_of, at, load, prefetch, prefetch_read, put, store
from deshpc.backend.cpu.table import BUCKET_BYTES, RECORDS_AHEAD, ROWS_AT, SLOTS, record_address, take_out
from deshpc.backend.record import CHUNK_ROWS, KEY, STEP
from deshpc.hashing.splitmix import mix64
from deshpc.jit import kernel


def note_sight(decay, record):
    """Count the sight of a row in its decayed count.  decay : `arguments.Decay`; None: there is no such count"""
    raise TypeError("note_sight works inside kernels")


@overload(note_sight, inline="always")
def _note_sight(decay, record):
    if isinstance(decay, types.NoneType):
        return lambda decay, record: None
    return lambda decay, record: store(record + decay.place, load(record + decay.place, np.float32(0)) + decay.sight)


def worth(place, record, last):
    """What rows are ordered by (uint32): the decayed count, none of which is negative, so its bits are in the same order; or the last step.

    place : of decayed counts, None where there are none
    """
    raise TypeError("worth works inside kernels")


@overload(worth)
def _worth(place, record, last):
    if isinstance(place, types.NoneType):
        return lambda place, record, last: last
    return lambda place, record, last: load(record + place, np.uint32(0))


@kernel
def histories(chunks, record_bytes, tail, place, last_steps, worths):
    """Step of the last update, and what it is worth, of the rows 0 .. n, in the order in which records lie; of free rows anything.

    last_steps, worths (n) uint32
    place : as of `worth`
    """
    n = len(last_steps)
    for chunk in range((n + CHUNK_ROWS - 1) // CHUNK_ROWS):
        first, record = chunk * CHUNK_ROWS, at(chunks, chunk)
        for i in range(first, min(first + CHUNK_ROWS, n)):
            prefetch_read(record + RECORDS_AHEAD * record_bytes + tail)
            ask_for_worth(place, record + RECORDS_AHEAD * record_bytes)
            last = load(record + tail + STEP, np.uint32(0))
            put(last_steps, i, last)
            put(worths, i, worth(place, record, last))
            record += record_bytes


def ask_for_worth(place, record):
    """Prefetch a row's decayed count, where there are such counts."""
    raise TypeError("ask_for_worth works inside kernels")


@overload(ask_for_worth)
def _ask_for_worth(place, record):
    if isinstance(place, types.NoneType):
        return lambda place, record: None
    return lambda place, record: prefetch_read(record + place)


@kernel
def count_digits(worths, stays, above, shift, bits, counts):
    """counts (2^bits) int64 += the rows that stay, by a digit of their worths (n) uint32: `bits` bits, which begin `shift` from the right.

    stays (n) bool
    above : what lies above the digit in the worths of the rows that count
    """
    low = np.uint32((1 << bits) - 1)
    for i in range(len(worths)):
        number = np.uint32(at(worths, i) >> np.uint32(shift))
        if at(stays, i) and np.int64(number) >> bits == above:
            digit = np.int64(number & low)
            put(counts, digit, at(counts, digit) + 1)


@kernel
def ties(rows, chunks, record_bytes, hashes):
    """hashes (n) uint64 of the keys of rows (n) int64: what decides between rows that are worth the same."""
    last = len(rows) - 1
    for i in range(last + 1):
        prefetch_read(record_address(chunks, record_bytes, at(rows, min(i + RECORDS_AHEAD, last))) + KEY)
        put(hashes, i, mix64(load(record_address(chunks, record_bytes, at(rows, i)) + KEY, np.uint64(0))))


@kernel
def are_zero(rows, chunks, record_bytes, places, number, zeros):
    """zeros (n) bool: whether every one of the numbers of a row that lie at `places` is 0."""
    last = len(rows) - 1
    for i in range(last + 1):
        prefetch_read(record_address(chunks, record_bytes, np.int64(at(rows, min(i + RECORDS_AHEAD, last)))))
        record = record_address(chunks, record_bytes, np.int64(at(rows, i)))
        zero = True
        for j in range(len(places)):
            zero = zero and load_number(record, at(places, j), number) == 0
        zeros[i] = zero


@kernel
def shrink_decayed(buckets, chunks, record_bytes, place, factor, least):
    """Multiply the decayed counts of all rows of an index by a factor (float32); what is less than `least` then is 0."""
    base = address_of(buckets, 0)
    for bucket in range(len(buckets) // 8):
        for slot in range(SLOTS):
            if at(buckets, bucket * 8 + slot) != 0:
                row = load(base + bucket * BUCKET_BYTES + (ROWS_AT + slot) * 4, np.int32(0))
                count_at = record_address(chunks, record_bytes, np.int64(row)) + place
                count = load(count_at, np.float32(0)) * factor
                store(count_at, count if count >= least else np.float32(0))


@kernel
def read_decayed(rows, chunks, record_bytes, place, decayed):
    """decayed (n) float32: the decayed counts of rows, as they lie."""
    for i in range(len(rows)):
        decayed[i] = load(record_address(chunks, record_bytes, np.int64(at(rows, i))) + place, np.float32(0))


@kernel
def write_decayed(addresses, place, decayed):
    """Set the decayed counts (n) float32 of the records at `addresses` (n) int64."""
    for i in range(len(addresses)):
        store(at(addresses, i) + place, decayed[i])


@kernel
def free_rows(buckets, mask, rows, chunks, record_bytes, place):
    """Take rows (n) int64 out of an index, and set their decayed counts to 0.

    place : of decayed counts, negative where none are kept
    """
    last = len(rows) - 1
    for i in range(last + 1):
        prefetch(record_address(chunks, record_bytes, at(rows, min(i + 2 * RECORDS_AHEAD, last))) + KEY)
        soon = load(record_address(chunks, record_bytes, at(rows, min(i + RECORDS_AHEAD, last))) + KEY, np.uint64(0))
        prefetch(address_of(buckets, 0) + (np.int64(soon) & mask) * BUCKET_BYTES)
        record = record_address(chunks, record_bytes, at(rows, i))
        take_out(load(record + KEY, np.uint64(0)), address_of(buckets, 0), mask)
        if place >= 0:
            store(record + place, np.float32(0))
