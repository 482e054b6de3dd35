"""Sums of numbers that do not depend on how these are divided among threads, ranks and batches: integers are added.

A number x, 0 <= x < 2^20, is rounded to a multiple of 2^-50, and that is two integers:   x = high 2^-15 + low 2^-50,  low <= 2^35.
The error is 2^-51 a number at most.  Larger numbers, infinities and NaN are added up apart, in floating point.  2^28 numbers may be
added before `total`.

    terms   high, low, bits of the sum of what is beyond :   (3) int64, which ranks gather, and `total` adds up

Numbers of any sign and size are added without any rounding as one Python integer, `whole`: slower, and not in kernels.
"""

import math

import numpy as np

HIGH, LOW, MOST = 2.0**15, 2.0**35, 2.0**20
TERMS = 3
_LOW, _EXACT = int(LOW), int(HIGH * LOW)


def terms_of(numbers):
    """Terms (3) of the sum of numbers (n) float64, none of which is negative."""
    inside = numbers < MOST
    scaled = np.where(inside, numbers, 0.0) * HIGH
    high = np.floor(scaled)
    low = np.floor((scaled - high) * LOW + 0.5)
    return joined(high.astype(np.int64).sum(), low.astype(np.int64).sum(), numbers[~inside].sum())


def joined(high, low, beyond):
    """Terms (3) of these sums."""
    return np.array([high, low, np.float64(beyond).view(np.int64) if beyond else 0], np.int64)


def total(terms):
    """The sum (a float), rounded once, of all terms (n, 3); what is beyond is added in their order."""
    highs, lows, beyond = zip(*terms.tolist(), strict=True)  # Python integers: of any size
    inside = (sum(highs) * _LOW + sum(lows)) / _EXACT
    return inside + sum(np.array(beyond).view(np.float64).tolist()) if any(beyond) else inside


_MANTISSA, _HALF = 53, 27  # bits of a float64's, and of the lower part of it
_SMALLEST = 1074 + _MANTISSA  # every float64 is a multiple of 2^-_SMALLEST, with its mantissa as an integer
_BLOCK = 1 << 20  # sums of so many halves are whole numbers that float64 has


def whole(numbers):
    """The sum of numbers (n) float64, all finite, as a Python integer in units that `value` knows.  Such integers may be added."""
    found = 0
    for begin in range(0, len(numbers), _BLOCK):
        mantissas, exponents = np.frexp(numbers[begin : begin + _BLOCK])
        integers = np.ldexp(mantissas, _MANTISSA).astype(np.int64)
        least = int(exponents.min(initial=0))
        for shift, part in ((_HALF, integers >> _HALF), (0, integers & ((1 << _HALF) - 1))):
            for place, one in enumerate(np.bincount(exponents - least, part).tolist()):
                if one:
                    found += int(one) << (shift + place + least - _MANTISSA + _SMALLEST)
    return found


def value(integer):
    """The number, rounded once, that a sum of `whole` integers stands for; infinite where float64 has none so large."""
    try:
        return integer / (1 << _SMALLEST)
    except OverflowError:
        return math.inf if integer > 0 else -math.inf
