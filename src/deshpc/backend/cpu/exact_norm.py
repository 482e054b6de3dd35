"""Adds a number to the terms of `backend.exact_norm`, CPU."""

import numpy as np

from deshpc.backend.exact_norm import NAN, NOT_FINITE, UNIT_BITS
from deshpc.jit import kernel

_FRACTION, _INFINITE, _BIAS = 52, 2047, 1075  # of a float64: bits behind the point, exponent of what is not finite, that of 1 ulp = 1
_LOW = np.uint64(0xFFFFFFFF)


@kernel(inline=True)
def add_term(terms, number):
    """Add a float64, not negative, to terms (TERMS) int64."""
    bits = np.float64(number).view(np.int64)
    exponent, mantissa = bits >> _FRACTION & _INFINITE, bits & ((1 << _FRACTION) - 1)
    if exponent == _INFINITE:
        terms[NOT_FINITE] += NAN if mantissa else 1
    elif exponent:  # what has none is far below the unit
        mantissa |= 1 << _FRACTION
        place = exponent - _BIAS + UNIT_BITS
        if place < 0:
            mantissa >>= min(-place, 63)
            place = 0
        word, shift = place >> 5, place & 31
        low = np.uint64(mantissa & 0xFFFFFFFF) << np.uint64(shift)
        high = (np.uint64(mantissa >> 32) << np.uint64(shift)) + (low >> np.uint64(32))
        terms[word] += np.int64(low & _LOW)
        terms[word + 1] += np.int64(high & _LOW)
        terms[word + 2] += np.int64(high >> np.uint64(32))
