"""XXH64 and the key of a feature as kernels over bytes in memory; `hashing.key` has the definition.

Everything is uint64: Numba turns a mixture of uint64 and int64 into float64.
"""

import numpy as np

from deshpc.hashing import key
from deshpc.jit import kernel

_PRIME_1, _PRIME_2, _PRIME_3 = np.uint64(key.PRIME_1), np.uint64(key.PRIME_2), np.uint64(key.PRIME_3)
_PRIME_4, _PRIME_5 = np.uint64(key.PRIME_4), np.uint64(key.PRIME_5)
_RESERVED, _FIELD_SHIFT, _HASH_BITS = np.uint64(key.RESERVED), np.uint64(key.FIELD_SHIFT), ~np.uint64(key.FIELD_BITS)
_ZERO, _64 = np.uint64(0), np.uint64(64)
_1, _7, _11, _12, _18 = np.uint64(1), np.uint64(7), np.uint64(11), np.uint64(12), np.uint64(18)
_23, _27, _29, _31 = np.uint64(23), np.uint64(27), np.uint64(29), np.uint64(31)
_32, _33 = np.uint64(32), np.uint64(33)
_3, _4, _8, _255, _LOW_HALF = (np.uint64(x) for x in (3, 4, 8, 255, 0xFFFFFFFF))


@kernel
def hash_key(data, start, stop, seed, field):
    """Key of the raw value data[start:stop] in field number `field`, whose `key.field_seed` is `seed`; never 0.

    data : (any) uint8
    start, stop : int64
    seed : uint64
    field : any integer type  ->  uint64
    """
    return with_field(xxh64(data, start, stop, seed), field)


@kernel(inline=True)
def with_field(hashed, field):
    """The key of a hash (uint64) in field number `field`, uint64."""
    made = (hashed & _HASH_BITS) | (np.uint64(field) << _FIELD_SHIFT)
    return made if made != _ZERO else _RESERVED


@kernel
def xxh64(data, start, stop, seed):
    """XXH64 of data[start:stop].

    data : (any) uint8
    start, stop : int64
    seed : uint64  ->  uint64
    """
    position = start
    if stop - start >= 32:
        lane_1 = seed + _PRIME_1 + _PRIME_2
        lane_2 = seed + _PRIME_2
        lane_3 = seed
        lane_4 = seed - _PRIME_1
        while position + 32 <= stop:
            lane_1 = _round(lane_1, _word64(data, position))
            lane_2 = _round(lane_2, _word64(data, position + 8))
            lane_3 = _round(lane_3, _word64(data, position + 16))
            lane_4 = _round(lane_4, _word64(data, position + 24))
            position += 32
        state = _rotate(lane_1, _1) + _rotate(lane_2, _7) + _rotate(lane_3, _12) + _rotate(lane_4, _18)
        state = _merge(state, lane_1)
        state = _merge(state, lane_2)
        state = _merge(state, lane_3)
        state = _merge(state, lane_4)
    else:
        state = seed + _PRIME_5
    state += np.uint64(stop - start)
    while position + 8 <= stop:
        state = _rotate(state ^ _round(_ZERO, _word64(data, position)), _27) * _PRIME_1 + _PRIME_4
        position += 8
    if position + 4 <= stop:
        state = _rotate(state ^ (_word32(data, position) * _PRIME_1), _23) * _PRIME_2 + _PRIME_3
        position += 4
    while position < stop:
        state = _rotate(state ^ (np.uint64(data[position]) * _PRIME_5), _11) * _PRIME_1
        position += 1
    state = (state ^ (state >> _33)) * _PRIME_2
    state = (state ^ (state >> _29)) * _PRIME_3
    return state ^ (state >> _32)


@kernel(inline=True)
def _round(lane, word):
    return _rotate(lane + word * _PRIME_2, _31) * _PRIME_1


@kernel(inline=True)
def _merge(state, lane):
    return (state ^ _round(_ZERO, lane)) * _PRIME_1 + _PRIME_4


@kernel(inline=True)
def _rotate(x, bits):
    return (x << bits) | (x >> (_64 - bits))


@kernel(inline=True)
def _word64(data, position):
    return _word32(data, position) | (_word32(data, position + 4) << _32)


@kernel(inline=True)
def _word32(data, position):
    """Four bytes, lowest first, whatever the alignment and the machine's byte order."""
    word = np.uint64(data[position])
    word |= np.uint64(data[position + 1]) << np.uint64(8)
    word |= np.uint64(data[position + 2]) << np.uint64(16)
    word |= np.uint64(data[position + 3]) << np.uint64(24)
    return word


@kernel(inline=True)
def hash_key_of_word(word, length, seed, field):
    """Key of a raw value of at most eight bytes, given as one number, whose lowest byte is the first.

    word : uint64, of any content above the value
    length : uint64, 0 .. 8
    seed, field : as in `hash_key`  ->  uint64

    No branch depends on a length below eight, since lengths of short values are hard to predict.
    """
    state = seed + _PRIME_5 + length
    if length == _8:
        state = _rotate(state ^ _round(_ZERO, word), _27) * _PRIME_1 + _PRIME_4
    else:
        four = _rotate(state ^ ((word & _LOW_HALF) * _PRIME_1), _23) * _PRIME_2 + _PRIME_3
        state = four if length & _4 else state
        word = word >> _32 if length & _4 else word
        for byte in range(3):
            one = _rotate(state ^ ((word & _255) * _PRIME_5), _11) * _PRIME_1
            state = one if length & _3 > byte else state
            word >>= _8
    state = (state ^ (state >> _33)) * _PRIME_2
    state = (state ^ (state >> _29)) * _PRIME_3
    return with_field(state ^ (state >> _32), field)
