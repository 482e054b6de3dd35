"""The key of a feature: the number of its field, and 48 bits of a stable hash of its field's name and its raw value.

    seed = XXH64(field name in UTF-8, seed 0)
    hash = XXH64(raw value bytes, seed)
    key  = hash, but for bits 32 .. 47, which are the field's number      0 is no key: then RESERVED

So no two fields share a key, whatever their values, and a key names one row everywhere: in tables, files and messages.  Two
values of one field share a key, and so a row, if 48 bits of their hashes are equal: of 10^6 values about 0.002 pairs, of
10^8 about 18, of 10^9 about 1,800.
A key's upper half chooses its owner and its lowest bits its bucket (`hashing.partition`): the field stands where neither
depends on it, but for the last of 2^16 steps between owners.

Plain Python, so that a saved model can be read without a compiler; `hashing.xxh64` is the compiled twin.
"""

from functools import cache

HASH_ID = "xxh64-48-field-16"
"""Names the definition above in saved models; a change of the definition needs a new name."""

FIELD_SHIFT = 32
"""A key's bits from here on are its field's number."""

FIELDS = 1 << 16
"""Fields that keys can tell apart."""

FIELD_BITS = (FIELDS - 1) << FIELD_SHIFT

RESERVED = 0x9E37_0000_7F4A_7C15
"""The key of field 0 whose hash is 0.  It may be another value's key in that field, as any two hashes may be equal."""

# The five primes of XXH64, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
PRIME_1 = 0x9E3779B185EBCA87
PRIME_2 = 0xC2B2AE3D27D4EB4F
PRIME_3 = 0x165667B19E3779F9
PRIME_4 = 0x85EBCA77C2B2AE63
PRIME_5 = 0x27D4EB2F165667C5

_MASK = 0xFFFFFFFFFFFFFFFF


def key(field: int, name: str, value: bytes | str) -> int:
    """Key of a raw value (text stands for its UTF-8 bytes) of field number `field`, which has that name; never 0."""
    data = value.encode() if isinstance(value, str) else value
    return with_field(xxh64_python(data, field_seed(name)), field)


def with_field(hashed: int, field: int) -> int:
    """The key of a hash in field number `field`."""
    return ((hashed & ~FIELD_BITS) | (field << FIELD_SHIFT)) or RESERVED


@cache
def field_seed(field_name: str) -> int:
    """Seed of the hash of a field's values."""
    return xxh64_python(field_name.encode(), 0)


def xxh64_python(data: bytes, seed: int) -> int:
    """XXH64 of `data`, as the xxHash specification has it."""
    end = len(data)
    position = 0
    if end >= 32:
        lanes = [seed + PRIME_1 + PRIME_2, seed + PRIME_2, seed, seed - PRIME_1]
        while position + 32 <= end:
            lanes = [_round(lane, _word(data, position + 8 * i, 8)) for i, lane in enumerate(lanes)]
            position += 32
        state = sum(_rotate(lane, turn) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            state = ((state ^ _round(0, lane)) * PRIME_1 + PRIME_4) & _MASK
    else:
        state = seed + PRIME_5
    state = (state + end) & _MASK
    while position + 8 <= end:
        state ^= _round(0, _word(data, position, 8))
        state = (_rotate(state, 27) * PRIME_1 + PRIME_4) & _MASK
        position += 8
    if position + 4 <= end:
        state ^= _word(data, position, 4) * PRIME_1 & _MASK
        state = (_rotate(state, 23) * PRIME_2 + PRIME_3) & _MASK
        position += 4
    for byte in data[position:]:
        state ^= byte * PRIME_5 & _MASK
        state = _rotate(state, 11) * PRIME_1 & _MASK
    state = (state ^ (state >> 33)) * PRIME_2 & _MASK
    state = (state ^ (state >> 29)) * PRIME_3 & _MASK
    return state ^ (state >> 32)


def _round(lane, word):
    return _rotate(lane + word * PRIME_2, 31) * PRIME_1 & _MASK


def _rotate(x, bits):
    x &= _MASK
    return (x << bits | x >> (64 - bits)) & _MASK


def _word(data, position, size):
    return int.from_bytes(data[position : position + size], "little")
