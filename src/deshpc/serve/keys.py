"""Keys of many raw values at once, in NumPy: the third twin of `hashing.key`, for batches where nothing is compiled."""

import numpy as np

from deshpc.hashing import key

_PRIME_1, _PRIME_2, _PRIME_3 = np.uint64(key.PRIME_1), np.uint64(key.PRIME_2), np.uint64(key.PRIME_3)
_PRIME_4, _PRIME_5 = np.uint64(key.PRIME_4), np.uint64(key.PRIME_5)
_RESERVED, _FIELD_SHIFT, _HASH_BITS = np.uint64(key.RESERVED), np.uint64(key.FIELD_SHIFT), ~np.uint64(key.FIELD_BITS)
_32, _64 = np.uint64(32), np.uint64(64)

_FEW = 12  # values of one length below which plain Python is faster than some thirty calls of NumPy


def keys_of(texts, fields, seeds):
    """Keys of raw values.

    texts : list of n bytes
    fields : (n) integers, the number of each one's field
    seeds : (n) uint64, `key.field_seed` of each one's field  ->  (n) uint64
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    starts = np.cumsum(lengths) - lengths
    data = np.frombuffer(b"".join(texts), np.uint8)
    hashes = np.empty(len(texts), np.uint64)
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(same) < _FEW:
            hashes[same] = [key.xxh64_python(texts[i], int(seeds[i])) for i in same.tolist()]
        else:
            hashes[same] = _xxh64(_rows(data, starts[same], int(lengths[same[0]])), seeds[same])
    keys = (hashes & _HASH_BITS) | (fields.astype(np.uint64) << _FIELD_SHIFT)
    keys[keys == 0] = _RESERVED
    return keys


def _rows(data, starts, length):
    """(n, length) uint8: as many bytes of `data` from each start."""
    if length == 0:
        return np.empty((len(starts), 0), np.uint8)
    return np.lib.stride_tricks.sliding_window_view(data, length)[starts]


def _xxh64(data, seeds):
    """XXH64 of each row of data (n, length) uint8 under its seed (n) uint64."""
    length, position = data.shape[1], 0
    if length >= 32:
        lanes = [seeds + _PRIME_1 + _PRIME_2, seeds + _PRIME_2, seeds, seeds - _PRIME_1]
        while position + 32 <= length:
            lanes = [_round(lane, _words(data, position + 8 * i, 8)) for i, lane in enumerate(lanes)]
            position += 32
        state = sum(_rotate(lane, turn) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            state = (state ^ _round(np.zeros_like(lane), lane)) * _PRIME_1 + _PRIME_4
    else:
        state = seeds + _PRIME_5
    state = state + np.uint64(length)
    while position + 8 <= length:
        state = state ^ _round(np.zeros_like(state), _words(data, position, 8))
        state = _rotate(state, 27) * _PRIME_1 + _PRIME_4
        position += 8
    if position + 4 <= length:
        state = _rotate(state ^ (_words(data, position, 4) * _PRIME_1), 23) * _PRIME_2 + _PRIME_3
        position += 4
    for column in range(position, length):
        state = _rotate(state ^ (data[:, column].astype(np.uint64) * _PRIME_5), 11) * _PRIME_1
    state = (state ^ (state >> np.uint64(33))) * _PRIME_2
    state = (state ^ (state >> np.uint64(29))) * _PRIME_3
    return state ^ (state >> _32)


def _words(data, position, size):
    """The word of 4 or 8 bytes, lowest first, at `position` of each row: (n) uint64."""
    return np.ascontiguousarray(data[:, position : position + size]).view(f"<u{size}")[:, 0].astype(np.uint64)


def _round(lane, word):
    return _rotate(lane + word * _PRIME_2, 31) * _PRIME_1


def _rotate(x, bits):
    return (x << np.uint64(bits)) | (x >> (_64 - np.uint64(bits)))
