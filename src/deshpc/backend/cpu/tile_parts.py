"""float32 as three parts of bfloat16, in the order in which tiles are read.

    x = high + middle + low, exactly:   high, middle : rounded to bfloat16's 8 bits;  low : the at most 8 bits that are left

The product of two such sums without its smallest terms, middle x low and less, is within 2^-24 of theirs: float32's own rounding.
A NaN or an infinity gives NaN; parts below 2^-126 are taken as zero by the processor.

A factor's parts lie as [block of 32 rows or columns][step of 32 numbers to add up][part][tile].  In which order a step's numbers are
added up does not matter as long as it is the same for both factors: pairs are numbers i and i + 16, which takes no shuffles.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from deshpc.backend.cpu.simd import pointer, splat
from deshpc.backend.cpu.tiles import PART_BYTES, SIDE, STEP_BYTES, TILE_BYTES
from deshpc.jit import kernel

_LANES = 16
_ROW_BYTES = 4 * _LANES
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BITS, _NUMBERS = ir.VectorType(_I32, _LANES), ir.VectorType(ir.FloatType(), _LANES)
_UPPER, _HALF, _SHIFT = 0xFFFF0000, 0x8000, 16


def _constant(value):
    return ir.Constant(_BITS, [value] * _LANES)


def _load(builder, address, count):
    """16 float32 at `address`, of which those from `count` on are zero and not read."""
    lanes = ir.Constant(_BITS, list(range(_LANES)))
    mask = builder.icmp_signed("<", lanes, splat(builder, builder.trunc(count, _I32), _BITS))
    place = pointer(builder, address, _NUMBERS)
    function_type = ir.FunctionType(_NUMBERS, [place.type, _I32, mask.type, _NUMBERS])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.masked.load.v16f32.p0v16f32")
    return builder.call(function, [place, _I32(4), mask, ir.Constant(_NUMBERS, None)])


def _parts(builder, x):
    """High, middle and low of 16 float32, as the upper halves of 32 bits."""
    parts = []
    for _ in range(2):
        bits = builder.add(builder.bitcast(x, _BITS), _constant(_HALF))
        bits = builder.and_(bits, _constant(_UPPER))
        parts.append(bits)
        x = builder.fsub(x, builder.bitcast(bits, _NUMBERS))
    return [*parts, builder.bitcast(x, _BITS)]


@intrinsic
def _pair(typing_context, first, first_count, second, second_count, target):
    """Parts of 16 pairs of numbers, from `first` and from `second`, those from their counts on zero: rows of tiles, PART_BYTES apart."""

    def generate(context, builder, signature, arguments):
        first, first_count, second, second_count, target = arguments
        rows = [_parts(builder, _load(builder, *row)) for row in ((first, first_count), (second, second_count))]
        for part, (one, other) in enumerate(zip(*rows, strict=True)):
            pairs = builder.or_(builder.lshr(one, _constant(_SHIFT)), builder.and_(other, _constant(_UPPER)))
            place = pointer(builder, builder.add(target, _I64(part * PART_BYTES)), _BITS)
            builder.store(pairs, place, align=_ROW_BYTES)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def _transpose(typing_context, source, target):
    """Write the transpose of a tile's 16 x 16 pairs."""

    def generate(context, builder, signature, arguments):
        def place(address, row):
            return pointer(builder, builder.add(address, _I64(row * _ROW_BYTES)), _BITS)

        rows = [builder.load(place(arguments[0], row), align=_ROW_BYTES) for row in range(_LANES)]
        # Four times rows i and i + 8 are interleaved: that turns the bits of (row, lane) round by one each time.
        orders = [
            ir.Constant(_BITS, [lane // 2 + begin + _LANES * (lane % 2) for lane in range(_LANES)])
            for begin in (0, _LANES // 2)
        ]
        for _ in range(4):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + _LANES // 2], order) for i in range(_LANES // 2) for order in orders
            ]
        for row, bits in enumerate(rows):
            builder.store(bits, place(arguments[1], row), align=_ROW_BYTES)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@kernel
def split_rows(address, stride, rows, columns, first_block, blocks, turned, tile_scratch, target):
    """Parts of a matrix whose numbers to add up are consecutive: A's rows, or B's columns as rows, which are `turned`.

    address : of the matrix (rows, columns), float32
    stride : bytes from row to row
    first_block, blocks : of 32 rows
    tile_scratch : STEP_BYTES at a cache line
    target : where parts go, at a cache line
    """
    for block in range(first_block, first_block + blocks):
        for begin in range(0, columns, SIDE):
            place = tile_scratch if turned else target
            for i in range(SIDE):
                row = block * SIDE + i
                count = columns - begin if row < rows else 0
                first = address + row * stride + 4 * begin
                _pair(
                    first, count, first + _ROW_BYTES, count - _LANES,
                    place + i // _LANES * TILE_BYTES + i % _LANES * _ROW_BYTES,
                )  # fmt: skip
            if turned:
                for tile in range(0, STEP_BYTES, TILE_BYTES):
                    _transpose(tile_scratch + tile, target + tile)
            target += STEP_BYTES


@kernel
def split_pairs(address, stride, rows, columns, first_block, blocks, turned, tile_scratch, target):
    """Parts of a matrix whose columns are added up: B, or A's rows as columns, which are `turned`.  first_block, blocks : of 32 columns

    Otherwise as `split_rows`.
    """
    for block in range(first_block, first_block + blocks):
        for begin in range(0, rows, SIDE):
            place = tile_scratch if turned else target
            for pair in range(_LANES):
                row = begin + pair
                for tile in range(2):
                    column = block * SIDE + tile * _LANES
                    count = columns - column
                    first = address + row * stride + 4 * column
                    _pair(
                        first, count if row < rows else 0, first + _LANES * stride, count if row + _LANES < rows else 0,
                        place + tile * TILE_BYTES + pair * _ROW_BYTES,
                    )  # fmt: skip
            if turned:
                for tile in range(0, STEP_BYTES, TILE_BYTES):
                    _transpose(tile_scratch + tile, target + tile)
            target += STEP_BYTES
