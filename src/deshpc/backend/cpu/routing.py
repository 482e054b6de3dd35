"""How a batch's keys travel: packed at home, unpacked at the owner.

A message from a home rank to an owner rank, fixed here and nowhere else (sections follow each other):
    unique keys uint64, grouped by field | occurrences int32: which unique key of the message each is, sample by
    sample | values float32: none, one or two an occurrence | occurrences of each sample, uint16 | zeros up to 8 bytes
and, ahead of it, its header: int32 number of unique keys of each field, then the number of occurrences.
"""

import numpy as np

from deshpc.backend.cpu.memory import address_of, at, load, prefetch_read, put, store
from deshpc.backend.cpu.values import copy_value, value_width
from deshpc.backend.record import CACHE_LINE
from deshpc.hashing.partition import owner_of
from deshpc.jit import kernel

AHEAD = 4  # samples between asking for a sample's occurrences and reading them
MOST_IN_SAMPLE = 65_535  # occurrences of one sample at one owner: the range of uint16


@kernel(inline=True)
def ask_for(begins, ends, keys, fields, values, i):
    """Prefetch the occurrences of a sample soon after sample i."""
    soon = min(i + AHEAD, len(begins) - 1)
    begin, end = at(begins, soon), at(ends, soon)
    for line in range(address_of(keys, begin), address_of(keys, end), CACHE_LINE):
        prefetch_read(line)
    for line in range(address_of(fields, begin), address_of(fields, end), CACHE_LINE):
        prefetch_read(line)
    if values is not None:
        width = value_width(values)
        for line in range(address_of(values, width * begin), address_of(values, width * end), CACHE_LINE):
            prefetch_read(line)


@kernel
def deduplicate(
    begins, ends, keys, fields, values, partition, modulus, residue, scratch, home, unique_keys, unique_fields, unique_ranks,
    own_offsets, occurrences, own_values,
):  # fmt: skip
    """Number the distinct keys whose owner is `residue` modulo `modulus`, in order of first appearance.

    Returns how many there are.  Modulus 1 takes all keys, `shards` those of one shard of every rank, `owners` one owner's.
    scratch : (2^p > nnz) int32, any contents;  home : (nnz) int64, place of each distinct key in scratch
    unique_* : key, field and owner rank of each distinct key
    own_offsets : (n + 1) int64, the occurrences taken of each sample;  occurrences : int32, each one's distinct key
    own_values : their values, None where values is None
    A scratch entry c is live if and only if c < count and home[c] is its own place, so nothing is cleared.
    """
    count, occurrence = 0, 0
    mask = len(scratch) - 1
    put(own_offsets, 0, np.int64(0))
    for i in range(len(begins)):
        ask_for(begins, ends, keys, fields, values, i)
        for j in range(at(begins, i), at(ends, i)):
            key = at(keys, j)
            if modulus > 1 and owner_of(partition, key, np.int64(at(fields, j))) % modulus != residue:
                continue
            place = np.int64(key) & mask
            while True:
                entry = np.int64(np.uint32(at(scratch, place)))
                if entry >= count or at(home, entry) != place:
                    field = at(fields, j)
                    put(scratch, place, np.int32(count))
                    put(home, count, place)
                    put(unique_keys, count, key)
                    put(unique_fields, count, field)
                    put(unique_ranks, count, np.int32(owner_of(partition, key, np.int64(field)) // partition.shards))
                    entry = count
                    count += 1
                    break
                if at(unique_keys, entry) == key:
                    break
                place = (place + 1) & mask
            put(occurrences, occurrence, np.int32(entry))
            copy_value(values, j, own_values, occurrence)
            occurrence += 1
        put(own_offsets, i + 1, np.int64(occurrence))
    return count


@kernel
def count_messages(unique_fields, unique_ranks, occurrences, header):
    """Fill header (N, F + 1) int32: unique keys of each field and occurrences for every owner rank."""
    header[:] = 0
    last = header.shape[1] - 1
    for u in range(len(unique_fields)):
        header[unique_ranks[u], unique_fields[u]] += 1
    for j in range(len(occurrences)):
        header[at(unique_ranks, np.int64(at(occurrences, j))), last] += 1


@kernel
def section_bytes(header, samples, width, sections):
    """Fill sections (N, 4) int64: bytes of keys, of occurrences with counts, of values, and of the whole message.

    samples : (N) int64, samples of the home rank of each message;  width : values of an occurrence
    """
    last = header.shape[1] - 1
    for r in range(len(header)):
        sections[r, 0] = 8 * header[r, :last].sum()
        sections[r, 1] = 4 * header[r, last] + 2 * samples[r]
        sections[r, 2] = 4 * width * header[r, last]
        total = sections[r, 0] + sections[r, 1] + sections[r, 2]
        sections[r, 3] = (total + 7) // 8 * 8


@kernel
def pack(begins, ends, values, unique_keys, unique_fields, unique_ranks, occurrences, header, sections, places, message):
    """Write the messages to all owner ranks one after another.  Returns -1, or a sample with too many keys.

    places : (unique) int32, scratch;  message : uint8, as long as all messages
    """
    ranks, fields = header.shape[0], header.shape[1] - 1
    samples, width = len(begins), value_width(values)
    begin = np.empty(ranks, np.int64)
    next_place = np.empty((ranks, fields), np.int64)
    address = address_of(message, 0)
    for r in range(ranks):
        begin[r] = address
        address += sections[r, 3]
        place = 0
        for f in range(fields):
            next_place[r, f] = place
            place += header[r, f]
    for u in range(len(unique_keys)):
        r = unique_ranks[u]
        place = next_place[r, unique_fields[u]]
        next_place[r, unique_fields[u]] += 1
        places[u] = place
        store(begin[r] + 8 * place, unique_keys[u])
    occurrence_at, value_at, count_at = begin + sections[:, 0], np.empty(ranks, np.int64), np.empty(ranks, np.int64)
    for r in range(ranks):
        value_at[r] = occurrence_at[r] + 4 * header[r, fields]
        count_at[r] = value_at[r] + sections[r, 2]
    in_sample = np.zeros(ranks, np.int64)
    occurrence = 0
    for i in range(samples):
        in_sample[:] = 0
        for j in range(at(begins, i), at(ends, i)):
            u = np.int64(at(occurrences, occurrence))
            occurrence += 1
            r = np.int64(at(unique_ranks, u))
            store(occurrence_at[r], at(places, u))
            occurrence_at[r] += 4
            if values is not None:
                for c in range(width):
                    store(value_at[r], at(values, width * j + c))
                    value_at[r] += 4
            in_sample[r] += 1
        for r in range(ranks):
            if in_sample[r] > MOST_IN_SAMPLE:
                return i
            store(count_at[r] + 2 * i, np.uint16(in_sample[r]))
    for r in range(ranks):
        for place in range(count_at[r] + 2 * samples, begin[r] + sections[r, 3]):
            store(place, np.uint8(0))
    return -1


@kernel
def unpack(
    message, header, sections, samples, partition, owner, places, own_keys, own_fields, own_offsets, own_occurrences, own_values
):
    """Read the messages from all home ranks, keeping what shard `owner` owns; returns the number of keys kept.

    places : int32, scratch, as long as the most unique keys of one message
    own_keys, own_fields : a key may come from several home ranks;  own_occurrences : which of own_keys each is
    own_offsets : (B + 1) int64, the occurrences of each sample of the global batch, in global order
    """
    fields, width = header.shape[1] - 1, value_width(own_values)
    keys, count, sample = 0, 0, 0
    own_offsets[0] = 0
    begin = address_of(message, 0)
    for r in range(len(header)):
        unique = 0
        for f in range(fields):
            for _ in range(header[r, f]):
                key = load(begin + 8 * unique, np.uint64(0))
                if owner_of(partition, key, np.int64(f)) == owner:
                    own_keys[keys] = key
                    own_fields[keys] = f
                    put(places, unique, np.int32(keys))
                    keys += 1
                else:
                    put(places, unique, np.int32(-1))
                unique += 1
        occurrence_at = begin + sections[r, 0]
        value_at = occurrence_at + 4 * header[r, fields]
        count_at = value_at + sections[r, 2]
        for i in range(samples[r]):
            for _ in range(np.int64(load(count_at + 2 * i, np.uint16(0)))):
                place = at(places, np.int64(load(occurrence_at, np.int32(0))))
                if place >= 0:
                    put(own_occurrences, count, place)
                    if own_values is not None:
                        for c in range(width):
                            put(own_values, width * count + c, load(value_at + 4 * c, np.float32(0)))
                    count += 1
                occurrence_at += 4
                value_at += 4 * width
            sample += 1
            put(own_offsets, sample, np.int64(count))
        begin += sections[r, 3]
    return keys


@kernel
def through(occurrences, local):
    """occurrences[j] = local[occurrences[j]]: from keys of the messages to distinct keys of the batch."""
    for j in range(len(occurrences)):
        put(occurrences, j, at(local, np.int64(at(occurrences, j))))
