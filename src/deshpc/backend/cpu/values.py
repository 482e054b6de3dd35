"""Values of occurrences inside kernels, CPU: the form of `values` is a type, so one source serves all three.

See `backend.values`.  `zero` is a zero of the compute type, which the value is cast to; 1 costs nothing, since the
compiler drops a product with it.
"""

from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.memory import at, cast, put
from deshpc.backend.values import value_width
from deshpc.jit import kernel


def embedding_value(values, j, zero):
    """x of occurrence j, by which its embedding is multiplied."""
    raise TypeError("embedding_value works inside kernels")


def linear_value(values, j, zero):
    """x of occurrence j, by which its linear weight is multiplied."""
    raise TypeError("linear_value works inside kernels")


@kernel(inline=True)
def copy_value(values, j, own_values, place):
    """own_values[place] = values[j], of whatever form; nothing where there are none."""
    if values is not None:
        width = value_width(values)
        for c in range(width):
            put(own_values, width * place + c, at(values, width * j + c))


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
