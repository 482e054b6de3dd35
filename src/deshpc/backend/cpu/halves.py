"""float32 as bfloat16: its upper half, rounded to the nearest, ties to even."""

import numpy as np

from deshpc.backend.cpu.memory import at, put
from deshpc.jit import kernel

_NOT_A_NUMBER = np.uint16(0x7FC0)
_INFINITY = np.uint32(0x7F800000)
_NO_SIGN = np.uint32(0x7FFFFFFF)


@kernel
def to_bfloat16(bits, halves):
    """halves (n) uint16 = the numbers whose bits (n) uint32 are; not a number stays so."""
    for i in range(len(bits)):
        one = at(bits, i)
        rounded = np.uint16((one + np.uint32(0x7FFF) + ((one >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
        put(halves, i, _NOT_A_NUMBER if (one & _NO_SIGN) > _INFINITY else rounded)


@kernel
def from_bfloat16(halves, bits):
    """bits (n) uint32 of the float32 that halves (n) uint16 are."""
    for i in range(len(halves)):
        put(bits, i, np.uint32(np.uint32(at(halves, i)) << np.uint32(16)))  # Numba widens what is shifted
