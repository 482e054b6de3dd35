"""Vectors of k numbers as values inside kernels: one embedding in registers, for any k.

`Lanes(k, storage, compute, sums)` is passed to a kernel as an argument; its *type* carries k and the number types,
so that Numba compiles one machine code for each and the on-disk cache tells them apart.

    storage   a table's precision: `vload` widens it to the compute type, `vstore` narrows back; bfloat16 is written by `rounding.py`
    compute   the type of arithmetic, by `+ - * /`, `vfma`, `vsqrt`, `vmin`, `vmax`; `aload` / `astore` for buffers of this type
    sums      the accumulation type: the compute type, or int64 for fixed point; see `sums.py`

`vsum` adds the lanes in a fixed tree, so its result does not depend on how wide the machine is.  Nothing is contracted
or reordered that is not written so.
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

from deshpc.config.precision import row_type

_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_LLVM = {"bfloat16": ir.IntType(16), "float32": ir.FloatType(), "float64": _F64, "int64": _I64}
_NUMBA = {"float32": types.float32, "float64": types.float64, "int64": types.int64}


class Lanes:
    """k lanes, stored as `storage`, computed as `compute` ("float32" or "float64"), added up as `sums` (or "int64")."""

    def __init__(self, count, storage, compute, sums=None):
        if np.dtype(compute).itemsize < np.dtype(row_type(storage)).itemsize:
            raise ValueError(f"cannot accumulate {storage} in {compute}")
        if sums not in (None, compute, "int64"):
            raise ValueError(f"sums of {compute} are {compute} or int64, not {sums}")
        self.numba_type = LanesType(count, storage, compute, sums or compute)


class LanesType(types.Type):
    """Type of a Lanes argument."""

    def __init__(self, count, storage, compute, sums):
        self.count, self.storage, self.compute, self.sums = count, storage, compute, sums
        self.scalar = _NUMBA[compute]
        super().__init__(name=f"Lanes({count}, {storage}, {compute}, {sums})")


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


def splat(builder, number, llvm_vector):
    """An LLVM vector with `number` in every lane."""
    undefined = ir.Constant(llvm_vector, ir.Undefined)
    first = builder.insert_element(undefined, number, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, llvm_vector.count), None))


def pointer(builder, address, llvm_type):
    """`address` (int64) as a pointer to the LLVM type."""
    return builder.inttoptr(address, llvm_type.as_pointer())


@intrinsic
def vload(typing_context, lanes, address):
    """k numbers of the storage type at `address`, as the compute type."""
    result = _vector(lanes)

    def generate(context, builder, signature, arguments):
        stored = ir.VectorType(_LLVM[lanes.storage], lanes.count)
        value = builder.load(pointer(builder, arguments[1], stored), align=4)
        if lanes.storage == "bfloat16":
            value = widened(builder, value)
        return value if value.type == result.llvm else builder.fpext(value, result.llvm)

    return result(lanes, types.int64), generate


def widened(builder, halves):
    """The float32 of which a vector of i16 are the upper halves."""
    integers = ir.VectorType(_I32, halves.type.count)
    upper = builder.shl(builder.zext(halves, integers), ir.Constant(integers, [16] * halves.type.count))
    return builder.bitcast(upper, ir.VectorType(_LLVM["float32"], halves.type.count))


@intrinsic
def vstore(typing_context, lanes, address, vector):
    """Write k numbers at `address` as the storage type."""
    if lanes.storage == "bfloat16":
        raise TypeError("embeddings in bfloat16 are written by rounding.write_embedding")

    def generate(context, builder, signature, arguments):
        stored = ir.VectorType(_LLVM[lanes.storage], lanes.count)
        value = arguments[2] if lanes.storage == lanes.compute else builder.fptrunc(arguments[2], stored)
        builder.store(value, pointer(builder, arguments[1], stored), align=4)
        return context.get_dummy_value()

    return types.void(lanes, types.int64, vector), generate


@intrinsic
def aload(typing_context, lanes, address):
    """k numbers of the compute type at `address`."""
    result = _vector(lanes)

    def generate(context, builder, signature, arguments):
        return builder.load(pointer(builder, arguments[1], result.llvm), align=4)

    return result(lanes, types.int64), generate


@intrinsic
def astore(typing_context, address, vector):
    """Write k numbers of the compute type at `address`."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], pointer(builder, arguments[0], vector.llvm), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def vjoin(typing_context, a, b):
    """The lanes of a, then those of b."""
    result = VectorType(2 * a.count, a.dtype)

    def generate(context, builder, signature, arguments):
        both = ir.Constant(ir.VectorType(_I32, result.count), [_I32(lane) for lane in range(result.count)])
        return builder.shuffle_vector(*arguments, both)

    return result(a, a), generate


@intrinsic
def vsplat(typing_context, lanes, number):
    """A vector with `number` in every lane."""
    result = _vector(lanes)

    def generate(context, builder, signature, arguments):
        return splat(builder, arguments[1], result.llvm)

    return result(lanes, lanes.scalar), generate


def _arithmetic(symbol, instruction):
    @intrinsic
    def apply(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return a(a, a), generate

    @overload(symbol, inline="always")
    def _overload(a, b):
        if isinstance(a, VectorType) and a == b and a.dtype != "int64":
            return lambda a, b: apply(a, b)


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)


def call(builder, name, vector, arguments):
    """Call LLVM's intrinsic `name` on vectors."""
    suffix = f"v{vector.count}f{32 if vector.dtype == 'float32' else 64}"
    function_type = ir.FunctionType(vector.llvm, [vector.llvm] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}"), arguments)


@intrinsic
def vfma(typing_context, a, b, c):
    """a * b + c, rounded once."""
    return a(a, a, a), lambda context, builder, signature, arguments: call(builder, "fma", a, arguments)


@intrinsic
def vsqrt(typing_context, a):
    """Square root of every lane."""
    return a(a), lambda context, builder, signature, arguments: call(builder, "sqrt", a, arguments)


@intrinsic
def vmin(typing_context, a, b):
    """The smaller of every lane; of zeros of either sign any, of a number and a NaN the number."""
    return a(a, a), lambda context, builder, signature, arguments: call(builder, "minnum", a, arguments)


@intrinsic
def vmax(typing_context, a, b):
    """The larger of every lane; of zeros of either sign any, of a number and a NaN the number."""
    return a(a, a), lambda context, builder, signature, arguments: call(builder, "maxnum", a, arguments)


@intrinsic
def vwide(typing_context, a):
    """Every lane as float64."""
    result = VectorType(a.count, "float64")

    def generate(context, builder, signature, arguments):
        return arguments[0] if a.dtype == "float64" else builder.fpext(arguments[0], result.llvm)

    return result(a), generate


@intrinsic
def vsum(typing_context, a):
    """The sum of all lanes: halves are added to each other, an odd lane is carried along."""

    def generate(context, builder, signature, arguments):
        value, count, carried = arguments[0], a.count, []
        add = builder.add if a.dtype == "int64" else builder.fadd
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
            value = add(low, high)
        total = builder.extract_element(value, _I32(0))
        for lane in carried:
            total = add(total, lane)
        return total

    return a.scalar(a), generate
