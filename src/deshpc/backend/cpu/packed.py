"""Numbers side by side in as few bits as they need, from the lowest bit of a uint32 on."""

import numpy as np

from deshpc.backend.cpu.memory import at, load, put, store
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


@kernel(inline=True)
def append(number, bits, stream, waiting, filled, ends):
    """Write a number of at most 32 bits behind those that a stream has.

    waiting, filled : (streams) uint64 and int64, bits of each that no uint32 is full of yet, and how many these are; zeros to begin with
    ends : (streams) int64, address of each one's next uint32
    """
    used = at(filled, stream)
    word = at(waiting, stream) | np.uint64(number) << np.uint64(used)
    used += bits
    if used >= 32:
        end = at(ends, stream)
        store(end, np.uint32(word))
        put(ends, stream, end + 4)
        word >>= np.uint64(32)
        used -= 32
    put(waiting, stream, word)
    put(filled, stream, used)


@kernel(inline=True)
def finish(waiting, filled, ends):
    """Write what waits in all streams."""
    for stream in range(len(ends)):
        if filled[stream] > 0:
            store(ends[stream], np.uint32(waiting[stream]))


@kernel(inline=True)
def bits_at(address, bit, bits, mask):
    """The number (int64) in `bits` bits from bit number `bit` on."""
    place, shift = address + (bit >> 5 << 2), bit & 31
    word = np.uint64(load(place, np.uint32(0)))
    if shift + bits > 32:
        word |= np.uint64(load(place + 4, np.uint32(0))) << np.uint64(32)
    return np.int64(word >> np.uint64(shift)) & mask
