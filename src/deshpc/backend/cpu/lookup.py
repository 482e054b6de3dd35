"""Find a batch's keys in the index of one shard, CPU: where their rows are, and which of them are the same.

`look_up_own` picks the keys of its owner out of whole samples, a block ahead of the probes: picked keys stay in the
nearest cache, and their buckets are on the way when they are probed.  `look_up_listed` probes keys that have been picked
already.  Both end in `probe`, the one place where an index is searched.

Distinct keys are numbered in order of first appearance; where sights are counted, those of a block that had no row
before follow its others.  A slot's mark is a ticket: tickets are numbered through all batches, the first one of this batch
is counters[TICKET], so a mark from there on says that the batch has had the key already, and where it stands among the
distinct ones.  Nothing is cleared between batches, and nothing is sorted.

Arguments that go together are those of `backend.arguments`: `Search`, `SparseFeatures`, `Picked`.  index : `table.Index`
"""

import numpy as np

from deshpc.backend.cpu.admission import ADMITTED, ask_for_sights, counts_sights, lacks_room, sight
from deshpc.backend.cpu.bucket import match4, trailing_zeros
from deshpc.backend.cpu.memory import address_of, at, load, prefetch, prefetch_read, put, store
from deshpc.backend.cpu.table import (  # fmt: skip
    BUCKET_BYTES,
    FIRST,
    FREE,
    LIVE,
    MARKS_AT,
    MOVED,
    NEXT,
    OLD,
    OLD_MASK,
    RECORDS_AHEAD,
    ROWS_AT,
    SLOTS,
    TICKET,
    home,
    record_address,
    write_new_record,
)
from deshpc.backend.cpu.values import copy_value
from deshpc.backend.record import CACHE_LINE, FIELD
from deshpc.hashing.partition import key_field, owner_of
from deshpc.jit import kernel

BLOCK = 512
"""Occurrences that are picked from, or listed keys that are probed, at a time."""

SCRATCH = 4 * BLOCK + 1
"""Length of the scratch `fresh` of a Search, for a block's new keys, their records, unknown keys and row numbers; it may hold anything before."""

BUCKETS_AHEAD = 128  # listed keys between asking for a bucket and probing it
AHEAD = 12  # samples between asking for a sample's occurrences and picking from them

# progress of a look-up, int64
DISTINCT = 0  # distinct keys so far
DONE = 1  # keys probed so far
SAMPLE = 2  # sample and occurrence to pick from next
OCCURRENCE = 3
BEGIN = 4  # where the picked keys that are probed next begin and end, and how many follow in the other half
END = 5
FOLLOWING = 6
PROGRESS = 7


def group(offsets, local, addresses, buffers):
    """Occurrences by distinct key, for sums per key: none, they are added in the order in which they come."""


@kernel
def row_fields(addresses, tail, fields):
    """fields (distinct) uint16 of the rows whose records are at these addresses; tail : of the `RecordLayout`."""
    last = len(addresses) - 1
    for c in range(len(addresses)):
        prefetch_read(at(addresses, min(c + RECORDS_AHEAD, last)) + tail + FIELD)
        put(fields, c, np.uint16(load(at(addresses, c) + tail + FIELD, np.uint32(0))))


@kernel
def probe(index, search, keys, begin, end, following):
    """Write local for the keys begin .. end, and the addresses of the records of those that are new to the batch.

    following : where the keys begin that will be probed next, whose buckets are asked for between the probes
    `fresh` holds the keys whose records are new, which are written at the end, when their memory is there; those without rows whose
    sights are counted, at the end, too, when their places among the waiting keys are there; and the row numbers of distinct keys, of which
    addresses are made at the end, once for each and not once for each occurrence.
    Returns the number of keys done: fewer than there are if index, chunks or the buckets of waiting keys have to grow first.
    """
    insert, new, step, progress, local, addresses, fresh, waiting = search
    wide, wide_mask, counters, move = address_of(index.buckets, 0), index.mask, index.counters, index.move
    old, old_mask, first, moved = move[OLD], move[OLD_MASK], move[FIRST], move[MOVED]
    first_ticket, before, unwritten, unknown = counters[TICKET], progress[DISTINCT], 0, 0
    if counts_sights(waiting) and (lacks_room(waiting, end - begin) or no_room(index, end - begin)):
        return 0
    count, j = before, begin
    places, ahead, numbers = address_of(local, progress[DONE] - begin), following - begin, address_of(fresh, 3 * BLOCK - before)
    # a full bucket's key may be in the next one, which is on the way, too, where many are full
    crowded = counters[LIVE] > (wide_mask + 1) * SLOTS // 4
    while True:
        if old == 0:  # two loops, so that neither needs more numbers than a processor has registers
            j, count = hits(wide, wide_mask, 0, 0, 0, 0, keys, ahead, j, end, places, numbers, first_ticket, count, crowded)
        else:
            j, count = hits(wide, wide_mask, old, old_mask, first, moved, keys, ahead, j, end, places, numbers, first_ticket, count, crowded)
        if j == end:
            break
        key = at(keys, j)
        line, hit, empty = find(key, wide, wide_mask, old, old_mask, first, moved)
        if hit == 0 and counts_sights(waiting):
            ask_for_sights(waiting, key)
            put(fresh, 2 * BLOCK + unknown, np.int64(j))
            unknown += 1
        elif hit == 0 and not insert:
            store(places + 4 * j, np.int32(0))
        else:
            if hit == 0:
                if no_room(index, 1):
                    end = j
                    break
                hit = empty & -empty
                unwritten = enter_new(index, line, hit, key, first_ticket, j, fresh, unwritten)
            place = number(line, hit, first_ticket, count, numbers)
            store(places + 4 * j, np.int32(place))
            count += np.int64(place == count)
        j += 1
    if counts_sights(waiting) and unknown > 0:
        count, unwritten = count_sights(index, search, keys, unknown, places, numbers, count, unwritten)
    for c in range(before, count):
        put(addresses, c, record_address(index.chunks, index.record_bytes, load(numbers + 8 * c, np.int64(0))))
    for i in range(unwritten):
        j = at(fresh, i)
        write_new_record(at(fresh, BLOCK + i), at(keys, j), key_field(at(keys, j)), step, *new)
    progress[DISTINCT], progress[DONE] = count, progress[DONE] + end - begin
    return end - begin


@kernel
def hits(wide, wide_mask, old, old_mask, first, moved, keys, ahead, j, end, places, numbers, first_ticket, count, crowded):
    """Write the places of the keys j .. end, up to the first that is not in the bucket where it is looked for first: nearly all are.

    ahead : of the key whose bucket is asked for meanwhile
    places : address of the place of key 0, int32
    numbers : address of the row's number of distinct key 0, int64
    crowded : whether the bucket behind it is asked for, too
    Returns where it has stopped, and how many distinct keys there are then.
    """
    while j < end:
        soon = at(keys, j + ahead)
        base, mask = home(soon, wide, wide_mask, old, old_mask, first, moved)
        line = base + (np.int64(soon) & mask) * BUCKET_BYTES
        prefetch(line)
        if crowded:
            prefetch(line + BUCKET_BYTES)
        key = at(keys, j)
        base, mask = home(key, wide, wide_mask, old, old_mask, first, moved)
        line = base + (np.int64(key) & mask) * BUCKET_BYTES
        hit = match4(line, key)
        if hit == 0:
            break
        place = number(line, hit, first_ticket, count, numbers)
        store(places + 4 * j, np.int32(place))
        count += np.int64(place == count)
        j += 1
    return j, count


@kernel(inline=True)
def find(key, wide, wide_mask, old, old_mask, first, moved):
    """(address of the bucket, bit of the slot) of a key; (of the first bucket with room, 0) where it is not there; and bits of that one's room."""
    base, mask = home(key, wide, wide_mask, old, old_mask, first, moved)
    bucket = np.int64(key) & mask
    line = base + bucket * BUCKET_BYTES
    hit, empty = match4(line, key), match4(line, np.uint64(0))
    while hit == 0 and empty == 0:
        bucket = (bucket + 1) & mask
        line = base + bucket * BUCKET_BYTES
        hit, empty = match4(line, key), match4(line, np.uint64(0))
    return line, hit, empty


@kernel(inline=True)
def count_sights(index, search, keys, unknown, places, numbers, count, unwritten):
    """Count the sights of some keys, which had no rows: those that get rows follow the batch's distinct keys so far.

    places, numbers : as `hits` has them
    Returns how many distinct keys and new records there are then.
    """
    step, fresh, waiting = search.step, search.fresh, search.waiting
    wide, first_ticket, move = address_of(index.buckets, 0), index.counters[TICKET], index.move
    for i in range(unknown):
        j, place = at(fresh, 2 * BLOCK + i), 0
        key = at(keys, j)
        line, hit, empty = find(key, wide, index.mask, move[OLD], move[OLD_MASK], move[FIRST], move[MOVED])
        if hit == 0 and sight(waiting, key, step) == ADMITTED:
            hit = empty & -empty
            unwritten = enter_new(index, line, hit, key, first_ticket, j, fresh, unwritten)
        if hit != 0:
            place = number(line, hit, first_ticket, count, numbers)
            count += np.int64(place == count)
        store(places + 4 * j, np.int32(place))
    return count, unwritten


@kernel(inline=True)
def no_room(index, rows):
    """Whether index or chunks have to grow before there are so many rows more."""
    counters, limits = index.counters, index.limits
    return counters[LIVE] + rows > limits[0] or counters[NEXT] + max(0, rows - counters[FREE]) > limits[1]


@kernel(inline=True)
def enter_new(index, line, hit, key, first_ticket, j, fresh, unwritten):
    """Give key j a row, in the slot of bit `hit` of a bucket; returns how many records of `fresh` are to be written then."""
    counters, slot = index.counters, trailing_zeros(hit)
    if counters[FREE] > 0:
        counters[FREE] -= 1
        unused = np.int64(at(index.free, counters[FREE]))
    else:
        unused = counters[NEXT]
        counters[NEXT] += 1
    counters[LIVE] += 1
    store(line + slot * 8, key)
    store(line + (ROWS_AT + slot) * 4, np.int32(unused))
    store(line + (MARKS_AT + slot) * 4, np.uint32(first_ticket - 1))
    record = record_address(index.chunks, index.record_bytes, unused)
    prefetch(record)
    put(fresh, unwritten, np.int64(j))
    put(fresh, BLOCK + unwritten, record)
    return unwritten + 1


@kernel(inline=True)
def number(line, hit, first_ticket, count, numbers):
    """The place among `count` distinct keys of the one in the slot of bit `hit` of a bucket: behind them if it is new to the batch.

    numbers : as `hits` has it
    """
    slot = trailing_zeros(hit)
    row = np.int64(load(line + (ROWS_AT + slot) * 4, np.int32(0)))
    mark = np.int64(load(line + (MARKS_AT + slot) * 4, np.uint32(0)))
    # no branch: whether the batch has had a key cannot be predicted, so its row's number goes behind the last one and
    # stays there only if the key is new
    place = min((mark - first_ticket) & 0xFFFFFFFF, count)
    store(numbers + 8 * count, row)
    store(line + (MARKS_AT + slot) * 4, np.uint32(first_ticket + place))
    return place


@kernel
def prefetch_buckets(index, keys, begin, end):
    """Prefetch the buckets of the keys begin .. end."""
    wide, wide_mask, move = address_of(index.buckets, 0), index.mask, index.move
    old, old_mask, first, moved = move[OLD], move[OLD_MASK], move[FIRST], move[MOVED]
    for j in range(begin, end):
        key = at(keys, j)
        base, mask = home(key, wide, wide_mask, old, old_mask, first, moved)
        prefetch(base + (np.int64(key) & mask) * BUCKET_BYTES)


@kernel(inline=True)
def soon_after(begin, end, n):
    """Where those of n listed keys begin whose buckets are asked for while the keys begin .. end are probed; some of the last ones twice."""
    return min(begin + BUCKETS_AHEAD, n - (end - begin))


@kernel
def look_up_listed(index, search, keys, fields):
    """Look up keys (n) uint64 of fields (n) uint16, which every key names itself.

    Returns 0, or for how many more rows there must be room before it can go on, with the same arguments.
    """
    n, progress = len(keys), search.progress
    prefetch_buckets(index, keys, progress[DONE], min(progress[DONE] + BUCKETS_AHEAD, n))
    while progress[DONE] < n:
        begin = progress[DONE]
        end = min(begin + BLOCK, n)
        done = probe(index, search, keys, begin, end, soon_after(begin, end, n))
        if done < end - begin:
            return end - begin if counts_sights(search.waiting) else 1
    return 0


@kernel
def pick(sparse, partition, owner, picked, to, progress):
    """Pick the owner's keys out of the next BLOCK occurrences, to the picked keys from `to` on; returns their number.

    The offsets of the samples that end here count the keys of all blocks.
    """
    begins, ends, keys, _, values = sparse
    n, i, begin = len(begins), progress[SAMPLE], progress[OCCURRENCE]
    count, before, left = 0, progress[DONE] + progress[END] - progress[BEGIN], BLOCK
    while i < n:
        soon = min(i + AHEAD, n - 1)
        for line in range(address_of(keys, at(begins, soon)), address_of(keys, at(ends, soon)), CACHE_LINE):
            prefetch_read(line)
        end = min(at(ends, i), begin + left)
        for j in range(begin, end):
            key = at(keys, j)
            put(picked.keys, to + count, key)  # always written, kept only if it is ours: no branch to mispredict
            copy_value(values, j, picked.values, before + count)
            count += np.int64(owner_of(partition, key, key_field(key)) == owner)
        left -= end - begin
        begin = end
        if end < at(ends, i):
            break
        i += 1
        put(picked.offsets, i, before + count)
        if i < n:
            begin = at(begins, i)
    progress[SAMPLE], progress[OCCURRENCE] = i, begin
    return count


@kernel
def look_up_own(index, search, sparse, partition, owner, picked):
    """Look up those keys of some samples that `owner` owns; returns as `look_up_listed`."""
    n, progress = len(sparse.begins), search.progress
    put(picked.offsets, 0, np.int64(0))
    if progress[SAMPLE] == 0 and n > 0:
        progress[OCCURRENCE] = max(progress[OCCURRENCE], at(sparse.begins, 0))
    while progress[SAMPLE] < n or progress[BEGIN] < progress[END]:
        begin, end = progress[BEGIN], progress[END]
        following = 0 if begin >= BLOCK else BLOCK
        if progress[FOLLOWING] == 0:
            progress[FOLLOWING] = pick(sparse, partition, owner, picked, following, progress)
            prefetch_buckets(index, picked.keys, following + end - begin, following + progress[FOLLOWING])  # probe asks for the others
        done = probe(index, search, picked.keys, begin, end, following)
        progress[BEGIN] += done
        if begin + done < end:
            return end - begin if counts_sights(search.waiting) else 1
        progress[BEGIN], progress[END], progress[FOLLOWING] = following, following + progress[FOLLOWING], 0
    return 0
