"""Compare a key with all keys of a bucket at once."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from deshpc.backend.cpu.simd import pointer, splat


@intrinsic
def match4(typing_context, address, key):
    """Bit i is set where the i-th of the four uint64 at `address` equals `key`."""

    def generate(context, builder, signature, arguments):
        four = ir.VectorType(ir.IntType(64), 4)
        found = builder.load(pointer(builder, arguments[0], four), align=8)
        equal = builder.icmp_unsigned("==", found, splat(builder, arguments[1], four))
        bits = builder.bitcast(equal, ir.IntType(4))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(types.int64, types.uint64), generate


@intrinsic
def trailing_zeros(typing_context, bits):
    """Number of zero bits below the lowest set bit; `bits` (int64) must not be 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate
