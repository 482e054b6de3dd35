"""float32 as bfloat16: its upper half, rounded to the nearest, ties to even."""

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend import record
from deshpc.backend.cpu.memory import at, cast, load, put, store
from deshpc.jit import kernel

_NOT_A_NUMBER = np.uint16(0x7FC0)
_INFINITY = np.uint32(0x7F800000)
_NO_SIGN = np.uint32(0x7FFFFFFF)


@kernel(inline=True)
def nearest(bits):
    """The bfloat16, uint16, that is nearest to the float32 of these bits, uint32; not a number stays so."""
    rounded = np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
    return _NOT_A_NUMBER if (bits & _NO_SIGN) > _INFINITY else rounded


@kernel(inline=True)
def widened(half):
    """The bits, uint32, of the float32 that a bfloat16, uint16, is."""
    return np.uint32(np.uint32(half) << np.uint32(16))  # Numba widens what is shifted


@kernel
def to_bfloat16(bits, halves):
    """halves (n) uint16 = the numbers whose bits (n) uint32 are; not a number stays so."""
    for i in range(len(bits)):
        put(halves, i, nearest(at(bits, i)))


@kernel
def from_bfloat16(halves, bits):
    """bits (n) uint32 of the float32 that halves (n) uint16 are."""
    for i in range(len(halves)):
        put(bits, i, widened(at(halves, i)))


embedding_bytes = kernel(inline=True)(record.embedding_bytes)


def load_element(address, element, number):
    """The number of an embedding at `address`, in the type of `number`.  element : of a `WeightForm`"""
    raise TypeError("load_element works inside kernels")


def store_element(address, element, value):
    """Write a number of an embedding at `address`, rounded to the nearest that its type has."""
    raise TypeError("store_element works inside kernels")


@overload(load_element, inline="always")
def _load_element(address, element, number):
    if element == types.uint16:
        return lambda address, element, number: cast(widened(load(address, element)).view(np.float32), number)
    return lambda address, element, number: cast(load(address, element), number)


@overload(store_element, inline="always")
def _store_element(address, element, value):
    if element == types.uint16:
        return lambda address, element, value: store(address, nearest(np.float32(value).view(np.uint32)))
    return lambda address, element, value: store(address, cast(value, element))


@kernel(inline=True)
def load_number(address, place, number):
    """The number of the record at `address` at one of the `places` of a `RecordLayout`, in the type of `number`."""
    if place < 0:
        return load_element(address - place, np.uint16(0), number)
    return load(address + place, number)


@kernel(inline=True)
def store_number(address, place, value):
    """Write a number of the record at `address` at one of the `places` of a `RecordLayout`, a bfloat16 as the nearest one."""
    if place < 0:
        store_element(address - place, np.uint16(0), value)
    else:
        store(address + place, value)
