"""Products of float32 matrices by tiles of bfloat16 parts, as exact as float32's own."""

from typing import NamedTuple

import numpy as np

from deshpc.backend.cpu.memory import load, store
from deshpc.backend.cpu.tile_parts import split_pairs, split_rows
from deshpc.backend.cpu.tiles import (
    B_AHEAD,
    BLOCK_BYTES,
    C_AHEAD,
    GROUP,
    SIDE,
    STEP_BYTES,
    clear_block,
    configure,
    load_block,
    multiply_step,
    release,
    store_block,
)
from deshpc.jit import kernel

_STEPS = 2
"""Steps of 32 numbers after which another block of C has its turn: B's parts of so many stay in the first cache."""

_BLOCK_STRIDE = 4 * SIDE


@kernel
def _copy_block(source, source_stride, target, target_stride, rows, columns):
    zero = np.float32(0)
    for i in range(rows):
        for j in range(columns):
            store(target + i * target_stride + 4 * j, load(source + i * source_stride + 4 * j, zero))


class Room(NamedTuple):
    """Addresses of what a product needs beside its matrices.

    configuration : see `tiles`
    tile : scratch of STEP_BYTES
    a_parts : GROUP blocks' parts of k numbers
    b_parts : parts of B (k, n), see `tile_parts`
    sums : GROUP blocks of C for every 32 columns
    """

    configuration: int
    tile: int
    a_parts: int
    b_parts: int
    sums: int


@kernel
def multiply(a, m, n, k, out, add, room):
    """out (m, n) = A B, or += with `add`; everything is float32.

    a : Matrix A (m, k), of which a row's numbers or a column's are consecutive
    out : Matrix of consecutive columns
    room : Room, in which B's parts are
    """
    configuration, tile_scratch, a_parts, b_parts, sums = room
    a_turned, out_stride = a.column != 4, out.row
    steps, blocks = (k + SIDE - 1) // SIDE, (m + SIDE - 1) // SIDE
    configure(configuration)
    for group in range(0, blocks, GROUP):
        of_group = min(GROUP, blocks - group)
        if a_turned:
            split_pairs(a.address, a.column, k, m, group, of_group, True, tile_scratch, a_parts)
        else:
            split_rows(a.address, a.row, m, k, group, of_group, False, tile_scratch, a_parts)
        for first in range(0, steps, _STEPS):
            last = min(first + _STEPS, steps)
            of_sums = sums
            for column in range(0, n, SIDE):
                for block in range(of_group):
                    row = (group + block) * SIDE
                    place = out.address + row * out_stride + 4 * column
                    rows, columns = min(SIDE, m - row), min(SIDE, n - column)
                    whole = rows == SIDE and columns == SIDE
                    if first:
                        load_block(of_sums, _BLOCK_STRIDE)
                    elif not add:
                        clear_block()
                    elif whole:
                        load_block(place, out_stride)
                    else:
                        _copy_block(place, out_stride, of_sums, _BLOCK_STRIDE, rows, columns)
                        load_block(of_sums, _BLOCK_STRIDE)
                    of_a = a_parts + (block * steps + first) * STEP_BYTES
                    of_b = b_parts + (column // SIDE * steps + first) * STEP_BYTES
                    next_a = a_parts + ((block + 1) % of_group * steps + first) * STEP_BYTES
                    next_b = of_b + steps * STEP_BYTES + block * B_AHEAD
                    next_c = of_sums + BLOCK_BYTES
                    for step in range(first, last):
                        multiply_step(of_a, of_b, of_a + STEP_BYTES if step + 1 < last else next_a, next_b, next_c)
                        of_a, of_b = of_a + STEP_BYTES, of_b + STEP_BYTES
                        next_b, next_c = next_b + STEP_BYTES, next_c + C_AHEAD
                    if last == steps and whole:
                        store_block(place, out_stride)
                    else:
                        store_block(of_sums, _BLOCK_STRIDE)
                        if last == steps:
                            _copy_block(of_sums, _BLOCK_STRIDE, place, out_stride, rows, columns)
                    of_sums += BLOCK_BYTES
    release()
