"""Random variates, each a pure function of a 64-bit state: uniform, bell-shaped, Zipf and truncated geometric.

What is done for every draw is exactly rounded arithmetic, without a library's exp or log: machines agree on it.
"""

from functools import cache

import numpy as np

from deshpc.hashing.splitmix import GOLDEN, mix64
from deshpc.jit import kernel

EXPONENT = 1.05
"""P(k) is proportional to k^-1.05; fixed, because 1 / (1.05 - 1) = 20 makes the inverse of its integral a power."""

_S11, _S16 = np.uint64(11), np.uint64(16)
_LOW16 = np.uint64(0xFFFF)
_SQRT3 = 3.0**0.5

# Rejection-inversion [Hoermann, Derflinger 1996] draws x from the density h(x) = x^-1.05 and rounds it.  The
# integral of h from 1 to x is 20 (1 - y) with y = x^-0.05, so a uniform x-integral is a uniform y, and x = y^-20.
_TAIL = EXPONENT - 1
_FIRST_Y = 1.5**-_TAIL + _TAIL  # the bar of k = 1 has area 1
_SQUEEZE = 2 - (2.5**-_TAIL + _TAIL * 2**-EXPONENT) ** -20  # nearer to k than this: inside the bar of every k


def last_y(cardinality):
    """The end of y's range for values 1 .. cardinality: the third argument of `zipf`."""
    return (cardinality + 0.5) ** -_TAIL


@kernel(inline=True)
def uniform53(word):
    """The top 53 bits of `word` as a float64 in [0, 1)."""
    return np.float64(word >> _S11) * 2.0**-53


@kernel(inline=True)
def bell(word):
    """Mean 0, variance 1, nearly normal, within +-3.47: the standardised sum of the four 16-bit parts of `word`."""
    total = (word & _LOW16) + ((word >> _S16) & _LOW16)
    word = word >> np.uint64(32)
    total += (word & _LOW16) + (word >> _S16)
    return (np.float64(total) - 131070.0) * (_SQRT3 / 65536.0)


@kernel
def zipf(state, cardinality, end):
    """k in 1 .. cardinality with P(k) proportional to k^-1.05, exactly; `end` = last_y(cardinality).

    Uses 1.01 words, on average, of the SplitMix64 stream that starts at `state`.
    """
    while True:
        state += GOLDEN
        y = _FIRST_Y + uniform53(mix64(state)) * (end - _FIRST_Y)
        y4 = (y * y) * (y * y)
        y16 = (y4 * y4) * (y4 * y4)
        x = 1.0 / (y16 * y4)
        k = min(np.int64(x + 0.5), cardinality)
        if k - x <= _SQUEEZE or y <= (k + 0.5) ** -_TAIL + _TAIL * float(k) ** -EXPONENT:
            return k


@cache
def geometric_cdf(low, high, mean):
    """P(length <= low + i) for i = 0 .. high - low of the geometric distribution cut to low .. high, by its mean.

    mean : from low to (low + high) / 2  ->  (high - low + 1) float64, ending in 1
    """
    length = np.arange(low, high + 1)
    small, large = 0.0, 1.0  # bisection for the ratio of a probability to the one before
    for _ in range(60):
        ratio = (small + large) / 2
        weight = ratio ** (length - low)
        if (weight * length).sum() < mean * weight.sum():
            small = ratio
        else:
            large = ratio
    cdf = np.cumsum(weight) / weight.sum()
    cdf[-1] = 1.0
    return cdf
