"""The key of a feature: a stable 64-bit hash of its field's name and its raw value.

    seed = XXH64(field name in UTF-8, seed 0)
    key  = XXH64(raw value bytes, seed)          0 is reserved for an empty slot: then RESERVED_ZERO

Plain Python, so that a saved model can be read without a compiler; `hashing.xxh64` is the compiled twin.
"""

from functools import cache

HASH_ID = "xxh64-field-seeded-1"
"""Names the definition above in saved models; a change of the definition needs a new name."""

RESERVED_ZERO = 0x9E3779B97F4A7C15
"""The key of a value whose hash is 0.  It may be another value's key too, as any two hashes may be equal."""

# The five primes of XXH64, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
PRIME_1 = 0x9E3779B185EBCA87
PRIME_2 = 0xC2B2AE3D27D4EB4F
PRIME_3 = 0x165667B19E3779F9
PRIME_4 = 0x85EBCA77C2B2AE63
PRIME_5 = 0x27D4EB2F165667C5

_MASK = 0xFFFFFFFFFFFFFFFF


def key(field_name: str, value: bytes | str) -> int:
    """Key of a raw value (text stands for its UTF-8 bytes) in a field; never 0."""
    data = value.encode() if isinstance(value, str) else value
    return xxh64_python(data, field_seed(field_name)) or RESERVED_ZERO


def is_key_of(keys, fields):
    """(n) bool, whether keys (n) uint64 may be those of fields (n) uint16: every file of keys is read through this."""
    return keys != 0


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
