"""Eight bytes of a text as one 64-bit number inside a kernel, so that one operation looks at all of them.

The first byte is the lowest one, whatever the machine's byte order.  Where a text has decimal digits, they are found
and read without a branch that depends on how many there are.
"""

import sys

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from deshpc.jit import kernel

SHORT_BITS = np.uint64(56)
"""`digits_value` takes seven digits at most: their end is then in the same word."""

_HIGH_BITS, _LOW_BITS = np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F)
_SIXTEENS, _ZERO_DIGITS = np.uint64(0x1010101010101010), np.uint64(0x3030303030303030)
_TEN_TO_HIGH_BIT = np.uint64(0x7676767676767676)
_PAIR_1_AND_3 = np.uint64(0x000000FF000000FF)
_WORTH_1_AND_3, _WORTH_2_AND_4 = np.uint64(100 + (1_000_000 << 32)), np.uint64(1 + (10_000 << 32))
_0, _1, _7, _8, _10, _16, _32, _63, _255 = (np.uint64(x) for x in (0, 1, 7, 8, 10, 16, 32, 63, 255))


@intrinsic
def word(typing_context, data, i):
    """data[i:i + 8] as a uint64.  The caller guarantees 0 <= i <= len(data) - 8.

    data : (any) uint8, contiguous
    i : int64
    """
    if data.layout != "C":
        raise TypeError(f"a word needs a C-contiguous array, not {data}")

    def generate(context, builder, signature, arguments):
        first = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(first, [arguments[1]]), ir.IntType(64).as_pointer())
        value = builder.load(address, align=1)
        return builder.bswap(value) if sys.byteorder == "big" else value

    return types.uint64(data, types.int64), generate


@intrinsic
def _trailing_zeros(typing_context, x):
    """Number of zero bits below the lowest one of x (uint64); 64 where there is none."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@kernel(inline=True)
def byte_at(word, bits):
    """The byte that `bits` bits (below 64) of `word` come before, as a uint64."""
    return (word >> bits) & _255


@kernel(inline=True)
def has_separator(word):
    """Whether any byte of `word` is below 16, as tab, line feed and carriage return are."""
    return (word - _SIXTEENS) & ~word & _HIGH_BITS != _0


@kernel(inline=True)
def digit_bits(word):
    """8 times the number of decimal digits that `word` begins with: 0 .. 64."""
    digits = word ^ _ZERO_DIGITS
    return _trailing_zeros((((digits & _LOW_BITS) + _TEN_TO_HIGH_BIT) | digits) & _HIGH_BITS) & ~_7


@kernel(inline=True)
def digits_value(word, bits):
    """The number (uint64) that the first `bits` bits of `word`, at most SHORT_BITS of decimal digits, stand for."""
    digits = ((word ^ _ZERO_DIGITS) << _1) << (_63 - bits)  # eight digits: zeros before, the last in the highest byte
    pairs = digits * _10 + (digits >> _8)  # in bytes 0, 2, 4 and 6 two digits each
    return ((pairs & _PAIR_1_AND_3) * _WORTH_1_AND_3 + ((pairs >> _16) & _PAIR_1_AND_3) * _WORTH_2_AND_4) >> _32
