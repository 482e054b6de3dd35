"""Typed access to raw memory from kernels: table records mix types, and their chunks are known by address only.

`load(address, like)` reads a value of the type of `like`; `store(address, value)` writes one.  `at` and `put`
are array[index] without Numba's test for negative indices, which costs a compare and a select in each access.
The caller guarantees that addresses and indices are valid; only an array with gaps is refused, when it is compiled.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _pointer(builder, address, llvm_type):
    return builder.inttoptr(address, llvm_type.as_pointer())


def _alignment(context, llvm_type):
    """Records and messages promise 4 bytes, their 16-bit numbers 2."""
    return min(4, context.get_abi_sizeof(llvm_type))


def _check_contiguous(array):
    if array.layout != "C":
        raise TypeError(f"flat access needs a C-contiguous array, not {array}")


@intrinsic
def load(typing_context, address, like):
    """The value of the type of `like` at `address` (int64)."""

    def generate(context, builder, signature, arguments):
        llvm_type = context.get_value_type(signature.args[1])
        return builder.load(_pointer(builder, arguments[0], llvm_type), align=_alignment(context, llvm_type))

    return like(types.int64, like), generate


@intrinsic
def store(typing_context, address, value):
    """Write `value` at `address` (int64)."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(builder, arguments[0], arguments[1].type)
        builder.store(arguments[1], pointer, align=_alignment(context, arguments[1].type))
        return context.get_dummy_value()

    return types.void(types.int64, value), generate


@intrinsic
def address_of(typing_context, array, index):
    """Address (int64) of array[index] of a C-contiguous array seen as flat."""
    _check_contiguous(array)

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), ir.IntType(64))

    return types.int64(array, types.int64), generate


@intrinsic
def at(typing_context, array, index):
    """array[index] of a flat C-contiguous array."""
    _check_contiguous(array)

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return context.unpack_value(builder, signature.args[0].dtype, builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.int64), generate


@intrinsic
def put(typing_context, array, index, value):
    """array[index] = value of a flat C-contiguous array; `value` must have the array's type."""
    _check_contiguous(array)
    if value != array.dtype:
        raise TypeError(f"put: an array of {array.dtype} cannot take {value}")

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.gep(data, [arguments[1]])
        context.pack_value(builder, signature.args[0].dtype, arguments[2], pointer)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), generate


def emit_prefetch(builder, address, for_writing):
    """LLVM's instruction that prefetches the cache line at an address."""
    i32, i8p = ir.IntType(32), ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic("llvm.prefetch", [i8p], ir.FunctionType(ir.VoidType(), [i8p, i32, i32, i32]))
    builder.call(function, [builder.inttoptr(address, i8p), i32(int(for_writing)), i32(3), i32(1)])


def _prefetch(for_writing):
    @intrinsic
    def prefetch_line(typing_context, address):
        def generate(context, builder, signature, arguments):
            emit_prefetch(builder, arguments[0], for_writing)
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return prefetch_line


prefetch = _prefetch(for_writing=True)
"""Prefetch the cache line at `address`, to be read and written soon; any address is harmless."""

prefetch_read = _prefetch(for_writing=False)
"""Prefetch the cache line at `address`, to be read soon: other cores keep their copies."""


@intrinsic
def size_of(typing_context, like):
    """Bytes of the type of `like` (int64)."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(ir.IntType(64), like.bitwidth // 8)

    return types.int64(like), generate


@intrinsic
def pointer(typing_context, address):
    """An address (int64) as `numba.carray` takes it."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def cast(typing_context, value, like):
    """`value` converted to the type of `like`."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[0], signature.args[0], signature.args[1])

    return like(value, like), generate


@intrinsic
def choose(typing_context, condition, a, b):
    """a where the condition holds, else b, without a branch: for conditions that nobody can foresee."""

    def generate(context, builder, signature, arguments):
        chosen = builder.select(*arguments)
        chosen.set_metadata("unpredictable", builder.module.add_metadata([]))
        return chosen

    return a(types.boolean, a, a), generate
