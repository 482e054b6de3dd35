"""The rows of one shard and their hash index: new records, entering rows in an index, reading rows out and in.

A bucket is one cache line: four keys (uint64), four row numbers (int32), four marks (uint32, see `lookup`).  Key 0
means empty.  Probing goes bucket by bucket, and every bucket between that of a key's hash and the one where it lies is full, so a
bucket with an empty slot ends a search.  The load limit of 0.6 keeps that at 1.1 buckets a hit.

An index grows into one with more buckets, some of its buckets at a time, while it is searched.  It is walked from a bucket FIRST, behind
one that had room; the MOVED buckets from there on are empty again.  A key whose bucket of the old index is among these is in the new
one, any other in the old one: each key is searched, and entered, in one of the two.

Counters of a shard, int64: LIVE rows in the index, NEXT never-used row number, FREE length of the free list, TICKET the
next mark.  Row content is a function of (seed, key, column) alone: never of slot, row number or order of arrival.
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.cpu.ahead import prefetch_record
from deshpc.backend.cpu.bucket import match4, trailing_zeros
from deshpc.backend.cpu.first_weights import EIGHT, write_eight, write_uniforms
from deshpc.backend.cpu.halves import embedding_bytes, load_element, load_number, store_element, store_number
from deshpc.backend.cpu.memory import address_of, at, cast, choose, load, prefetch, size_of, store
from deshpc.backend.record import CACHE_LINE, CHUNK_ROWS_LOG2, COUNT, EMBEDDING, FIELD, KEY, STEP, TAIL_BYTES
from deshpc.hashing.splitmix import fold, uniform24
from deshpc.jit import kernel

LIVE, NEXT, FREE, TICKET = 0, 1, 2, 3
OLD, OLD_MASK, FIRST, MOVED = 0, 1, 2, 3  # of a move: address of the old index, 0 where no move is under way
BUCKET_BYTES = 64
SLOTS = 4
ROWS_AT, MARKS_AT = 8, 12  # int32 places inside a bucket
AHEAD = 40  # keys between asking for a bucket and entering one
RECORDS_AHEAD = 16  # records between asking for one and copying it
NEW_ROWS_AHEAD = 8  # rows between asking for the memory of a new one and writing it
_CHUNK_MASK = (1 << CHUNK_ROWS_LOG2) - 1


class Index(NamedTuple):
    """Index and records of a shard as kernels take them.

    buckets (8 n) uint64, mask = n - 1;  counters (4) int64, see above;  free (..) int32, free row numbers
    limits (2) int64, most live rows and most row numbers;  chunks (..) int64, addresses of chunks of records
    move (4) int64 : OLD, OLD_MASK, FIRST, MOVED
    """

    buckets: np.ndarray
    mask: int
    counters: np.ndarray
    limits: np.ndarray
    free: np.ndarray
    chunks: np.ndarray
    record_bytes: int
    move: np.ndarray


def new_counters():
    """Counters of a shard without rows."""
    return np.zeros(4, np.int64)


def new_move():
    """State of the moves of rows from index to index: none is under way."""
    return np.zeros(4, np.int64)


@kernel(inline=True)
def record_address(chunks, record_bytes, row):
    """Address of a row's record."""
    return at(chunks, row >> CHUNK_ROWS_LOG2) + (row & _CHUNK_MASK) * record_bytes


@kernel
def write_new_record(address, key, field, step, zero, element, scalars, dim, width, seed, scale, start, first_column, own, whole):
    """A row's first content: scalar weight 0, embedding uniform in +-scale, optimizer state as `start` says.

    zero : a 0 of the storage type of linear weight and state
    element : a 0 of that of the embedding: `record.element_of`
    width : numbers of each of the embedding's state planes
    scale : float32, sqrt(3) times the standard deviation
    start : `backend.rules.StateStart`
    first_column : number of v_1 among the columns of the whole embedding, of which a record may hold a part
    own, whole : where an embedding has several vectors, columns of each that the record holds, and that there are
    """
    store(address + KEY, key)
    size, embedding = size_of(zero), address + EMBEDDING
    if scalars:
        store(embedding - size, zero)
    place = embedding
    state = fold(seed, key)
    for vector in range(0, dim // max(1, own)):
        begin = vector * whole
        eights = begin + own - own % EIGHT
        for column in range(begin, eights, EIGHT):
            write_uniforms(place, element, state, np.uint64(first_column + column), scale)
            place += EIGHT * size_of(element)
        for column in range(eights, begin + own):
            weight = uniform24(fold(state, np.uint64(first_column + column))) * scale
            store_element(place, element, weight)
            place += size_of(element)
    place = embedding + embedding_bytes(dim, size_of(element))
    first, numbers = cast(start.constant, zero), width * start.planes
    if start.slope != 0 or start.jump != 0:
        for column in range(min(width, numbers)):
            stored = np.float64(load_element(embedding + column * size_of(element), element, zero))
            store(place + column * size, cast(start.constant + start.slope * stored + start.jump * np.sign(stored), zero))
    else:
        _fill(place, first, min(width, numbers))
    second = cast(start.second_constant, zero)
    if numbers > width:
        _fill(place + width * size, second, numbers - width)
    place += numbers * size
    for plane in range(scalars * start.planes):
        store(place, first if plane == 0 else second)
        place += size
    store(place + STEP, np.uint32(step))
    store(place + COUNT, np.uint32(0))
    store(place + FIELD, np.uint32(field))
    size = place + TAIL_BYTES - address
    for line in range(0, size, CACHE_LINE):  # new rows follow each other, but for those that were given up before
        prefetch(address + NEW_ROWS_AHEAD * size + line)


@kernel(inline=True)
def _fill(place, number, count):
    """Write a number `count` times, side by side."""
    eights = count - count % EIGHT
    for i in range(0, eights, EIGHT):
        write_eight(place + i * size_of(number), number)
    for i in range(eights, count):
        store(place + i * size_of(number), number)


@kernel
def forget_marks(buckets):
    """Set every mark to 0, so that tickets may start at 1 again."""
    base = address_of(buckets, 0)
    for bucket in range(len(buckets) // 8):
        for slot in range(SLOTS):
            store(base + bucket * BUCKET_BYTES + (MARKS_AT + slot) * 4, np.uint32(0))


@kernel
def index_rows(keys, rows, marks, buckets, mask):
    """Enter (key, row, mark) into an index that holds none of these keys and has room."""
    base = address_of(buckets, 0)
    n = len(keys)
    for j in range(n):
        prefetch(base + (np.int64(at(keys, min(j + AHEAD, n - 1))) & mask) * BUCKET_BYTES)
        enter(keys[j], rows[j], marks[j], base, mask)


@kernel
def move_rows(old, buckets, mask, move, most):
    """Enter rows of the index `old` into one with more buckets, which was empty, from where the last call has ended: those of `most`
    buckets and of the few that follow up to one with room.  Returns whether rows are left.

    move (4) int64 : see above; what the first call finds there is zeros, and so is what the last one leaves
    Both are powers of two, so the rows of neighbouring buckets go to neighbouring buckets: memory is read and written in order.
    """
    base, size = address_of(buckets, 0), len(old) // 8
    if move[OLD] == 0:
        move[OLD], move[OLD_MASK], move[MOVED] = address_of(old, 0), size - 1, 0
        first = 1
        while match4(address_of(old, (first - 1) * 8), np.uint64(0)) == 0:
            first += 1
        move[FIRST] = first & (size - 1)
    first, moved, full = move[FIRST], move[MOVED], False
    end = min(moved + most, size)
    while moved < end or full:  # what the last buckets had no room for lies behind them, where all has been moved
        line = address_of(old, ((first + moved) & (size - 1)) * 8)
        full = True
        for slot in range(SLOTS):
            key = load(line + slot * 8, np.uint64(0))
            if key != 0:
                row = load(line + (ROWS_AT + slot) * 4, np.int32(0))
                enter(key, row, load(line + (MARKS_AT + slot) * 4, np.uint32(0)), base, mask)
                store(line + slot * 8, np.uint64(0))
            else:
                full = False
        moved += 1
    move[MOVED] = moved
    if moved < size:
        return True
    move[OLD] = 0
    return False


@kernel(inline=True)
def home(key, wide, mask, old, old_mask, first, moved):
    """(address, mask) of the index that a key is in: wide and mask, or, while rows move, those of the old one."""
    if old == 0:
        return wide, mask
    gone = ((np.int64(key) - first) & old_mask) < moved
    return choose(gone, wide, old), choose(gone, mask, old_mask)


@kernel(inline=True)
def enter(key, row, mark, base, mask):
    """Put a row into the first bucket that has room, from its key's on."""
    bucket = np.int64(key) & mask
    empty = match4(base + bucket * BUCKET_BYTES, np.uint64(0))
    while empty == 0:
        bucket = (bucket + 1) & mask
        empty = match4(base + bucket * BUCKET_BYTES, np.uint64(0))
    line = base + bucket * BUCKET_BYTES
    slot = trailing_zeros(empty)
    store(line + slot * 8, key)
    store(line + (ROWS_AT + slot) * 4, row)
    store(line + (MARKS_AT + slot) * 4, mark)


@kernel
def take_out(key, base, mask):
    """Take a key, which is there, out of the index at address `base`, as if it had never been there.

    Where a bucket was full, keys may have had to go on to later ones: one of them takes the place, and so on.
    """
    bucket = np.int64(key) & mask
    hit = match4(base + bucket * BUCKET_BYTES, key)
    while hit == 0:
        bucket = (bucket + 1) & mask
        hit = match4(base + bucket * BUCKET_BYTES, key)
    line, slot = base + bucket * BUCKET_BYTES, trailing_zeros(hit)
    later, more = bucket, match4(line, np.uint64(0)) == 0
    store(line + slot * 8, np.uint64(0))
    while more:
        later = (later + 1) & mask
        other = base + later * BUCKET_BYTES
        more = match4(other, np.uint64(0)) == 0
        for i in range(SLOTS):
            moved = load(other + i * 8, np.uint64(0))
            if moved != 0 and (later - np.int64(moved)) & mask >= (later - bucket) & mask:
                store(line + slot * 8, moved)
                store(line + (ROWS_AT + slot) * 4, load(other + (ROWS_AT + i) * 4, np.int32(0)))
                store(line + (MARKS_AT + slot) * 4, load(other + (MARKS_AT + i) * 4, np.uint32(0)))
                store(other + i * 8, np.uint64(0))
                bucket, line, slot = later, other, i
                break


@kernel
def indexed_rows(buckets, keys, rows, marks):
    """Write every (key, row, mark) of the index, in slot order; returns their number."""
    base = address_of(buckets, 0)
    count = 0
    for bucket in range(len(buckets) // 8):
        for slot in range(SLOTS):
            key = buckets[bucket * 8 + slot]
            if key != 0:
                keys[count] = key
                rows[count] = load(base + bucket * BUCKET_BYTES + (ROWS_AT + slot) * 4, np.int32(0))
                marks[count] = load(base + bucket * BUCKET_BYTES + (MARKS_AT + slot) * 4, np.uint32(0))
                count += 1
    return count


@kernel
def read_records(rows, chunks, record_bytes, tail, places, number, fields, counts, steps, numbers):
    """Copy records out: fields, counts, last steps and numbers (n, weights and state) of `rows`.

    tail, places : of the `RecordLayout`: where last step, count and field begin, where each of the numbers lies
    """
    last, lines = len(rows) - 1, (tail + TAIL_BYTES + CACHE_LINE - 1) // CACHE_LINE
    for j in range(last + 1):
        prefetch_record(record_address(chunks, record_bytes, np.int64(at(rows, min(j + RECORDS_AHEAD, last)))), lines)
        address = record_address(chunks, record_bytes, np.int64(at(rows, j)))
        fields[j] = np.uint16(load(address + tail + FIELD, np.uint32(0)))
        counts[j] = load(address + tail + COUNT, np.uint32(0))
        steps[j] = load(address + tail + STEP, np.uint32(0))
        for i in range(numbers.shape[1]):
            numbers[j, i] = load_number(address, at(places, i), number)


@kernel
def write_records(addresses, tail, places, keys, fields, counts, steps, numbers):
    """Fill the records at `addresses` (n) int64: the inverse of `read_records`."""
    last, lines = len(addresses) - 1, (tail + TAIL_BYTES + CACHE_LINE - 1) // CACHE_LINE
    for j in range(last + 1):
        prefetch_record(at(addresses, min(j + RECORDS_AHEAD, last)), lines)
        address = at(addresses, j)
        store(address + KEY, keys[j])
        store(address + tail + FIELD, np.uint32(fields[j]))
        store(address + tail + COUNT, counts[j])
        store(address + tail + STEP, steps[j])
        for i in range(numbers.shape[1]):
            store_number(address, at(places, i), numbers[j, i])
