"""What an update writes as an embedding: in bfloat16, one of the two neighbours of each number, by chance.

To the bits of a float32 16 random bits are added, and the lower half is cut off: a number goes up with the chance of the part that is cut
off, so what is stored is right in the mean, and updates too small to be seen in 8 bits add up all the same.  A number that is a bfloat16
stays what it is.  So does infinity, and so does what arithmetic makes of no number.

The random bits are a function of seed, step, key and column of the whole embedding: the same on any number of ranks and threads, and
under any split.  `hashing.splitmix` makes 32 bits of seed, step and key; those and the column are mixed by the hash of 32 bits that is
called lowbias32 (docs/references.md), all columns at once; the upper half of the result counts.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from deshpc.backend.cpu.memory import load
from deshpc.backend.cpu.simd import pointer, splat, vstore
from deshpc.backend.record import KEY
from deshpc.hashing.splitmix import fold

_I32 = ir.IntType(32)
_GOLDEN, _STEPS = 0x9E3779B9, ((16, 0x7FEB352D), (15, 0x846CA68B))  # (shift, factor)


def write_embedding(form, record, place, value, rounding):
    """Write the embedding of a record at `place`, k numbers of the compute type.

    rounding : `arguments.Rounding`, None where embeddings are not bfloat16
    """
    raise TypeError("write_embedding works inside kernels")


@overload(write_embedding, inline="always")
def _write_embedding(form, record, place, value, rounding):
    if form.lanes.storage != "bfloat16":
        return lambda form, record, place, value, rounding: vstore(form.lanes, place, value)

    def write(form, record, place, value, rounding):
        state = fold(rounding.state, load(record + KEY, np.uint64(0)))
        _store_by_chance(form.lanes, place, value, state, rounding.first_column)

    return write


@intrinsic
def _store_by_chance(typing_context, lanes, address, vector, state, first_column):
    """Write k numbers at `address` as bfloat16, by the random bits of columns first_column .. first_column + k of `state`."""

    def generate(context, builder, signature, arguments):
        _, address, value, state, first = arguments
        integers = ir.VectorType(_I32, lanes.count)

        def constant(number):
            return ir.Constant(integers, [number] * lanes.count)

        columns = builder.add(
            splat(builder, builder.trunc(first, _I32), integers), ir.Constant(integers, list(range(lanes.count)))
        )
        mixed = builder.add(builder.mul(columns, constant(_GOLDEN)), splat(builder, builder.trunc(state, _I32), integers))
        for shift, factor in _STEPS:
            mixed = builder.mul(builder.xor(mixed, builder.lshr(mixed, constant(shift))), constant(factor))
        chance = builder.lshr(mixed, constant(16))  # a last step would change the lower half alone
        if vector.dtype == "float64":
            value = builder.fptrunc(value, ir.VectorType(ir.FloatType(), lanes.count))
        rounded = builder.add(builder.bitcast(value, integers), chance)
        halves = builder.trunc(builder.lshr(rounded, constant(16)), ir.VectorType(ir.IntType(16), lanes.count))
        builder.store(halves, pointer(builder, address, halves.type), align=4)
        return context.get_dummy_value()

    return types.void(lanes, types.int64, vector, types.uint64, types.int64), generate
