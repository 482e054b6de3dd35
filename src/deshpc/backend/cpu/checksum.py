"""zlib's CRC-32 at the speed of memory, by carry-less multiplication (derived here).

A CRC is the remainder of a polynomial over the integers modulo 2, whose coefficients are the bits of the data, divided
by P = x^32 + x^26 + ... + 1.  So data may be replaced by anything shorter with the same remainder.  Where 16 bytes A
stand n bits before 16 bytes B, A x^n + B has the remainder of

    low (x^(n + 64) mod P) + high (x^n mod P) + B,      A = low x^64 + high

which is 16 bytes again: two products of 64 bits, added by exclusive or.  `fold` does so to eight such lanes in turn
until 128 bytes are left, n = 1024 bits apart.  They and what does not fill a block go to zlib, which starts from zero
since the start value, which is added to the first four bytes, is among them.

In this CRC the first bit of a byte is its lowest one: bit i of a lane is the coefficient of x^(127 - i), low comes
first in memory, and a factor has x^63 in bit 0.  A product of two factors has x^126 in bit 0, one power less than a
lane has there, that is, it is read as multiplied by x; so each constant is of a power less by one.
"""

import zlib
from functools import cache
from operator import index

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from deshpc.backend.cpu.memory import address_of
from deshpc.backend.cpu.simd import VectorType, pointer
from deshpc.jit import kernel

POLYNOMIAL = 0xEDB88320
"""P without x^32: bit i is the coefficient of x^(31 - i)."""

LANES = 8
BLOCK = 16 * LANES
SHORTEST = 16384
"""Bytes from which on folding is faster: a call of a kernel costs more than one of zlib."""


def power_of_x(n):
    """x^n mod P as 64 bits: the coefficient of x^i is bit 63 - i.  Multiplies 1 by x, n times."""
    remainder = 1 << 31
    for _ in range(n):
        remainder = (remainder >> 1) ^ (POLYNOMIAL if remainder & 1 else 0)
    return remainder << 32


DISTANCE = 8 * BLOCK
FACTORS = (power_of_x(DISTANCE + 64 - 1), power_of_x(DISTANCE - 1))
"""Of the low and of the high half of a lane."""

_LANE = VectorType(2, "int64")
_BLOCK = types.UniTuple(_LANE, LANES)


def crc32(data, value=0):
    """zlib.crc32(data, value): the CRC-32 of contiguous bytes that follow those whose CRC-32 is `value`.

    data : array or any other object with a contiguous buffer; BufferError or ValueError where it has gaps
    """
    data = memoryview(data)
    return fold_crc32(data, value) if data.nbytes >= SHORTEST and can_fold() else zlib.crc32(data, value)


@cache
def can_fold():
    """Whether kernels are compiled for a processor that multiplies without carries."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return triple.startswith("x86_64") and "+pclmul" in features.split(",")


def fold_crc32(data, value):
    """`crc32` of BLOCK bytes or more by folding, on a machine that can."""
    data = np.frombuffer(data, np.uint8)
    data.setflags(write=False)  # one array type, so that the kernel is compiled once
    block = data[:BLOCK].copy()
    block[:4].view("<u4")[0] ^= ~index(value) & 0xFFFFFFFF  # zlib keeps the complement of its remainder
    folded = fold(data, block)
    return zlib.crc32(data[folded:], zlib.crc32(block, 0xFFFFFFFF))  # the complement of a start at zero


@kernel
def fold(data, block):
    """Replace `block` by what has the remainder of `block` and all further whole blocks of `data`; bytes of them all.

    data  : (n,) uint8, n >= BLOCK
    block : (BLOCK,) uint8, stands for the first block of `data`
    """
    end = len(data) // BLOCK * BLOCK
    start, place = address_of(data, 0), address_of(block, 0)
    lanes = load_block(place)
    for offset in range(BLOCK, end, BLOCK):
        lanes = fold_block(lanes, load_block(start + offset))
    store_block(place, lanes)
    return end


@intrinsic
def load_block(typing_context, address):
    """The lanes at `address` (int64), of any alignment."""

    def generate(context, builder, signature, arguments):
        first = pointer(builder, arguments[0], _LANE.llvm)
        lanes = [builder.load(builder.gep(first, [ir.IntType(32)(i)]), align=1) for i in range(LANES)]
        return cgutils.pack_array(builder, lanes)

    return _BLOCK(types.int64), generate


@intrinsic
def store_block(typing_context, address, lanes):
    """Write the lanes at `address` (int64), of any alignment."""

    def generate(context, builder, signature, arguments):
        first = pointer(builder, arguments[0], _LANE.llvm)
        for i, lane in enumerate(cgutils.unpack_tuple(builder, arguments[1], LANES)):
            builder.store(lane, builder.gep(first, [ir.IntType(32)(i)]), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, _BLOCK), generate


@intrinsic
def fold_block(typing_context, lanes, following):
    """The lanes DISTANCE bits further on, added to `following`."""

    def generate(context, builder, signature, arguments):
        lane, choice = _LANE.llvm, ir.IntType(8)
        multiply = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lane, [lane, lane, choice]), "llvm.x86.pclmulqdq"
        )
        factors = ir.Constant(lane, list(FACTORS))
        folded = []
        for earlier, later in zip(*(cgutils.unpack_tuple(builder, block, LANES) for block in arguments), strict=True):
            low = builder.call(multiply, [earlier, factors, choice(0x00)])  # halves 0 and 0
            high = builder.call(multiply, [earlier, factors, choice(0x11)])  # halves 1 and 1
            folded.append(builder.xor(builder.xor(low, high), later))
        return cgutils.pack_array(builder, folded)

    return _BLOCK(_BLOCK, _BLOCK), generate
