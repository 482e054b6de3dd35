"""Vectors of k numbers as values inside kernels: one embedding in registers, for any k.

`Lanes(k, storage, compute)` is passed to a kernel as an argument; its *type* carries k and the two number types,
so that Numba compiles one machine code for each and the on-disk cache tells them apart.  `vload` reads k numbers
of the storage type (a table's precision) and widens them to the compute type (the accumulation type); `vstore`
narrows them back.  `aload` / `astore` do so for buffers of the compute type.  Arithmetic is by `+ - * /`, `vfma`
and `vsqrt`; `vsum` adds the lanes in a fixed tree, so its result does not depend on how wide the machine is.
Nothing is contracted or reordered that is not written so.
"""

import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload,
    register_model,
    typeof_impl,
    unbox,
)

_LLVM = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
_NUMBA = {"float32": types.float32, "float64": types.float64}
_I32 = ir.IntType(32)


class Lanes:
    """k lanes, stored as `storage` and computed as `compute` ("float32" or "float64")."""

    def __init__(self, count, storage, compute):
        if np.dtype(compute).itemsize < np.dtype(storage).itemsize:
            raise ValueError(f"cannot accumulate {storage} in {compute}")
        self.numba_type = LanesType(count, storage, compute)


class LanesType(types.Type):
    """Type of a Lanes argument."""

    def __init__(self, count, storage, compute):
        self.count, self.storage, self.compute = count, storage, compute
        self.scalar = _NUMBA[compute]
        super().__init__(name=f"Lanes({count}, {storage}, {compute})")


class VectorType(types.Type):
    """Type of a value of `count` lanes of type `dtype`."""

    def __init__(self, count, dtype):
        self.count, self.dtype = count, dtype
        self.scalar = _NUMBA[dtype]
        self.llvm = ir.VectorType(_LLVM[dtype], count)
        super().__init__(name=f"Vector({count} x {dtype})")


@typeof_impl.register(Lanes)
def _typeof_lanes(value, context):
    return value.numba_type


@register_model(LanesType)
class _LanesModel(models.OpaqueModel):
    pass


@unbox(LanesType)
def _unbox_lanes(lanes, value, c):
    return NativeValue(c.context.get_dummy_value())


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, vector.llvm)


def _vector(lanes):
    return VectorType(lanes.count, lanes.compute)


def _pointer(builder, address, llvm_type):
    return builder.inttoptr(address, llvm_type.as_pointer())


@intrinsic
def vload(typing_context, lanes, address):
    """k numbers of the storage type at `address`, as the compute type."""
    result = _vector(lanes)

    def generate(context, builder, signature, arguments):
        stored = ir.VectorType(_LLVM[lanes.storage], lanes.count)
        value = builder.load(_pointer(builder, arguments[1], stored), align=4)
        return value if lanes.storage == lanes.compute else builder.fpext(value, result.llvm)

    return result(lanes, types.int64), generate


@intrinsic
def vstore(typing_context, lanes, address, vector):
    """Write k numbers at `address` as the storage type."""

    def generate(context, builder, signature, arguments):
        stored = ir.VectorType(_LLVM[lanes.storage], lanes.count)
        value = arguments[2] if lanes.storage == lanes.compute else builder.fptrunc(arguments[2], stored)
        builder.store(value, _pointer(builder, arguments[1], stored), align=4)
        return context.get_dummy_value()

    return types.void(lanes, types.int64, vector), generate


@intrinsic
def aload(typing_context, lanes, address):
    """k numbers of the compute type at `address`."""
    result = _vector(lanes)

    def generate(context, builder, signature, arguments):
        return builder.load(_pointer(builder, arguments[1], result.llvm), align=4)

    return result(lanes, types.int64), generate


@intrinsic
def astore(typing_context, address, vector):
    """Write k numbers of the compute type at `address`."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], _pointer(builder, arguments[0], vector.llvm), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def vsplat(typing_context, lanes, number):
    """A vector with `number` in every lane."""
    result = _vector(lanes)

    def generate(context, builder, signature, arguments):
        undefined = ir.Constant(result.llvm, ir.Undefined)
        first = builder.insert_element(undefined, arguments[1], _I32(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes.count), None))

    return result(lanes, lanes.scalar), generate


def _arithmetic(symbol, instruction):
    @intrinsic
    def apply(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return a(a, a), generate

    @overload(symbol, inline="always")
    def _overload(a, b):
        if isinstance(a, VectorType) and a == b:
            return lambda a, b: apply(a, b)


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)


def _call(builder, name, vector, arguments):
    suffix = f"v{vector.count}f{32 if vector.dtype == 'float32' else 64}"
    function_type = ir.FunctionType(vector.llvm, [vector.llvm] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}"), arguments)


@intrinsic
def vfma(typing_context, a, b, c):
    """a * b + c, rounded once."""
    return a(a, a, a), lambda context, builder, signature, arguments: _call(builder, "fma", a, arguments)


@intrinsic
def vsqrt(typing_context, a):
    """Square root of every lane."""
    return a(a), lambda context, builder, signature, arguments: _call(builder, "sqrt", a, arguments)


@intrinsic
def vsum(typing_context, a):
    """The sum of all lanes: halves are added to each other, an odd lane is carried along."""

    def generate(context, builder, signature, arguments):
        value, count, carried = arguments[0], a.count, []
        while count > 1:
            if count % 2:
                carried.append(builder.extract_element(value, _I32(count - 1)))
            count //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            low, high = (
                builder.shuffle_vector(
                    value, undefined, ir.Constant(ir.VectorType(_I32, count), [_I32(start + i) for i in range(count)])
                )
                for start in (0, count)
            )
            value = builder.fadd(low, high)
        total = builder.extract_element(value, _I32(0))
        for lane in carried:
            total = builder.fadd(total, lane)
        return total

    return a.scalar(a), generate


@intrinsic
def match4(typing_context, address, key):
    """Bit i is set where the i-th of the four uint64 at `address` equals `key`."""

    def generate(context, builder, signature, arguments):
        four = ir.VectorType(ir.IntType(64), 4)
        found = builder.load(_pointer(builder, arguments[0], four), align=8)
        undefined = ir.Constant(four, ir.Undefined)
        first = builder.insert_element(undefined, arguments[1], _I32(0))
        wanted = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, 4), None))
        bits = builder.bitcast(builder.icmp_unsigned("==", found, wanted), ir.IntType(4))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(types.int64, types.uint64), generate


@intrinsic
def trailing_zeros(typing_context, bits):
    """Number of zero bits below the lowest set bit; `bits` (int64) must not be 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate
