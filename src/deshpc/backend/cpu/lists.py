"""A batch's keys between the ranks and threads of one node: home writes a list for every owner, who looks its keys up where they lie.

A list has every occurrence that one owner has in one part of the samples, in their order: keys uint64, then, if there are any, values
float32.  Beside the lists of a part are their ends: for each owner and sample, int32, how many occurrences its list has by then.
No key is looked for twice, so nobody has to know which are distinct: that costs more than to read some again in the node's memory.

Arguments that go together are those of `backend.arguments`.
"""

import numpy as np
from numba import carray

from deshpc.backend.cpu.admission import counts_sights
from deshpc.backend.cpu.lookup import BLOCK, BUCKETS_AHEAD, OCCURRENCE, SAMPLE, prefetch_buckets, probe, soon_after
from deshpc.backend.cpu.memory import address_of, at, load, pointer, prefetch_read, put, store
from deshpc.backend.cpu.values import receive_value, send_value, value_address, value_width
from deshpc.backend.record import CACHE_LINE
from deshpc.hashing.partition import key_field, owner_of
from deshpc.jit import kernel

AHEAD = 12  # samples between asking for a sample's occurrences and reading them


@kernel
def divide(sparse, partition, lists, ends, room, counts):
    """Write the occurrences of some samples to the lists of their owners, and the ends of these.

    lists : (owners) int64, addresses of the lists;  ends : address;  room : occurrences that a list has room for
    counts : (owners) int64, filled with occurrences of each list
    Returns 0, or, where a list may get too long, how much room each needs; then lists, ends and counts mean nothing.
    """
    begins, finishes, keys, _, values = sparse
    n, owners, width, longest = len(begins), len(lists), value_width(values), 0
    counts[:] = 0
    for i in range(n):
        soon = min(i + AHEAD, n - 1)
        for line in range(address_of(keys, at(begins, soon)), address_of(keys, at(finishes, soon)), CACHE_LINE):
            prefetch_read(line)
        for line in range(value_address(values, at(begins, soon)), value_address(values, at(finishes, soon)), CACHE_LINE):
            prefetch_read(line)
        begin, end = at(begins, i), at(finishes, i)
        if longest + end - begin > room:
            return _room_needed(sparse, partition, counts)
        for j in range(begin, end):
            key = at(keys, j)
            owner = owner_of(partition, key, key_field(key))
            place, first = at(counts, owner), at(lists, owner)
            store(first + 8 * place, key)
            if width > 0:
                send_value(values, j, first + 8 * room + 4 * width * place)
            put(counts, owner, place + 1)
        for owner in range(owners):
            store(ends + 4 * (owner * n + i), np.int32(at(counts, owner)))
            longest = max(longest, at(counts, owner))
    return 0


@kernel
def _room_needed(sparse, partition, counts):
    """Room that each list needs: `divide` leaves as much as the longest sample may take."""
    begins, finishes, keys, _, _ = sparse
    longest_sample = 0
    counts[:] = 0
    for i in range(len(begins)):
        longest_sample = max(longest_sample, at(finishes, i) - at(begins, i))
        for j in range(at(begins, i), at(finishes, i)):
            owner = owner_of(partition, at(keys, j), key_field(at(keys, j)))
            put(counts, owner, at(counts, owner) + 1)
    return counts.max() + longest_sample


@kernel
def look_up_lists(index, search, lists, offsets, values):
    """Look up the keys of an owner's lists, part after part; returns as `lookup.look_up_listed`.

    lists : KeyLists
    offsets : (n + 1) int64, filled with the occurrences of each sample
    values : of the occurrences, filled; None where there are none
    """
    progress, parts = search.progress, len(lists.samples)
    if progress[SAMPLE] == 0 and progress[OCCURRENCE] == 0:
        _collect(lists, offsets, values)
    while progress[SAMPLE] < parts:
        part = progress[SAMPLE]
        count = _count(lists, part)
        keys = carray(pointer(at(lists.keys, part)), count, np.uint64)
        prefetch_buckets(index, keys, progress[OCCURRENCE], min(progress[OCCURRENCE] + BUCKETS_AHEAD, count))
        while progress[OCCURRENCE] < count:
            begin = progress[OCCURRENCE]
            end = min(begin + BLOCK, count)
            done = probe(index, search, keys, begin, end, soon_after(begin, end, count))
            progress[OCCURRENCE] += done
            if done < end - begin:
                return end - begin if counts_sights(search.waiting) else 1
        progress[SAMPLE], progress[OCCURRENCE] = part + 1, 0
    return 0


@kernel(inline=True)
def _count(lists, part):
    """Occurrences of the list of a part."""
    samples = at(lists.samples, part)
    return np.int64(load(at(lists.ends, part) + 4 * (samples - 1), np.int32(0))) if samples > 0 else 0


@kernel
def _collect(lists, offsets, values):
    """Fill offsets and values of `look_up_lists`."""
    sample, before, width = 0, 0, value_width(values)
    put(offsets, 0, np.int64(0))
    for part in range(len(lists.samples)):
        ends = at(lists.ends, part)
        for i in range(at(lists.samples, part)):
            sample += 1
            put(offsets, sample, before + np.int64(load(ends + 4 * i, np.int32(0))))
        count = _count(lists, part)
        if width > 0:
            first = at(lists.keys, part) + 8 * lists.room
            for j in range(count):
                receive_value(first + 4 * width * j, values, before + j)
        before += count
