"""Arithmetic that is written once for one number and for k lanes.

`lanes` says which: None is one number (the linear weight, a dense parameter), `Lanes` a vector (an embedding).  `number`
and `zero` are zeros of the storage and of the compute type.  + - * / serve both already.
"""

import math

from numba.extending import overload

from deshpc.backend.cpu.memory import cast, load, store
from deshpc.backend.cpu.simd import LanesType, VectorType, vfma, vload, vmax, vmin, vsplat, vsqrt, vstore, vsum


def read(lanes, number, zero, address):
    """The number, or the k numbers, at `address`, widened from the storage to the compute type."""
    raise TypeError("read works inside kernels")


def write(lanes, number, address, value):
    """Write one or k numbers at `address`, narrowed to the storage type."""
    raise TypeError("write works inside kernels")


def spread(lanes, value):
    """A number of the compute type, in every lane."""
    raise TypeError("spread works inside kernels")


def multiply_add(a, b, c):
    """a b + c, rounded once for vectors, twice for numbers."""
    raise TypeError("multiply_add works inside kernels")


def root(a):
    """Square root."""
    raise TypeError("root works inside kernels")


def between(a, low, high):
    """a, or the nearer of low <= high where it is outside."""
    raise TypeError("between works inside kernels")


def mean_square(lanes, zero, a):
    """Mean of the squares of all lanes, one number; the lanes are added in `vsum`'s fixed tree."""
    raise TypeError("mean_square works inside kernels")


@overload(read, inline="always")
def _read(lanes, number, zero, address):
    if isinstance(lanes, LanesType):
        return lambda lanes, number, zero, address: vload(lanes, address)
    return lambda lanes, number, zero, address: cast(load(address, number), zero)


@overload(write, inline="always")
def _write(lanes, number, address, value):
    if isinstance(lanes, LanesType):
        return lambda lanes, number, address, value: vstore(lanes, address, value)
    return lambda lanes, number, address, value: store(address, cast(value, number))


@overload(spread, inline="always")
def _spread(lanes, value):
    if isinstance(lanes, LanesType):
        return lambda lanes, value: vsplat(lanes, value)
    return lambda lanes, value: value


@overload(multiply_add, inline="always")
def _multiply_add(a, b, c):
    if isinstance(a, VectorType):
        return lambda a, b, c: vfma(a, b, c)
    return lambda a, b, c: a * b + c


@overload(root, inline="always")
def _root(a):
    if isinstance(a, VectorType):
        return lambda a: vsqrt(a)
    return lambda a: math.sqrt(a)


@overload(between, inline="always")
def _between(a, low, high):
    if isinstance(a, VectorType):
        return lambda a, low, high: vmax(vmin(a, high), low)
    return lambda a, low, high: max(min(a, high), low)


@overload(mean_square, inline="always")
def _mean_square(lanes, zero, a):
    if isinstance(lanes, LanesType):
        count = lanes.count
        return lambda lanes, zero, a: vsum(a * a) / cast(count, zero)
    return lambda lanes, zero, a: a * a
