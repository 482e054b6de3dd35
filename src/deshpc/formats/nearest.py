"""The float64 nearest to a decimal text, in whole numbers of any length, where a guess next to it is known.

A decimal lies between two neighbouring float64; which of them is nearer is told by their middle m * 2^q, m below 2^54.
Both sides of digits * 5^e * 2^(e - q) < m are made whole numbers and compared limb by limb.  Of a tie the even neighbour is
taken.  No middle has more than 767 significant digits: of further digits it only counts whether one is not 0.
"""

import numpy as np

from deshpc.formats.byte import byte
from deshpc.jit import kernel

_ZERO, _POINT = ord("0"), ord(".")
_MOST_DIGITS = 800
_LIMBS = 128  # of 32 bits: 800 digits times 2^1075, or a middle times 10^1124, take 3,800 bits
_FIVE_TO_13, _FIVE, _TEN = np.uint64(5**13), np.uint64(5), np.uint64(10)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_INFINITY = 0x7FF << 52  # as the bits of float64 have it


@kernel
def nearest(data, start, stop, e, guess):
    """The float64 nearest to data[start:stop] * 10^e, of its two neighbours `guess` and the one below or above it.

    data : (any) uint8, in start .. stop digits and at most one point, not all digits 0
    guess : float64 >= 0, maybe infinite
    """
    digits, used, e, more = _digits(data, start, stop, e)
    bits = np.empty(1, np.float64)
    bits[0] = guess
    number = min(bits.view(np.int64)[0], _INFINITY - 1)
    above = _compare(digits, used, e, more, number)
    if above > 0 or (above == 0 and number % 2 == 1):
        number += 1
    elif number > 0:
        below = _compare(digits, used, e, more, number - 1)
        if below < 0 or (below == 0 and number % 2 == 1):
            number -= 1
    bits.view(np.int64)[0] = number
    return bits[0]


@kernel
def _digits(data, start, stop, e):
    """(the first digits as a whole number, its limbs, the power of ten it is times, whether any digit after them is not 0)."""
    digits, used = np.zeros(_LIMBS, np.uint64), 0
    taken, more, behind_point = 0, False, False
    for i in range(start, stop):
        if byte(data, i) == _POINT:
            behind_point = True
            continue
        digit = byte(data, i) - _ZERO
        if taken < _MOST_DIGITS:
            if taken or digit:
                used = _multiply(digits, used, _TEN, np.uint64(digit))
                taken += 1
            e -= behind_point
        else:
            more |= digit != 0
            e += not behind_point
    return digits, used, e, more


@kernel
def _compare(digits, used, e, more, number):
    """Sign of (digits * 10^e, and a little where there are `more`) - the middle of the float64 with bits `number` and the next."""
    fraction, exponent = number & ((1 << 52) - 1), number >> 52
    m = 2 * (fraction + ((1 << 52) if exponent else 0)) + 1
    q = max(exponent, 1) - 1076
    left, right = digits.copy(), np.zeros(_LIMBS, np.uint64)
    right[0], right[1] = np.uint64(m) & _LOW, np.uint64(m) >> _32
    _scale(left, used, e, e - q)
    _scale(right, 2, -e, q - e)
    for i in range(_LIMBS - 1, -1, -1):
        if left[i] != right[i]:
            return 1 if left[i] > right[i] else -1
    return 1 if more else 0


@kernel
def _scale(limbs, used, fives, twos):
    """limbs, of which `used` may differ from 0, times 5^fives times 2^twos, of each only where it is positive."""
    while fives >= 13:
        used = _multiply(limbs, used, _FIVE_TO_13, np.uint64(0))
        fives -= 13
    while fives > 0:
        used = _multiply(limbs, used, _FIVE, np.uint64(0))
        fives -= 1
    if twos > 0:
        used = _multiply(limbs, used, np.uint64(1 << (twos % 32)), np.uint64(0))
        places = twos // 32
        for i in range(used - 1, -1, -1):
            limbs[i + places] = limbs[i]
        limbs[:places] = 0


@kernel
def _multiply(limbs, used, factor, carry):
    """limbs = limbs * factor + carry, for a factor and a carry below 2^32; how many limbs are used then."""
    for i in range(used):
        product = limbs[i] * factor + carry
        limbs[i] = product & _LOW
        carry = product >> _32
    if carry:
        limbs[used] = carry
        used += 1
    return used
