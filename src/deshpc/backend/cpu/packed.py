"""Numbers side by side in as few bits as they need, from the lowest bit of a uint32 on."""

import numpy as np

from deshpc.backend.cpu.memory import load, store
from deshpc.jit import kernel


@kernel(inline=True)
def bits_of(count):
    """Bits of a number from 0 to count - 1; none where there is one number."""
    bits = 0
    while (np.int64(1) << bits) < count:
        bits += 1
    return bits


@kernel(inline=True)
def packed_bytes(count, bits):
    """Bytes of so many numbers of so many bits, in whole uint32s."""
    return (count * bits + 31) // 32 * 4


STREAM = 4
"""int64s of a stream: its bits that fill no uint32 yet, how many these are, the address of its next uint32, and the bits of a number."""


@kernel(inline=True)
def begin_stream(streams, stream, address, bits):
    """streams : (n STREAM) int64;  bits : of each number, 32 at most"""
    first = STREAM * stream
    streams[first], streams[first + 1], streams[first + 2], streams[first + 3] = 0, 0, address, bits


@kernel(inline=True)
def append(number, stream):
    """Write a number behind those that a stream has.  stream : its address: arrays would be counted for every number"""
    used = load(stream + 8, np.int64(0))
    word = np.uint64(load(stream, np.int64(0))) | np.uint64(number) << np.uint64(used)
    used += load(stream + 24, np.int64(0))
    if used >= 32:
        end = load(stream + 16, np.int64(0))
        store(end, np.uint32(word))
        store(stream + 16, end + 4)
        word >>= np.uint64(32)
        used -= 32
    store(stream, np.int64(word))
    store(stream + 8, used)


@kernel(inline=True)
def finish(streams):
    """Write what waits in all streams."""
    for first in range(0, len(streams), STREAM):
        if streams[first + 1] > 0:
            store(streams[first + 2], np.uint32(streams[first]))


@kernel(inline=True)
def bits_at(address, bit, bits, mask):
    """The number (int64) in `bits` bits from bit number `bit` on."""
    place, shift = address + (bit >> 5 << 2), bit & 31
    word = np.uint64(load(place, np.uint32(0)))
    if shift + bits > 32:
        word |= np.uint64(load(place + 4, np.uint32(0))) << np.uint64(32)
    return np.int64(word >> np.uint64(shift)) & mask
