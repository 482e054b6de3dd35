"""Intel's AMX as seen from kernels: eight registers, each a *tile* of 16 rows of 64 bytes, and products of tiles.

A product adds to a tile C of float32 (16, 16) what A (16, 32) and B (32, 16) of bfloat16 give, summed up in float32:

    A's rows are 16 pairs of terms;   B's row i is pair i of 16 columns

Four tiles hold a block of C, of 32 rows and columns; two hold a part of A and two a part of B.  A kernel begins by `configure`
and ends by `release`.  Registers are numbered here and nowhere else.
"""

import ctypes
import platform

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from deshpc.backend.cpu.memory import emit_prefetch
from deshpc.backend.cpu.simd import pointer
from deshpc.backend.record import CACHE_LINE

TILE_BYTES = 1024
SIDE = 32
"""Rows and columns of a block of C, and numbers of A's rows and B's columns that a step multiplies."""

PARTS = 3
"""Parts of a number, see `tile_parts`."""

PART_BYTES = 2 * TILE_BYTES
STEP_BYTES = PARTS * PART_BYTES
"""What a step reads of either factor: [part][tile]."""

_C, _A, _B, _TILES, _ROWS, _ROW_BYTES = 0, 4, 6, 8, 16, 64
_FEATURES = ("+amx-tile", "+amx-bf16", "+avx512f", "+avx512bw")
_SYSCALL_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18  # of Linux on x86-64

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def available():
    """Whether this process has tiles: the processor, the code that Numba makes, and the system, which is asked for leave."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    if not set(_FEATURES).issubset(features):
        return False
    return ctypes.CDLL(None, use_errno=True).syscall(_SYSCALL_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0


def configuration():
    """(64) uint8 for `configure`: all tiles of full size."""
    table = np.zeros(64, np.uint8)
    table[0] = 1  # palette
    table[16 : 16 + 2 * _TILES].view(np.uint16)[:] = _ROW_BYTES
    table[48 : 48 + _TILES] = _ROWS
    return table


def _instruction(builder, name, *arguments):
    function_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    function = builder.module.globals.get(f"llvm.x86.{name}")
    builder.call(function or ir.Function(builder.module, function_type, f"llvm.x86.{name}"), arguments)


def _move(builder, name, tile, address, stride):
    _instruction(builder, name, _I8(tile), pointer(builder, address, _I8), stride)


@intrinsic
def configure(typing_context, address):
    """Begin to use tiles, as `configuration` at `address` says."""

    def generate(context, builder, signature, arguments):
        _instruction(builder, "ldtilecfg", pointer(builder, arguments[0], _I8))
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def release(typing_context):
    """Use tiles no more."""

    def generate(context, builder, signature, arguments):
        _instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def clear_block(typing_context):
    """C = 0."""

    def generate(context, builder, signature, arguments):
        for tile in range(4):
            _instruction(builder, "tilezero", _I8(_C + tile))
        return context.get_dummy_value()

    return types.void(), generate


def _block_mover(instruction):
    @intrinsic
    def move_block(typing_context, address, stride):
        def generate(context, builder, signature, arguments):
            address, stride = arguments
            for tile in range(4):
                offset = builder.add(builder.mul(stride, _I64(_ROWS * (tile // 2))), _I64(_ROW_BYTES * (tile % 2)))
                _move(builder, instruction, _C + tile, builder.add(address, offset), stride)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return move_block


load_block = _block_mover("tileloadd64")
"""C = the block (32, 32) of float32 at `address`, whose rows are `stride` bytes apart."""

store_block = _block_mover("tilestored64")
"""Write C (32, 32) float32 to `address`, its rows `stride` bytes apart."""


_HIGH, _MIDDLE, _LOW = range(PARTS)
_PRODUCTS = ((_HIGH, _LOW), (_HIGH, _MIDDLE), (_HIGH, _HIGH), (_MIDDLE, _HIGH), (_MIDDLE, _MIDDLE), (_LOW, _HIGH))
"""Parts of A and B that are multiplied; those left out are beyond float32.  In an order that loads few tiles again."""

GROUP = 4
"""Blocks of C that B's parts serve one after the other."""

BLOCK_BYTES = 4 * SIDE**2
C_AHEAD, B_AHEAD = BLOCK_BYTES // 2, STEP_BYTES // GROUP
"""Bytes that a step fetches ahead: half a block of C, and a block's share of the next B."""


@intrinsic
def multiply_step(typing_context, a, b, next_a, next_b, next_c):
    """C += A B, for the parts [part][tile] at addresses a and b of A (32, 32) and B (32, 32).

    Meanwhile STEP_BYTES at next_a, B_AHEAD at next_b and C_AHEAD at next_c are fetched from the second cache; any address is harmless.
    """

    def generate(context, builder, signature, arguments):
        a, b, *ahead = arguments
        lines = [
            builder.add(address, _I64(offset))
            for address, size in zip(ahead, (STEP_BYTES, B_AHEAD, C_AHEAD), strict=True)
            for offset in range(0, size, CACHE_LINE)
        ]
        at_a_time = -(-len(lines) // (4 * len(_PRODUCTS)))
        held = [None, None]
        for product in _PRODUCTS:
            for side, (first, address) in enumerate(((_A, a), (_B, b))):
                if held[side] != product[side]:
                    for tile in range(2):
                        offset = product[side] * PART_BYTES + tile * TILE_BYTES
                        _move(builder, "tileloadd64", first + tile, builder.add(address, _I64(offset)), _I64(_ROW_BYTES))
                    held[side] = product[side]
            for tile in range(4):
                _instruction(builder, "tdpbf16ps", _I8(_C + tile), _I8(_A + tile // 2), _I8(_B + tile % 2))
                for line in lines[:at_a_time]:
                    emit_prefetch(builder, line, for_writing=False)
                del lines[:at_a_time]
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate
