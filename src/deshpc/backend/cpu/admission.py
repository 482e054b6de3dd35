"""Keys without rows: their sights are counted until they get one.  See `table.waiting`.

They lie in buckets like those of an index (`backend.cpu.table`): four keys, four numbers of sights (int32), four uint32, each one more
than the step of the last sight.  A key that has got its row has 0 sights: it stays until the buckets are filled anew, as one never seen.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.bucket import match4, trailing_zeros
from deshpc.backend.cpu.memory import address_of, at, load, prefetch, store
from deshpc.backend.cpu.table import AHEAD, BUCKET_BYTES, MARKS_AT, ROWS_AT, SLOTS, enter, take_out
from deshpc.hashing.splitmix import fold
from deshpc.jit import kernel

ADMITTED, WAITS = 1, 0


def counts_sights(waiting):
    """Whether sights of keys without rows are counted, known when a kernel is compiled.

    waiting : `arguments.Waiting`; None: they are not, here and below
    """
    raise TypeError("counts_sights works inside kernels")


@overload(counts_sights, inline="always")
def _counts_sights(waiting):
    counts = not isinstance(waiting, types.NoneType)
    return lambda waiting: counts


def lacks_room(waiting, keys):
    """Whether the buckets have to grow before so many keys more wait."""
    raise TypeError("lacks_room works inside kernels")


@overload(lacks_room, inline="always")
def _lacks_room(waiting, keys):
    if isinstance(waiting, types.NoneType):
        return lambda waiting, keys: False
    return lambda waiting, keys: waiting.entries[0] + keys > waiting.limit


def ask_for_sights(waiting, key):
    """Prefetch the place of a key among the waiting ones."""
    raise TypeError("ask_for_sights works inside kernels")


@overload(ask_for_sights, inline="always")
def _ask_for_sights(waiting, key):
    if isinstance(waiting, types.NoneType):
        return lambda waiting, key: None
    return lambda waiting, key: prefetch(address_of(waiting.buckets, 0) + (np.int64(key) & waiting.mask) * BUCKET_BYTES)


def sight(waiting, key, step):
    """What a step's sight of a key without a row means: ADMITTED, it gets one; WAITS.  There is room for it.

    A step is one sight, however often it asks.
    """
    raise TypeError("sight works inside kernels")


@overload(sight, inline="always")
def _sight(waiting, key, step):
    if isinstance(waiting, types.NoneType):
        return lambda waiting, key, step: ADMITTED
    return lambda waiting, key, step: _counted(waiting, key, step)


@kernel(inline=True)
def _counted(waiting, key, step):
    bucket, mask, base = np.int64(key) & waiting.mask, waiting.mask, address_of(waiting.buckets, 0)
    line = base + bucket * BUCKET_BYTES
    hit, empty = match4(line, key), match4(line, np.uint64(0))
    while hit == 0 and empty == 0:
        bucket = (bucket + 1) & mask
        line = base + bucket * BUCKET_BYTES
        hit, empty = match4(line, key), match4(line, np.uint64(0))
    slot = trailing_zeros(empty if hit == 0 else hit)
    count_at, mark_at = line + (ROWS_AT + slot) * 4, line + (MARKS_AT + slot) * 4
    sights, mark = np.int64(0), np.uint32(step + 1)
    if hit != 0:
        sights = np.int64(load(count_at, np.int32(0)))
        if sights > 0 and load(mark_at, np.uint32(0)) == mark:
            return WAITS
    sights += 1
    if sights >= waiting.after and (fold(fold(waiting.seed, key), np.uint64(sights)) >> np.uint64(32)) < waiting.threshold:
        if hit != 0 and sights > 1:
            store(count_at, np.int32(0))
            waiting.entries[1] += 1
        return ADMITTED
    if hit == 0:
        waiting.entries[0] += 1
        store(line + slot * 8, key)
    elif sights == 1:
        waiting.entries[1] -= 1
    store(count_at, np.int32(sights))
    store(mark_at, mark)
    return WAITS


def new_entries():
    """Counts of keys of empty buckets: those that are there, and those of them that have got rows."""
    return np.zeros(2, np.int64)


@kernel
def move_sights(old, buckets, mask):
    """Enter the keys of `old` that have got no row into empty buckets that have room."""
    base = address_of(buckets, 0)
    for bucket in range(len(old) // 8):
        line = address_of(old, bucket * 8)
        for slot in range(SLOTS):
            key, count = load(line + slot * 8, np.uint64(0)), load(line + (ROWS_AT + slot) * 4, np.int32(0))
            if key != 0 and count > 0:
                enter(key, count, load(line + (MARKS_AT + slot) * 4, np.uint32(0)), base, mask)


@kernel
def forget(keys, buckets, mask):
    """Take keys (n) uint64 that are there out of the buckets."""
    base, last = address_of(buckets, 0), len(keys) - 1
    for i in range(last + 1):
        prefetch(base + (np.int64(at(keys, min(i + AHEAD, last))) & mask) * BUCKET_BYTES)
        take_out(at(keys, i), base, mask)
