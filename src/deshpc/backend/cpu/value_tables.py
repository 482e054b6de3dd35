"""Values as numbers of a table, where a message has few distinct ones: counts, weights by recency.

    values of a message: its distinct ones, as they are, in order of first appearance | which of them each occurrence has, `packed`

Two values beside a key are one of a table.  Values are the same if their bits are.  A message has float32 as they are where it has more than
MOST distinct ones, or is no longer so; its number of distinct values is then 0.
"""

import numpy as np

from deshpc.backend.cpu.memory import at, put
from deshpc.backend.cpu.packed import bits_of, packed_bytes
from deshpc.backend.cpu.values import value_bits
from deshpc.backend.values import FEW_VALUES
from deshpc.jit import kernel

SLOTS = 4 * FEW_VALUES
"""Of the hash table of a message: most values are where they are looked for first."""
_FACTOR, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(64 - (SLOTS - 1).bit_length())


@kernel
def number_values(sparse, unique, wanted, slots, numbered):
    """Number the distinct values of all messages, as far as they are few.

    unique : UniqueKeys of all occurrences of `sparse`
    wanted : (N) bool, the messages that are to have tables
    slots : (N SLOTS) uint16, any contents
    numbered : MessageValues, filled
    """
    begins, ends, values = sparse.begins, sparse.ends, sparse.values
    distinct, tables, numbers = numbered
    slots[:] = 0
    distinct[:] = 0
    left, occurrence = 0, 0
    few = wanted.copy()
    for r in range(len(wanted)):
        left += wanted[r]
    for i in range(len(begins)):
        if left == 0:
            break
        for j in range(at(begins, i), at(ends, i)):
            r = np.int64(at(unique.ranks, np.int64(at(unique.occurrences, occurrence))))
            occurrence += 1
            if not at(few, r):
                continue
            bits = value_bits(values, j)
            slot = np.int64(bits * _FACTOR >> _SHIFT)
            number = np.int64(at(slots, r * SLOTS + slot)) - 1
            while number >= 0 and at(tables, r * FEW_VALUES + number) != bits:
                slot = slot + 1 & SLOTS - 1
                number = np.int64(at(slots, r * SLOTS + slot)) - 1
            if number < 0:
                number = at(distinct, r)
                if number == FEW_VALUES:
                    put(few, r, False)
                    put(distinct, r, 0)
                    left -= 1
                    continue
                put(slots, r * SLOTS + slot, np.uint16(number + 1))
                put(tables, r * FEW_VALUES + number, bits)
                put(distinct, r, number + 1)
            put(numbers, occurrence - 1, np.uint8(number))


@kernel
def value_bytes(occurrences, width, distinct, found):
    """Fill found (N) int64: bytes of the values of each message.

    occurrences, distinct : (N) int64, of the messages
    width : values of an occurrence
    """
    for r in range(len(occurrences)):
        found[r] = _value_bytes(occurrences[r], width, distinct[r])


@kernel
def keep_shorter(occurrences, width, distinct):
    """Set distinct (N) to 0 where a table makes the message no shorter."""
    for r in range(len(occurrences)):
        if _value_bytes(occurrences[r], width, distinct[r]) >= 4 * width * occurrences[r]:
            distinct[r] = 0


@kernel(inline=True)
def _value_bytes(occurrences, width, distinct):
    if distinct == 0:
        return 4 * width * occurrences
    return 4 * width * distinct + packed_bytes(occurrences, bits_of(distinct))
