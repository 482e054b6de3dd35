"""Totals of the accumulation type, of one number or of k: floating point, or int64 fixed point.

`accumulate(total, term, scale)` and `accumulate_product` add a term of the compute type.  In fixed point the term is
first rounded to a multiple of 1 / scale, *before* any addition: integers add in any order, so the bits of a total do not
depend on how its terms were split over owners.  `total_value` and `vector_value` convert back.  The type of the total
decides; `scale` is not looked at in floating point.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from deshpc.backend.cpu.memory import at, cast, put
from deshpc.backend.cpu.simd import VectorType, call, pointer, splat, vfma


@intrinsic
def sload(typing_context, lanes, address):
    """k numbers of the accumulation type at `address`; `astore` writes them back."""
    result = VectorType(lanes.count, lanes.sums)

    def generate(context, builder, signature, arguments):
        return builder.load(pointer(builder, arguments[1], result.llvm), align=4)

    return result(lanes, types.int64), generate


@intrinsic
def szero(typing_context, lanes):
    """k zeros of the accumulation type."""
    result = VectorType(lanes.count, lanes.sums)
    return result(lanes), lambda context, builder, signature, arguments: ir.Constant(result.llvm, None)


@intrinsic
def _fixed_point(typing_context, a, scale):
    """Every lane times `scale`, rounded to the nearest int64 (ties to even)."""
    wide, result = VectorType(a.count, "float64"), VectorType(a.count, "int64")

    def generate(context, builder, signature, arguments):
        value = arguments[0] if a.dtype == "float64" else builder.fpext(arguments[0], wide.llvm)
        scaled = builder.fmul(value, splat(builder, arguments[1], wide.llvm))
        return builder.fptosi(call(builder, "rint", wide, [scaled]), result.llvm)

    return result(a, types.float64), generate


@intrinsic
def _add_integers(typing_context, a, b):
    return a(a, a), lambda context, builder, signature, arguments: builder.add(*arguments)


@intrinsic
def vector_value(typing_context, lanes, total, inverse_scale):
    """A total of k numbers as a vector of the compute type."""
    result = VectorType(lanes.count, lanes.compute)

    def generate(context, builder, signature, arguments):
        if total.dtype != "int64":
            return arguments[1]
        wide = ir.VectorType(ir.DoubleType(), lanes.count)
        value = builder.fmul(builder.sitofp(arguments[1], wide), splat(builder, arguments[2], wide))
        return value if lanes.compute == "float64" else builder.fptrunc(value, result.llvm)

    return result(lanes, total, types.float64), generate


def accumulate(total, term, scale):
    """total + term, the term (compute type) rounded to 1 / scale (float64) first where the total is fixed point."""
    raise TypeError("accumulate works inside kernels")


def accumulate_product(total, a, b, scale):
    """total + a b: one fused operation for vectors of floating-point numbers, rounded as in `accumulate` otherwise."""
    raise TypeError("accumulate_product works inside kernels")


def add_product(sums, place, a, b, scale):
    """sums[place] += a b, as `accumulate_product` does it; nothing where sums is None."""
    raise TypeError("add_product works inside kernels")


def total_value(total, zero, inverse_scale):
    """A total of one number as the compute type of `zero`."""
    raise TypeError("total_value works inside kernels")


def value_at(sums, place, zero, inverse_scale):
    """The total sums[place] as the compute type of `zero`; 0 where sums is None."""
    raise TypeError("value_at works inside kernels")


def clear_at(sums, place):
    """sums[place] = 0; nothing where sums is None."""
    raise TypeError("clear_at works inside kernels")


@overload(accumulate, inline="always")
def _accumulate(total, term, scale):
    if isinstance(total, VectorType):
        if total.dtype == "int64":
            return lambda total, term, scale: _add_integers(total, _fixed_point(term, scale))
        return lambda total, term, scale: total + term
    if isinstance(total, types.Integer):
        return lambda total, term, scale: total + np.int64(np.rint(np.float64(term) * scale))
    return lambda total, term, scale: total + term


@overload(accumulate_product, inline="always")
def _accumulate_product(total, a, b, scale):
    if isinstance(total, VectorType) and total.dtype != "int64":
        return lambda total, a, b, scale: vfma(a, b, total)
    return lambda total, a, b, scale: accumulate(total, a * b, scale)


@overload(total_value, inline="always")
def _total_value(total, zero, inverse_scale):
    if isinstance(total, types.Integer):
        return lambda total, zero, inverse_scale: cast(np.float64(total) * inverse_scale, zero)
    return lambda total, zero, inverse_scale: total


@overload(add_product, inline="always")
def _add_product(sums, place, a, b, scale):
    if isinstance(sums, types.NoneType):
        return lambda sums, place, a, b, scale: None
    return lambda sums, place, a, b, scale: put(sums, place, accumulate_product(at(sums, place), a, b, scale))


@overload(value_at, inline="always")
def _value_at(sums, place, zero, inverse_scale):
    if isinstance(sums, types.NoneType):
        return lambda sums, place, zero, inverse_scale: zero
    return lambda sums, place, zero, inverse_scale: total_value(at(sums, place), zero, inverse_scale)


@overload(clear_at, inline="always")
def _clear_at(sums, place):
    if isinstance(sums, types.NoneType):
        return lambda sums, place: None
    return lambda sums, place: put(sums, place, cast(0, at(sums, place)))
