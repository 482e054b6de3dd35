"""How a batch's keys travel: packed at home, unpacked at the owner.

A message from a home rank to an owner rank, fixed here and nowhere else (sections follow each other):
    unique keys uint64, grouped by field | occurrences: which unique key of the message each is, sample by sample | values
    float32: none, one or two an occurrence | occurrences of each sample, uint16 | zeros up to 8 bytes
and, ahead of it, its header: int32 number of unique keys of each field, then the number of occurrences.

An occurrence is an int32.  Where messages are narrow, as between nodes, it has as many bits as the largest number of its message
has, from the lowest bit of a uint32 on: that takes longer to write than to send inside a node.  There, keys that both sides know
are short numbers: `key_numbers` has that section's form, and writes and reads it.  Few distinct values are numbers of a table: `value_tables`.

Arguments that go together are those of `backend.arguments`.
"""

import numpy as np

from deshpc.backend.arguments import MessageValues
from deshpc.backend.cpu.bucket import match4, trailing_zeros
from deshpc.backend.cpu.memory import address_of, at, load, prefetch, prefetch_read, put, store
from deshpc.backend.cpu.packed import STREAM, append, begin_stream, bits_at, bits_of, finish, packed_bytes
from deshpc.backend.cpu.table import BUCKET_BYTES, SLOTS
from deshpc.backend.cpu.values import copy_value, receive_value, send_bits, send_value, value_address, value_width
from deshpc.backend.record import CACHE_LINE
from deshpc.backend.values import FEW_VALUES
from deshpc.hashing.partition import key_field, owner_of
from deshpc.jit import kernel

AHEAD = 8  # samples between asking for a sample's occurrences and reading them
_NOT_OURS, _NOT_YET = -1, 2**31 - 1  # of a message's unique keys
MOST_IN_SAMPLE = 65_535  # occurrences of one sample at one owner: the range of uint16


@kernel(inline=True)
def prefetch_occurrences(sparse, i):
    """Prefetch the occurrences of a sample soon after sample i."""
    begins, ends, keys, _, values = sparse
    soon = min(i + AHEAD, len(begins) - 1)
    begin, end = at(begins, soon), at(ends, soon)
    for line in range(address_of(keys, begin), address_of(keys, end), CACHE_LINE):
        prefetch_read(line)
    for line in range(value_address(values, begin), value_address(values, end), CACHE_LINE):
        prefetch_read(line)


def deduplicate(sparse, partition, modulus, residue, buckets, unique, header, whole):
    """Number the distinct keys, as `number_keys` does, with its answer, and count them.

    header : (N, F + 1) int32, filled where the buckets suffice: distinct keys of each owner rank and field, then occurrences
    whole : whether occurrences are counted; what is said of them means nothing else
    """
    count, taken = number_keys(sparse, partition, modulus, residue, buckets, unique)
    if count >= 0:
        count_keys(unique.fields[:count], unique.ranks, header)
        if whole:
            count_occurrences(unique.occurrences[:taken], unique.ranks, header)
    return count, taken


@kernel
def number_keys(sparse, partition, modulus, residue, buckets, unique):
    """Number the distinct keys whose owner is `residue` modulo `modulus`, in order of first appearance.

    Returns (how many there are, occurrences), or (-1, 0) where there are too many keys for the buckets.
    Modulus 1 takes all keys, `shards` those of one shard of every rank, `owners` one owner's.
    buckets : (8 n) uint64, n a power of two, any contents: a bucket is one cache line, of four keys and one more than the
    number of each (uint32), 0 where there is none
    unique : UniqueKeys of the occurrences taken, with room for one more key; its values are None where those of `sparse` are
    """
    begins, ends, keys, _, values = sparse
    buckets[:] = 0
    base, mask = address_of(buckets, 0), len(buckets) // 8 - 1
    count, occurrence, limit = 0, 0, len(buckets) // 8 * SLOTS * 3 // 5
    put(unique.offsets, 0, np.int64(0))
    for i in range(len(begins)):
        prefetch_occurrences(sparse, i)
        following = min(i + 1, len(begins) - 1)
        for j in range(at(begins, following), at(ends, following)):
            prefetch(base + (np.int64(at(keys, j)) & mask) * BUCKET_BYTES)
        for j in range(at(begins, i), at(ends, i)):
            key = at(keys, j)
            field = key_field(key)
            owner = owner_of(partition, key, field)
            if modulus > 1 and owner % modulus != residue:
                continue
            line = base + (np.int64(key) & mask) * BUCKET_BYTES
            hit, empty = match4(line, key), match4(line, np.uint64(0))
            while hit | empty == 0:
                line = base + ((line - base) // BUCKET_BYTES + 1 & mask) * BUCKET_BYTES
                hit, empty = match4(line, key), match4(line, np.uint64(0))
            # no branch: whether the batch has had a key cannot be predicted, so all is written as if it were new
            slot = trailing_zeros(hit if hit != 0 else empty)
            number_at = line + (SLOTS * 2 + slot) * 4
            entry = min(np.int64(load(number_at, np.uint32(0))) - 1 & 0xFFFFFFFF, count)
            store(line + slot * 8, key)
            store(number_at, np.uint32(entry + 1))
            put(unique.keys, count, key)
            put(unique.fields, count, np.uint16(field))
            put(unique.ranks, count, np.int32(owner // partition.shards))
            count += np.int64(entry == count)
            put(unique.occurrences, occurrence, np.int32(entry))
            copy_value(values, j, unique.values, occurrence)
            occurrence += 1
            if count > limit:
                return -1, 0
        put(unique.offsets, i + 1, np.int64(occurrence))
    return count, occurrence


@kernel
def count_keys(unique_fields, unique_ranks, header):
    """Fill header (N, F + 1) int32: unique keys of each owner rank and field, 0 behind them."""
    header[:] = 0
    for u in range(len(unique_fields)):
        header[unique_ranks[u], unique_fields[u]] += 1


@kernel
def count_occurrences(occurrences, unique_ranks, header):
    """header (N, F + 1)[:, F] += occurrences of every owner rank."""
    ranks, last = header.shape[0], header.shape[1] - 1
    counts = np.zeros(4 * ranks, np.int32)  # in turns: no addition has to wait for the one before
    for j in range(len(occurrences)):
        place = (j & 3) * ranks + np.int64(at(unique_ranks, np.int64(at(occurrences, j))))
        put(counts, place, np.int32(at(counts, place) + 1))
    for place in range(4 * ranks):
        header[place % ranks, last] += counts[place]


@kernel(inline=True)
def _occurrence_bits(unique, narrow):
    """Bits of an occurrence of so many unique keys."""
    return bits_of(unique) if narrow else 32


@kernel
def section_bytes(header, samples, width, narrow, sections):
    """Fill sections (N, 4) int64: bytes of keys, of occurrences, of values, and of the whole message, counts of samples included.

    samples : (N) int64, samples of the home rank of each message
    width : values of an occurrence
    narrow : whether occurrences have no more bits than they need
    """
    last = header.shape[1] - 1
    for r in range(len(header)):
        unique = np.int64(header[r, :last].sum())
        sections[r, 0] = 8 * unique
        sections[r, 1] = packed_bytes(np.int64(header[r, last]), _occurrence_bits(unique, narrow))
        sections[r, 2] = 4 * width * header[r, last]
        total = sections[r, 0] + sections[r, 1] + sections[r, 2] + 2 * samples[r]
        sections[r, 3] = (total + 7) // 8 * 8


def pack(sparse, unique, places, messages):
    """Write the messages to all owner ranks.  Returns -1, or a sample with too many keys.

    unique : UniqueKeys of all occurrences of `sparse`
    places : (unique) int32, of keys in their messages: filled, where `messages.keys` does not say that these are written
    """
    if messages.keys is None:
        _pack_keys(unique, places, messages.header, begins_of(messages))
    return _pack_rest(sparse, unique, places, _complete(messages, begins_of(messages)))


def _complete(messages, keys):
    """Messages whose keys begin at these addresses; their values travel as they are, where nothing else is said."""
    values = messages.values
    if values is None:
        values = MessageValues(np.zeros(len(keys), np.int64), np.empty(0, np.uint64), np.empty(0, np.uint8))
    return messages._replace(keys=keys, values=values)


def begins_of(messages):
    """(N) int64: addresses of messages."""
    ends = np.cumsum(messages.sections[:, 3])
    return messages.bytes.ctypes.data + ends - messages.sections[:, 3]


@kernel
def _pack_keys(unique, places, header, begin):
    """Write the keys, 8 bytes each, to the messages that begin at the addresses `begin`, (N) int64."""
    unique_keys, unique_fields, unique_ranks = unique.keys, unique.fields, unique.ranks
    ranks, fields = header.shape[0], header.shape[1] - 1
    next_place = np.empty((ranks, fields), np.int64)
    for r in range(ranks):
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


@kernel
def _pack_rest(sparse, unique, places, messages):
    """Write what follows the keys; see `pack`."""
    begins, ends, _, _, values = sparse
    occurrences, unique_ranks, header, sections = unique.occurrences, unique.ranks, messages.header, messages.sections
    ranks, samples, begin = header.shape[0], len(begins), messages.keys
    bits = np.empty(ranks, np.int64)
    for r in range(ranks):
        bits[r] = _occurrence_bits(np.int64(header[r, : header.shape[1] - 1].sum()), messages.narrow)
    occurrence_at, value_at, count_at = begin + sections[:, 0], np.empty(ranks, np.int64), np.empty(ranks, np.int64)
    for r in range(ranks):
        value_at[r] = occurrence_at[r] + sections[r, 1]
        count_at[r] = value_at[r] + sections[r, 2]
    write = (begins, ends, values, occurrences, unique_ranks, places, value_at, count_at)
    sample = _write_bits(write, bits, occurrence_at, messages.values) if messages.narrow else _write_numbers(write, occurrence_at)
    for r in range(ranks):
        for place in range(count_at[r] + 2 * samples, begin[r] + sections[r, 3]):
            store(place, np.uint8(0))
    return sample


@kernel(inline=True)
def _write_numbers(write, occurrence_at):
    """Write occurrences as int32, values and counts of all samples; returns -1, or a sample with too many.

    write : (begins, ends, values, occurrences, ranks of unique keys, their places in messages, where the values of each rank's message
    begin, and the counts of its samples)
    occurrence_at : (N) int64, where the occurrences of each message begin; they end there afterwards
    """
    begins, ends, values, occurrences, unique_ranks, places, value_at, count_at = write
    width, before, occurrence = value_width(values), occurrence_at.copy(), 0
    for i in range(len(begins)):
        for j in range(at(begins, i), at(ends, i)):
            u = np.int64(at(occurrences, occurrence))
            occurrence += 1
            r = np.int64(at(unique_ranks, u))
            place = at(occurrence_at, r)
            store(place, at(places, u))
            put(occurrence_at, r, place + 4)
            send_value(values, j, value_at[r])
            value_at[r] += 4 * width
        for r in range(len(occurrence_at)):
            in_sample = (occurrence_at[r] - before[r]) // 4
            if in_sample > MOST_IN_SAMPLE:
                return i
            store(count_at[r] + 2 * i, np.uint16(in_sample))
            before[r] = occurrence_at[r]
    return -1


@kernel
def _write_bits(write, bits, occurrence_at, numbered):
    """As `_write_numbers`, with bits[r] bits an occurrence of rank r, and values as MessageValues say."""
    begins, ends, values, occurrences, unique_ranks, places, value_at, count_at = write
    distinct, tables, numbers = numbered
    ranks, width, occurrence = len(occurrence_at), value_width(values), 0
    in_sample, streams = np.zeros(ranks, np.int64), np.empty(2 * ranks * STREAM, np.int64)  # of occurrences, then of values
    for r in range(ranks):
        begin_stream(streams, r, occurrence_at[r], bits[r])
        begin_stream(streams, ranks + r, value_at[r] + 4 * width * distinct[r], bits_of(distinct[r]))
        for number in range(distinct[r]):
            send_bits(tables[r * FEW_VALUES + number], values, value_at[r] + 4 * width * number)
    first_stream, first_value = address_of(streams, 0), address_of(streams, ranks * STREAM)
    for i in range(len(begins)):
        for j in range(at(begins, i), at(ends, i)):
            u = np.int64(at(occurrences, occurrence))
            r = np.int64(at(unique_ranks, u))
            append(at(places, u), first_stream + 8 * STREAM * r)
            in_sample[r] += 1
            if width > 0:
                if at(distinct, r) > 0:
                    append(at(numbers, occurrence), first_value + 8 * STREAM * r)
                else:
                    send_value(values, j, value_at[r])
                    value_at[r] += 4 * width
            occurrence += 1
        for r in range(ranks):
            if in_sample[r] > MOST_IN_SAMPLE:
                return i
            store(count_at[r] + 2 * i, np.uint16(in_sample[r]))
            in_sample[r] = 0
    finish(streams)
    return -1


def unpack(messages, partition, owner, places, unique_fields, kept):
    """Read the messages from all home ranks, keeping what shard `owner` owns; returns the numbers of keys and occurrences kept.

    See `_unpack`."""
    messages = _complete(messages, begins_of(messages) if messages.keys is None else messages.keys)
    return _unpack(messages, partition, owner, places, unique_fields, kept)


@kernel
def _unpack(messages, partition, owner, places, unique_fields, kept):
    """As `unpack`.

    places (int32), unique_fields (uint16) : scratch, as long as the most unique keys of one message
    kept : Unpacked; keys are in the order in which the occurrences of a home rank need them, and one may come from several
    """
    header, sections, samples = messages.header, messages.sections, messages.samples
    fields, width = header.shape[1] - 1, value_width(kept.values)
    keys, count, sample = 0, 0, 0
    kept.offsets[0] = 0
    begin = address_of(messages.bytes, 0)
    for r in range(len(header)):
        unique, keys_at = 0, messages.keys[r]
        for f in range(fields):
            for _ in range(header[r, f]):
                key = load(keys_at + 8 * unique, np.uint64(0))
                ours = owner_of(partition, key, np.int64(f)) == owner
                put(places, unique, np.int32(_NOT_YET if ours else _NOT_OURS))
                put(unique_fields, unique, np.uint16(f))
                unique += 1
        occurrence_at, bits, bit = begin + sections[r, 0], _occurrence_bits(unique, messages.narrow), 0
        mask = (np.int64(1) << bits) - 1
        value_at = occurrence_at + sections[r, 1]
        count_at = value_at + sections[r, 2]
        distinct, next_value_at, value_bit = messages.values.distinct[r], value_at, 0
        numbers_at, value_bits = value_at + 4 * width * distinct, bits_of(distinct)
        value_mask = (np.int64(1) << value_bits) - 1
        for i in range(samples[r]):
            for _ in range(np.int64(load(count_at + 2 * i, np.uint16(0)))):
                one = bits_at(occurrence_at, bit, bits, mask) if messages.narrow else np.int64(load(occurrence_at + (bit >> 3), np.int32(0)))
                place = np.int64(at(places, one))
                if place != _NOT_OURS:
                    place = min(place, keys)  # all is written as if the key were needed for the first time: no branch
                    put(places, one, np.int32(place))
                    put(kept.keys, keys, load(keys_at + 8 * one, np.uint64(0)))
                    put(kept.fields, keys, at(unique_fields, one))
                    keys += np.int64(place == keys)
                    put(kept.occurrences, count, np.int32(place))
                    if width > 0 and distinct > 0:
                        next_value_at = value_at + 4 * width * bits_at(numbers_at, value_bit, value_bits, value_mask)
                    receive_value(next_value_at, kept.values, count)
                    count += 1
                bit += bits
                value_bit += value_bits
                next_value_at += 4 * width
            sample += 1
            put(kept.offsets, sample, np.int64(count))
        begin += sections[r, 3]
    return keys, count


@kernel
def through(occurrences, local):
    """occurrences[j] = local[occurrences[j]]: from keys of the messages to distinct keys of the batch."""
    for j in range(len(occurrences)):
        put(occurrences, j, at(local, np.int64(at(occurrences, j))))
