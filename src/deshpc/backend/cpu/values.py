"""Values of occurrences inside kernels, CPU: the form of `values` is a type, so one source serves all three.

See `backend.values`.  `zero` is a zero of the compute type, which the value is cast to; 1 costs nothing, since the
compiler drops a product with it.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.memory import address_of, at, cast, load, put, store
from deshpc.backend.values import value_width


def embedding_value(values, j, zero):
    """x of occurrence j, by which its embedding is multiplied."""
    raise TypeError("embedding_value works inside kernels")


def linear_value(values, j, zero):
    """x of occurrence j, by which its linear weight is multiplied."""
    raise TypeError("linear_value works inside kernels")


def value_address(values, j):
    """Address of the value of occurrence j; 0 where there are none."""
    raise TypeError("value_address works inside kernels")


def value_bits(values, j):
    """The bits of the value of occurrence j, or of both, as one uint64; 0 where there are none."""
    raise TypeError("value_bits works inside kernels")


def copy_value(values, j, own_values, place):
    """own_values[place] = values[j], of whatever form; nothing where there are none."""
    raise TypeError("copy_value works inside kernels")


def send_value(values, j, address):
    """Write the value of occurrence j, of whatever form, at an address; nothing where there are none."""
    raise TypeError("send_value works inside kernels")


def send_bits(bits, values, address):
    """Write a value that `value_bits` has read of `values` at an address; nothing where there are none."""
    raise TypeError("send_bits works inside kernels")


def receive_value(address, values, j):
    """values[j] = what `send_value` has written at an address; nothing where there are none."""
    raise TypeError("receive_value works inside kernels")


@overload(value_address, inline="always")
def _value_address(values, j):
    if isinstance(values, types.NoneType):
        return lambda values, j: 0
    width = values.ndim
    return lambda values, j: address_of(values, width * j)


@overload(value_bits, inline="always")
def _value_bits(values, j):
    if isinstance(values, types.NoneType):
        return lambda values, j: np.uint64(0)
    if values.ndim == 1:
        return lambda values, j: np.uint64(load(address_of(values, j), np.uint32(0)))

    def both(values, j):
        high = np.uint64(load(address_of(values, 2 * j + 1), np.uint32(0))) << np.uint64(32)
        return high | np.uint64(load(address_of(values, 2 * j), np.uint32(0)))

    return both


@overload(copy_value, inline="always")
def _copy_value(values, j, own_values, place):
    if isinstance(values, types.NoneType):
        return lambda values, j, own_values, place: None
    width = values.ndim

    def copy(values, j, own_values, place):
        for c in range(width):
            put(own_values, width * place + c, at(values, width * j + c))

    return copy


@overload(send_value, inline="always")
def _send_value(values, j, address):
    if isinstance(values, types.NoneType):
        return lambda values, j, address: None
    width = values.ndim

    def send(values, j, address):
        for c in range(width):
            store(address + 4 * c, at(values, width * j + c))

    return send


@overload(send_bits, inline="always")
def _send_bits(bits, values, address):
    if isinstance(values, types.NoneType):
        return lambda bits, values, address: None
    if values.ndim == 1:
        return lambda bits, values, address: store(address, np.uint32(bits))

    def send_both(bits, values, address):  # 8 bytes may not begin at a multiple of 8
        store(address, np.uint32(bits))
        store(address + 4, np.uint32(bits >> np.uint64(32)))

    return send_both


@overload(receive_value, inline="always")
def _receive_value(address, values, j):
    if isinstance(values, types.NoneType):
        return lambda address, values, j: None
    width = values.ndim

    def receive(address, values, j):
        for c in range(width):
            put(values, width * j + c, load(address + 4 * c, np.float32(0)))

    return receive


@overload(embedding_value, inline="always")
def _embedding_value(values, j, zero):
    if isinstance(values, types.NoneType):
        return lambda values, j, zero: cast(1, zero)
    if values.ndim == 1:
        return lambda values, j, zero: cast(at(values, j), zero)
    return lambda values, j, zero: cast(at(values, 2 * j), zero)


@overload(linear_value, inline="always")
def _linear_value(values, j, zero):
    if isinstance(values, types.Array) and values.ndim == 2:
        return lambda values, j, zero: cast(at(values, 2 * j + 1), zero)
    return lambda values, j, zero: embedding_value(values, j, zero)


@overload(value_width, inline="always")
def _value_width(values):
    if isinstance(values, types.NoneType):
        return lambda values: 0
    if values.ndim == 1:
        return lambda values: 1
    return lambda values: 2
