"""The float64 nearest to a decimal text, in whole numbers of any length, where a guess next to it is known.

A decimal lies between two neighbouring float64; which of them is nearer is told by their middle m * 2^q, m below 2^54.
Both sides of digits * 10^e < m * 2^q are made whole numbers and compared limb by limb.  Of a tie the even neighbour is
taken.  No middle has more than 767 significant digits: of further digits it only counts whether one is not 0.
"""

import numpy as np

from deshpc.formats.byte import byte
from deshpc.jit import kernel

_ZERO, _POINT = ord("0"), ord(".")
_MOST_DIGITS = 800
_LIMBS = 128  # of 32 bits: 800 digits times 2^1075, or a middle times 10^1124, take 3,800 bits
_TEN_TO_9, _TEN = np.uint64(10**9), np.uint64(10)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_INFINITY = 0x7FF << 52  # as the bits of float64 have it


@kernel
def nearest(data, start, stop, e, guess):
    """The float64 nearest to data[start:stop] * 10^e, of its two neighbours `guess` and the one below or above it.

    data : (any) uint8, in start .. stop digits and at most one point, not all digits 0;  guess : float64 >= 0, maybe infinite
    """
    digits, e, more = _digits(data, start, stop, e)
    bits = np.empty(1, np.float64)
    bits[0] = guess
    number = min(bits.view(np.int64)[0], _INFINITY - 1)
    above = _compare(digits, e, more, number)
    if above > 0 or (above == 0 and number % 2 == 1):
        number += 1
    elif number > 0:
        below = _compare(digits, e, more, number - 1)
        if below < 0 or (below == 0 and number % 2 == 1):
            number -= 1
    bits.view(np.int64)[0] = number
    return bits[0]


@kernel
def _digits(data, start, stop, e):
    """(the first digits as a whole number, the power of ten it is times, whether any digit after them is not 0)."""
    digits = np.zeros(_LIMBS, np.uint64)
    taken, more, behind_point = 0, False, False
    for i in range(start, stop):
        if byte(data, i) == _POINT:
            behind_point = True
            continue
        digit = byte(data, i) - _ZERO
        if taken < _MOST_DIGITS:
            if taken or digit:
                _multiply(digits, _TEN, np.uint64(digit))
                taken += 1
            e -= behind_point
        else:
            more |= digit != 0
            e += not behind_point
    return digits, e, more


@kernel
def _compare(digits, e, more, number):
    """Sign of (digits * 10^e, and a little where there are `more`) - the middle of the float64 with bits `number` and the next."""
    fraction, exponent = number & ((1 << 52) - 1), number >> 52
    m = 2 * (fraction + ((1 << 52) if exponent else 0)) + 1
    q = max(exponent, 1) - 1076
    left, right = digits.copy(), np.zeros(_LIMBS, np.uint64)
    right[0], right[1] = np.uint64(m) & _LOW, np.uint64(m) >> _32
    _scale(left, e, -q)
    _scale(right, -e, q)
    for i in range(_LIMBS - 1, -1, -1):
        if left[i] != right[i]:
            return 1 if left[i] > right[i] else -1
    return 1 if more else 0


@kernel
def _scale(limbs, tens, twos):
    """limbs times 10^tens times 2^twos, of each only where it is positive."""
    while tens > 0:
        step = min(tens, 9)
        _multiply(limbs, _TEN_TO_9 if step == 9 else np.uint64(10**step), np.uint64(0))
        tens -= step
    while twos > 0:
        step = min(twos, 30)
        _multiply(limbs, np.uint64(1 << step), np.uint64(0))
        twos -= step


@kernel
def _multiply(limbs, factor, carry):
    """limbs = limbs * factor + carry, for a factor and a carry below 2^31."""
    used = len(limbs)
    while used and limbs[used - 1] == 0:
        used -= 1
    for i in range(used):
        product = limbs[i] * factor + carry
        limbs[i] = product & _LOW
        carry = product >> _32
    if carry:
        limbs[used] = carry
