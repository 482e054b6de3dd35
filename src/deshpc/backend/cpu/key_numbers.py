"""Short numbers for keys that home and owner both know, because the one has sent them to the other before.

Home and owner number the keys that travel between them from 0, in the order in which they travel for the first time; so both know all
numbers, and nothing is said about them.  Where there are as many as either has room for, later keys get none.

    keys of a message: those without a number, uint64, in order of first appearance | numbers of the others, as gaps

Numbers go up: a set of them is its gaps, and since a batch has many keys that it often has, gaps are small.  One of g takes g / 2^l
zeros, a one, and the l low bits of g (a Rice code).  Of n numbers below D that is at most n (l + 1) + (D - n) / 2^l bits, and so
many, in whole uint64, the message has: both sides know n and D, and l is what makes it least.  Where D is below 3 n it is a bitmap.

Either side places keys by field: inside a field those that have numbers by these, then the others as they are listed.

A dictionary is that of one home thread or owner shard, with the N ranks on the other side.  far (N) bool : those that have numbers.
"""

import numpy as np

from deshpc.backend.cpu.bucket import match4, trailing_zeros
from deshpc.backend.cpu.memory import address_of, at, load, prefetch, put, store
from deshpc.backend.cpu.table import BUCKET_BYTES, SLOTS
from deshpc.hashing.key import FIELD_SHIFT, FIELDS
from deshpc.jit import kernel

_AHEAD = 16  # keys between asking for a key's bucket and looking into it
_WORD = 64  # bits
_FIELD_SHIFT, _FIELD_MASK = np.uint64(FIELD_SHIFT), np.uint64(FIELDS - 1)


@kernel(inline=True)
def _low_bits(known, held):
    """l, with which `known` gaps of `held` numbers take the fewest bits."""
    bits = 0
    while known << (bits + 1) < held - known:
        bits += 1
    return bits


@kernel(inline=True)
def _code_bytes(known, held):
    """Bytes of the gaps of `known` numbers below `held`."""
    if known == 0:
        return 0
    low = _low_bits(known, held)
    return (known * (low + 1) + (held - known >> low) + _WORD - 1) // _WORD * 8


@kernel
def key_bytes(unique, far, known, held, found):
    """Fill found (N) int64: bytes of the keys of each message.

    unique, known, held : (N) int64, its distinct keys, those of them that have numbers, and numbers that there are
    """
    for r in range(len(found)):
        found[r] = 8 * (unique[r] - known[r]) + _code_bytes(known[r], held[r]) if far[r] else 8 * unique[r]


@kernel(inline=True)
def _bucket_of(key, base, mask):
    return base + (np.int64(key) & mask) * BUCKET_BYTES


@kernel(inline=True)
def _find(key, base, mask):
    """(address of a key's bucket, bits of the places in it that have the key, and that are empty)"""
    line = _bucket_of(key, base, mask)
    hit, empty = match4(line, key), match4(line, np.uint64(0))
    while hit | empty == 0:
        line = base + ((line - base) // BUCKET_BYTES + 1 & mask) * BUCKET_BYTES
        hit, empty = match4(line, key), match4(line, np.uint64(0))
    return line, hit, empty


@kernel
def grow(buckets, larger):
    """Put all keys into `larger`, which is zero, as `buckets`: (8 n) uint64, n a power of two, see `routing.number_keys`."""
    base, mask = address_of(larger, 0), len(larger) // 8 - 1
    for place in range(len(buckets) // 8):
        line = address_of(buckets, 0) + place * BUCKET_BYTES
        for slot in range(SLOTS):
            key = load(line + slot * 8, np.uint64(0))
            if key != 0:
                target, _, empty = _find(key, base, mask)
                free = trailing_zeros(empty)
                store(target + free * 8, key)
                store(target + (SLOTS * 2 + free) * 4, load(line + (SLOTS * 2 + slot) * 4, np.uint32(0)))


@kernel
def number(keys, ranks, far, admit, sent, numbers, known):
    """Look up the numbers of a batch's distinct keys, and mark them; give the others numbers from now on, if `admit`.

    keys, ranks : (unique) uint64 and int32, with the rank each goes to
    sent : SentKeys, with room in its buckets for all of them
    numbers : (unique) int32, filled: -1 for keys that travel whole
    known : (N) int64, filled: keys of each rank that have numbers
    """
    known[:] = 0
    base, mask = address_of(sent.buckets, 0), len(sent.buckets) // 8 - 1
    most, last = sent.local.shape[1], len(keys) - 1
    words = most // _WORD
    for u in range(len(keys)):
        prefetch(_bucket_of(at(keys, min(u + _AHEAD, last)), base, mask))
        r = np.int64(at(ranks, u))
        put(numbers, u, np.int32(-1))
        if not far[r]:
            continue
        line, hit, empty = _find(at(keys, u), base, mask)
        if hit != 0:
            found = np.int64(load(line + (SLOTS * 2 + trailing_zeros(hit)) * 4, np.uint32(0)))
            word = r * words + found // _WORD
            put(sent.marked, word, at(sent.marked, word) | np.uint64(1) << np.uint64(found % _WORD))
            put(sent.local, r * most + found, np.int32(u))
            put(numbers, u, np.int32(found))
            known[r] += 1
        elif admit and sent.counts[r] < most:
            slot = trailing_zeros(empty)
            store(line + slot * 8, at(keys, u))
            store(line + (SLOTS * 2 + slot) * 4, np.uint32(sent.counts[r]))
            sent.counts[r] += 1


@kernel(inline=True)
def _first_places(counts):
    """(N, F) int64: where the keys of each field begin in each rank's list."""
    places = np.empty(counts.shape, np.int64)
    for r in range(counts.shape[0]):
        place = 0
        for f in range(counts.shape[1]):
            places[r, f] = place
            place += counts[r, f]
    return places


@kernel
def write(unique, counts, far, sent, numbers, known, held, firsts, begins, places, message):
    """Write the keys of all messages, after `number`, whose marks are cleared.

    unique : UniqueKeys;  counts : (N, F) int32, keys of each rank and field
    held : (N) int64, numbers that there were before
    firsts : (N) int64, added to the places of each rank's keys;  begins : (N) int64, bytes of `message` where its keys begin
    places : (unique) int32, filled
    """
    keys, fields, ranks = unique.keys, unique.fields, unique.ranks
    next_place, most, words = _first_places(counts), sent.local.shape[1], sent.local.shape[1] // _WORD
    listed_at = np.empty(len(begins), np.int64)
    for r in range(len(begins)):
        listed_at[r] = address_of(message, 0) + begins[r]
        if not far[r] or known[r] == 0:
            continue
        code = listed_at[r] + 8 * (np.int64(counts[r].sum()) - known[r])
        for place in range(code, code + _code_bytes(known[r], held[r]), 8):
            store(place, np.uint64(0))
        low, bit, following = _low_bits(known[r], held[r]), 0, 0
        low_mask = (1 << low) - 1
        for word in range((held[r] + _WORD - 1) // _WORD):
            marks = at(sent.marked, r * words + word)
            if marks == 0:
                continue
            put(sent.marked, r * words + word, np.uint64(0))
            while marks != 0:
                one = word * _WORD + trailing_zeros(np.int64(marks))
                marks &= marks - np.uint64(1)
                gap, following = one - following, one + 1
                bit += gap >> low
                _set_bits(code, bit, np.uint64((gap & low_mask) << 1 | 1))
                bit += low + 1
                u = np.int64(at(sent.local, r * most + one))
                field = np.int64(at(fields, u))
                put(places, u, np.int32(firsts[r] + next_place[r, field]))
                next_place[r, field] += 1
    for u in range(len(keys)):
        if at(numbers, u) >= 0:
            continue
        r, field = np.int64(at(ranks, u)), np.int64(at(fields, u))
        place = next_place[r, field]
        next_place[r, field] += 1
        put(places, u, np.int32(firsts[r] + place))
        if far[r]:
            store(listed_at[r], at(keys, u))
            listed_at[r] += 8
        else:
            store(listed_at[r] + 8 * place, at(keys, u))


@kernel(inline=True)
def _set_bits(address, bit, value):
    """Set the bits of `value`, at most 33, from bit number `bit` of uint64s on, which are zero there."""
    place, shift = address + (bit >> 6 << 3), bit & 63
    store(place, load(place, np.uint64(0)) | value << np.uint64(shift))
    rest = value >> np.uint64(1) >> np.uint64(63 - shift)
    if rest != 0:
        store(place + 8, load(place + 8, np.uint64(0)) | rest)


@kernel(inline=True)
def _next_one(address, bit):
    """Number of the first bit from number `bit` of uint64s on that is set."""
    word = load(address + (bit >> 6 << 3), np.uint64(0)) >> np.uint64(bit & 63)
    while word == 0:
        bit = (bit | 63) + 1
        word = load(address + (bit >> 6 << 3), np.uint64(0))
    return bit + trailing_zeros(np.int64(word))


@kernel(inline=True)
def _bits_at(address, bit, bits):
    """The number (int64) in `bits` bits, 1 to 32, from bit number `bit` of uint64s on."""
    place, shift = address + (bit >> 6 << 3), bit & 63
    word = load(place, np.uint64(0)) >> np.uint64(shift)
    if shift + bits > 64:
        word |= load(place + 8, np.uint64(0)) << np.uint64(64 - shift)
    return np.int64(word) & ((1 << bits) - 1)


@kernel
def read(message, begins, counts, far, known, admit, received, keys, fields):
    """Read the keys of all messages, and remember them, if `admit`.

    begins : (N) int64, bytes of `message` where the keys of each rank begin
    counts : (N, F) int32;  known : (N) int64, as `number` has counted
    received : ReceivedKeys
    keys, fields : uint64 and uint16, filled, rank by rank and field by field
    """
    next_place, most, first = _first_places(counts), received.keys.shape[1], 0
    for r in range(len(begins)):
        unique, listed = np.int64(counts[r].sum()), address_of(message, 0) + begins[r]
        place = first
        for f in range(counts.shape[1]):
            for _ in range(counts[r, f]):
                put(fields, place, np.uint16(f))
                place += 1
        if not far[r]:
            for i in range(unique):
                put(keys, first + i, load(listed + 8 * i, np.uint64(0)))
            first += unique
            continue
        held = received.counts[r]
        code, bit, following = listed + 8 * (unique - known[r]), 0, 0
        low = _low_bits(known[r], held) if known[r] > 0 else 0
        for _ in range(known[r]):
            begin = bit
            bit = _next_one(code, begin)
            gap = bit - begin << low
            if low > 0:
                gap |= _bits_at(code, bit + 1, low)
            bit += low + 1
            following += gap
            key = at(received.keys, r * most + following)
            following += 1
            _put_by_field(key, next_place, r, first, keys)
        for i in range(unique - known[r]):
            key = load(listed + 8 * i, np.uint64(0))
            _put_by_field(key, next_place, r, first, keys)
            if admit and received.counts[r] < most:
                put(received.keys, r * most + received.counts[r], key)
                received.counts[r] += 1
        first += unique


@kernel(inline=True)
def _put_by_field(key, next_place, r, first, keys):
    field = np.int64(key >> _FIELD_SHIFT & _FIELD_MASK)
    put(keys, first + next_place[r, field], key)
    next_place[r, field] += 1
