"""First weights of a new row, eight at a time.

They are `uniform24(fold(state, column)) * scale`, bit for bit: see `hashing.splitmix`.  A loop over single numbers that are stored at addresses
is not made of vectors by the compiler.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from deshpc.backend.cpu.simd import pointer, splat
from deshpc.hashing.splitmix import GOLDEN, MULTIPLIERS

EIGHT = 8
_WORDS, _INTEGERS, _HALVES = (ir.VectorType(ir.IntType(bits), EIGHT) for bits in (64, 32, 16))
_FLOATS, _DOUBLES = ir.VectorType(ir.FloatType(), EIGHT), ir.VectorType(ir.DoubleType(), EIGHT)


def _each(vector, number):
    return ir.Constant(vector, [number] * EIGHT)


@intrinsic
def write_uniforms(typing_context, address, element, state, first, scale):
    """Write eight weights, of the columns from `first` on, side by side at `address`, as numbers of the type of `element`.

    state, first : uint64;  scale : float32, finite
    """

    def mixed(builder, words):
        for shift, multiplier in zip((30, 27), MULTIPLIERS, strict=True):
            words = builder.mul(builder.xor(words, builder.lshr(words, _each(_WORDS, shift))), _each(_WORDS, int(multiplier)))
        return builder.xor(words, builder.lshr(words, _each(_WORDS, 31)))

    def generate(context, builder, signature, arguments):
        to, _, state, first, scale = arguments
        columns = builder.add(splat(builder, first, _WORDS), ir.Constant(_WORDS, list(range(EIGHT))))
        words = mixed(builder, builder.add(builder.xor(splat(builder, state, _WORDS), columns), _each(_WORDS, int(GOLDEN))))
        top = builder.trunc(builder.lshr(words, _each(_WORDS, 40)), _INTEGERS)
        weights = builder.fsub(builder.sitofp(top, _FLOATS), _each(_FLOATS, 8388607.5))
        weights = builder.fmul(builder.fmul(weights, _each(_FLOATS, 2.0**-23)), splat(builder, scale, _FLOATS))
        if element == types.float64:
            weights = builder.fpext(weights, _DOUBLES)
        elif element == types.uint16:
            weights = _nearest(builder, builder.bitcast(weights, _INTEGERS))
        builder.store(weights, pointer(builder, to, weights.type), align=2 if element == types.uint16 else 4)
        return context.get_dummy_value()

    return types.void(types.int64, element, types.uint64, types.uint64, types.float32), generate


def _nearest(builder, bits):
    """`halves.nearest` of finite numbers."""
    odd = builder.and_(builder.lshr(bits, _each(_INTEGERS, 16)), _each(_INTEGERS, 1))
    rounded = builder.add(builder.add(bits, _each(_INTEGERS, 0x7FFF)), odd)
    return builder.trunc(builder.lshr(rounded, _each(_INTEGERS, 16)), _HALVES)


@intrinsic
def write_eight(typing_context, address, number):
    """Write a number eight times, side by side at `address`."""

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(arguments[1].type, EIGHT)
        builder.store(splat(builder, arguments[1], vector), pointer(builder, arguments[0], vector), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, number), generate
