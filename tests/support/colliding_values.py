"""Values made so that XXH64 gives them a hash that was chosen: its steps for eight bytes, undone one after another."""

import random

_SIZE = 2**64
_PRIME_1, _PRIME_2, _PRIME_3, _PRIME_4, _PRIME_5 = (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
)  # fmt: skip
_CSV_BYTES = b'\n\r",|: '


def value_with_hash(hashed, seed):
    """The one value of eight bytes whose XXH64 under `seed` is `hashed`."""
    state = _unmix(hashed, 32)
    state = _unmix(state * _inverse(_PRIME_3) % _SIZE, 29)
    state = _unmix(state * _inverse(_PRIME_2) % _SIZE, 33)
    lane = _rotate_right((state - _PRIME_4) * _inverse(_PRIME_1) % _SIZE, 27) ^ (seed + _PRIME_5 + 8) % _SIZE
    return (_rotate_right(lane * _inverse(_PRIME_1) % _SIZE, 31) * _inverse(_PRIME_2) % _SIZE).to_bytes(8, "little")


def colliding_values(seeds, count, chance=None):
    """[value of each field] of `count` hashes; the values of one list have one hash, each under its own field's seed.

    seeds : of the fields.  Values are free of bytes that mean something in CSV; the first hash is 0, if its values are so.
    """
    chance, found, hashed = chance or random.Random(1), [], 0
    while len(found) < count:
        values = [value_with_hash(hashed, seed) for seed in seeds]
        if not any(byte in _CSV_BYTES for value in values for byte in value):
            found.append(values)
        hashed = chance.getrandbits(64)
    return found


def _unmix(state, shift):
    """x with x ^ (x >> shift) = state, for a shift of at least 22."""
    return state ^ (state >> shift) ^ (state >> 2 * shift)


def _inverse(prime):
    return pow(prime, -1, _SIZE)


def _rotate_right(x, bits):
    return (x >> bits | x << (64 - bits)) % _SIZE
