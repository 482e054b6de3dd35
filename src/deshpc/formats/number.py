"""Decimal text to float64 as a kernel.

    number = spaces [+|-] digits [. digits] [(e|E) [+|-] digits] spaces      at least one digit beside the point

The text is read as w * 10^e with w the first 18 or 19 significant digits; further digits are cut off.  Where w
and 10^|e| are exact in float64, one multiplication or division rounds correctly.  Otherwise 10^e is taken from a
table as an unevaluated sum of two float64 times a power of two, and the product is exact to about 2^-104 before
its one rounding.  Where that may round otherwise than the text, since it lies too near the middle of two neighbours, is
subnormal, or has digits cut off that decide, `nearest` takes all digits.  So a text is the nearest float64, as in Python.
"""

import math
from fractions import Fraction

import numpy as np

from deshpc.formats.byte import byte
from deshpc.formats.nearest import nearest
from deshpc.jit import kernel

MALFORMED = math.inf
"""Returned for text that is not a finite number; no text stands for infinity."""

_SPACE, _PLUS, _MINUS, _POINT, _ZERO = (ord(character) for character in " +-.0")
_LOWER_E, _UPPER_E = ord("e"), ord("E")
_W_LIMIT = 900_000_000_000_000_000  # w below this takes one more digit and stays below 2^63
_EXACT_W = 1 << 53
_EXACT_POWERS = np.array([10.0**e for e in range(23)])  # 10^22 is the last power of ten exact in float64
_SPLIT = 134_217_729.0  # 2^27 + 1: halves a float64 for Dekker's exact product
_MIN_POWER, _MAX_POWER = -343, 308  # w * 10^e is 0 below and infinite above, for any w that is not 0
_EXPONENT_LIMIT = 1 << 40  # stop counting there: beyond both limits, however many digits the number has
_ERROR = 2.0**-100  # of a product before its rounding, with room to spare
_SMALLEST = 2.0**-1022  # that is not subnormal


def _power_of_ten(e):
    """(high, low, two) with 10^e = (high + low) * 2^two to about 2^-106, high between 0.5 and 2."""
    exact = Fraction(10) ** e
    two = exact.numerator.bit_length() - exact.denominator.bit_length()
    scaled = exact / Fraction(2) ** two
    return float(scaled), float(scaled - Fraction(float(scaled))), two


_HIGH, _LOW, _TWO = map(np.array, zip(*map(_power_of_ten, range(_MIN_POWER, _MAX_POWER + 1)), strict=True))


@kernel
def number(data, start, stop):
    """The number in data[start:stop]: NaN if there are only spaces, MALFORMED if it is not a finite number.

    data : (any) uint8
    start, stop : int64  ->  float64
    """
    while start < stop and byte(data, start) == _SPACE:
        start += 1
    while start < stop and byte(data, stop - 1) == _SPACE:
        stop -= 1
    if start == stop:
        return np.nan
    i = start
    negative = byte(data, i) == _MINUS
    if negative or byte(data, i) == _PLUS:
        i += 1

    first = i
    w = 0
    e = 0
    digits = 0
    cut = False
    while i < stop and 0 <= byte(data, i) - _ZERO <= 9:
        if w < _W_LIMIT:
            w = 10 * w + (byte(data, i) - _ZERO)
        else:
            e += 1
            cut |= byte(data, i) != _ZERO
        digits += 1
        i += 1
    if i < stop and byte(data, i) == _POINT:
        i += 1
        while i < stop and 0 <= byte(data, i) - _ZERO <= 9:
            if w < _W_LIMIT:
                w = 10 * w + (byte(data, i) - _ZERO)
                e -= 1
            else:
                cut |= byte(data, i) != _ZERO
            digits += 1
            i += 1
    end = i
    exponent = 0
    if digits == 0:
        return MALFORMED

    if i < stop and (byte(data, i) == _LOWER_E or byte(data, i) == _UPPER_E):
        i += 1
        sign = 1
        if i < stop and (byte(data, i) == _MINUS or byte(data, i) == _PLUS):
            sign = -1 if byte(data, i) == _MINUS else 1
            i += 1
        if i == stop:
            return MALFORMED
        while i < stop and 0 <= byte(data, i) - _ZERO <= 9:
            exponent = min(10 * exponent + (byte(data, i) - _ZERO), _EXPONENT_LIMIT)
            i += 1
        exponent *= sign
        e += exponent
    if i < stop:
        return MALFORMED
    if w <= _EXACT_W and 0 <= e < len(_EXACT_POWERS):
        magnitude = w * _EXACT_POWERS[e]
    elif w <= _EXACT_W and 0 < -e < len(_EXACT_POWERS):
        magnitude = w / _EXACT_POWERS[-e]
    else:
        magnitude = _of_many_digits(data, first, end, exponent, w, e, cut)
    return -magnitude if negative and magnitude != MALFORMED else magnitude


@kernel
def _of_many_digits(data, first, end, exponent, w, e, cut):
    """The digits data[first:end] times 10^exponent, infinite where that is too large.  w * 10^e : without those that were cut off"""
    magnitude, sure = _scale(w, e)
    if cut:
        above, also_sure = _scale(w + 1, e)
        sure = sure and also_sure and above == magnitude
    return magnitude if sure else nearest(data, first, end, exponent, magnitude)


@kernel
def _scale(w, e):
    """(w * 10^e for w >= 0, infinite where that is too large;  whether it is the nearest float64 for sure)."""
    if w == 0 or e < _MIN_POWER:
        return 0.0, True
    if e > _MAX_POWER:
        return np.inf, True
    power_high, power_low = _HIGH[e - _MIN_POWER], _LOW[e - _MIN_POWER]
    w_high = float(w)
    w_low = float(w - np.int64(w_high))
    product = w_high * power_high
    rest = _product_error(w_high, power_high, product) + (w_high * power_low + w_low * power_high)
    error = product * _ERROR
    scaled = math.ldexp(product + rest, _TWO[e - _MIN_POWER])
    return scaled, product + (rest - error) == product + (rest + error) and scaled >= _SMALLEST


@kernel(inline=True)
def _product_error(a, b, product):
    """a * b - product, exactly (Dekker)."""
    a_high = _SPLIT * a - (_SPLIT * a - a)
    b_high = _SPLIT * b - (_SPLIT * b - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
