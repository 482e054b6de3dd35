"""One update of every distinct key's row and of dense parameters, CPU.  The rules' formulas are those of `rules.py`.

A row's gradient is  scalar[c]  of the Sums for its linear weight and  vector[c] - square[c] v  for its embedding v (square may be
the scalar sums themselves).  Fixed-point sums have a scale of 1 / inverse_scale (float64).  Arguments that go together are those of
`backend.arguments`.
"""

import math

import numpy as np
from numba.core import types
from numba.extending import overload

from deshpc.backend.cpu.exact_norm import add_term
from deshpc.backend.cpu.generic import multiply_add, read, spread, write
from deshpc.backend.cpu.halves import embedding_bytes
from deshpc.backend.cpu.history import note_sight
from deshpc.backend.cpu.memory import address_of, at, cast, load, prefetch, put, size_of, store
from deshpc.backend.cpu.rounding import write_embedding
from deshpc.backend.cpu.rules import new_weight
from deshpc.backend.cpu.simd import aload, astore, vfma, vsplat, vsum, vwide
from deshpc.backend.cpu.sums import accumulate, clear_at, sload, szero, value_at, vector_value
from deshpc.backend.exact_norm import TERMS, total
from deshpc.backend.record import CACHE_LINE, COUNT, EMBEDDING, STEP
from deshpc.backend.rules import RowwiseAdagrad, Sgd
from deshpc.backend.weight_form import PIECE
from deshpc.jit import kernel

AHEAD = 16  # rows between prefetching a record and updating it


@kernel(inline=True)
def prefetched(addresses, c, lines):
    """The address of record c; a later one is prefetched."""
    soon = at(addresses, min(c + AHEAD, len(addresses) - 1))
    for line in range(lines):
        prefetch(soon + line * CACHE_LINE)
    return at(addresses, c)


@kernel(inline=True)
def note_update(tail, step):
    """Write last step and count of the record whose tail is at this address."""
    store(tail + STEP, np.uint32(step))
    count = load(tail + COUNT, np.uint32(0)) + np.uint32(1)  # Numba adds two uint32 as a uint64
    store(tail + COUNT, np.uint32(count))


@kernel(inline=True)
def renewed(rule, lanes, form, weight, gradient, state, plane, clip, l2):
    """The weight after the rule with gradient  clip gradient + l2 weight; its state is updated."""
    whole = multiply_add(spread(lanes, l2), weight, spread(lanes, clip) * gradient)
    return new_weight(rule, lanes, form.number, form.zero, weight, whole, state, plane)


def update_weight(rule, form, record, linear_state, scalar, c, inverse_scale, clip, l2):
    """Update the linear weight of row c, where there are such weights."""
    raise TypeError("update_weight works inside kernels")


def update_embedding(rule, form, record, vector, c, shrink, inverse_scale, clip, l2, rounding):
    """Update the embedding of row c, where there are embeddings, and set its sums to 0.  shrink : square[c]"""
    raise TypeError("update_embedding works inside kernels")


def embedding_square(form, record, vector, c, shrink, inverse_scale):
    """Squared norm (float64) of the gradient of row c's embedding; 0 where there are no embeddings."""
    raise TypeError("embedding_square works inside kernels")


@overload(update_weight)
def _update_weight(rule, form, record, linear_state, scalar, c, inverse_scale, clip, l2):
    if isinstance(scalar, types.NoneType):
        return lambda rule, form, record, linear_state, scalar, c, inverse_scale, clip, l2: None

    def update(rule, form, record, linear_state, scalar, c, inverse_scale, clip, l2):
        size = size_of(form.number)
        place = record + EMBEDDING - size
        gradient = value_at(scalar, c, form.zero, inverse_scale)
        weight = read(None, form.number, form.zero, place)
        weight = renewed(rule, None, form, weight, gradient, record + linear_state, size, clip, l2)
        write(None, form.number, place, weight)

    return update


@kernel(inline=True)
def embedding_gradient(form, vector, c, shrink, inverse_scale, v):
    """vector[c] - shrink v."""
    sums = sload(form.lanes, address_of(vector, 0) + c * form.dim * size_of(at(vector, 0)))
    return vfma(v, vsplat(form.lanes, -shrink), vector_value(form.lanes, sums, inverse_scale))


# An embedding in pieces (`WeightForm.tail`): each is read, updated and written while it is in registers, the last one of other lanes, or
# of none.  There are no sums of squares, and no bfloat16.


def update_piece(lanes, rule, form, place, sums, state, plane, inverse_scale, clip, l2):
    """Update the numbers of these lanes, and set their sums to 0; nothing where lanes is None."""
    raise TypeError("update_piece works inside kernels")


def piece_square(lanes, form, place, sums, inverse_scale, clip, l2):
    """Sum of the squares of  clip sums + l2 weights  of these lanes, of the compute type; 0 where lanes is None."""
    raise TypeError("piece_square works inside kernels")


@overload(update_piece, inline="always")
def _update_piece(lanes, rule, form, place, sums, state, plane, inverse_scale, clip, l2):
    if isinstance(lanes, types.NoneType):
        return lambda lanes, rule, form, place, sums, state, plane, inverse_scale, clip, l2: None

    def update(lanes, rule, form, place, sums, state, plane, inverse_scale, clip, l2):
        v = read(lanes, form.number, form.zero, place)
        slope = vector_value(lanes, sload(lanes, sums), inverse_scale)
        write(lanes, form.number, place, renewed(rule, lanes, form, v, slope, state, plane, clip, l2))
        astore(sums, szero(lanes))

    return update


@overload(piece_square, inline="always")
def _piece_square(lanes, form, place, sums, inverse_scale, clip, l2):
    if isinstance(lanes, types.NoneType):
        return lambda lanes, form, place, sums, inverse_scale, clip, l2: form.zero

    def square(lanes, form, place, sums, inverse_scale, clip, l2):
        v = read(lanes, form.number, form.zero, place)
        slope = vfma(vsplat(lanes, l2), v, vsplat(lanes, clip) * vector_value(lanes, sload(lanes, sums), inverse_scale))
        return vsum(slope * slope)

    return square


@kernel
def update_pieces(rule, form, record, vector, c, inverse_scale, clip, l2):
    """`update_embedding` of an embedding in pieces."""
    size, sum_size = size_of(form.number), size_of(at(vector, 0))
    place, sums = record + EMBEDDING, address_of(vector, 0) + c * form.dim * sum_size
    plane, whole = form.dim * size, form.dim - form.dim % PIECE
    for i in range(0, whole, PIECE):
        piece = place + i * size
        update_piece(form.lanes, rule, form, piece, sums + i * sum_size, piece + plane, plane, inverse_scale, clip, l2)
    piece = place + whole * size
    update_piece(form.tail, rule, form, piece, sums + whole * sum_size, piece + plane, plane, inverse_scale, clip, l2)


@kernel
def pieces_square(form, record, vector, c, inverse_scale, clip, l2):
    """Sum of `piece_square` over all pieces."""
    size, sum_size = size_of(form.number), size_of(at(vector, 0))
    place, sums = record + EMBEDDING, address_of(vector, 0) + c * form.dim * sum_size
    whole, total = form.dim - form.dim % PIECE, form.zero
    for i in range(0, whole, PIECE):
        total += piece_square(form.lanes, form, place + i * size, sums + i * sum_size, inverse_scale, clip, l2)
    return total + piece_square(form.tail, form, place + whole * size, sums + whole * sum_size, inverse_scale, clip, l2)


def _update_row_wise(rule, form, record, vector, c, shrink, inverse_scale, clip, l2, rounding):
    """The one number of an embedding is needed before its first piece: its pieces are read twice, and make steps of plain descent."""
    state = record + EMBEDDING + form.dim * size_of(form.number)
    squares = pieces_square(form, record, vector, c, inverse_scale, clip, l2)
    total = load(state, form.number) + squares / cast(form.dim, form.zero)
    store(state, cast(total, form.number))
    step = Sgd(rule.rate / (math.sqrt(total) + rule.epsilon))
    update_pieces(step, form, record, vector, c, inverse_scale, clip, l2)


def _update_pieces(rule, form, record, vector, c, shrink, inverse_scale, clip, l2, rounding):
    update_pieces(rule, form, record, vector, c, inverse_scale, clip, l2)


def _square_pieces(form, record, vector, c, shrink, inverse_scale):
    one = cast(1, form.zero)
    return np.float64(pieces_square(form, record, vector, c, inverse_scale, one, one - one))


@overload(update_embedding)
def _update_embedding(rule, form, record, vector, c, shrink, inverse_scale, clip, l2, rounding):
    if isinstance(vector, types.NoneType):
        return lambda rule, form, record, vector, c, shrink, inverse_scale, clip, l2, rounding: None

    if form.tail is not None:
        return _update_row_wise if rule.instance_class is RowwiseAdagrad else _update_pieces

    def update(rule, form, record, vector, c, shrink, inverse_scale, clip, l2, rounding):
        place, plane = record + EMBEDDING, form.dim * size_of(form.number)
        state = place + embedding_bytes(form.dim, size_of(form.element))
        v = read(form.lanes, form.number, form.zero, place)
        slope = embedding_gradient(form, vector, c, shrink, inverse_scale, v)
        v = renewed(rule, form.state_lanes, form, v, slope, state, plane, clip, l2)
        write_embedding(form, record, place, v, rounding)
        astore(address_of(vector, 0) + c * form.dim * size_of(at(vector, 0)), szero(form.lanes))

    return update


@overload(embedding_square)
def _embedding_square(form, record, vector, c, shrink, inverse_scale):
    if isinstance(vector, types.NoneType):
        return lambda form, record, vector, c, shrink, inverse_scale: 0.0

    if form.tail is not None:
        return _square_pieces

    def square(form, record, vector, c, shrink, inverse_scale):
        v = read(form.lanes, form.number, form.zero, record + EMBEDDING)
        wide = vwide(embedding_gradient(form, vector, c, shrink, inverse_scale, v))
        return vsum(wide * wide)

    return square


@kernel
def rows(rule, form, linear_state, tail, lines, addresses, sums, inverse_scale, step, clip, l2, decay, rounding):
    """Apply `rule` to the row of every distinct key, with gradient  clip sum + l2 weight; the sums become zero again.

    rule : a class of `backend.rules`
    linear_state, tail : offsets in a record, of the `RecordLayout`
    lines : cache lines of a record
    step : uint32
    clip, l2 : of the compute type
    decay : `arguments.Decay` of the rows' counts, None where none are kept
    rounding : `arguments.Rounding` of embeddings in bfloat16, None of others
    """
    for c in range(len(addresses)):
        record = prefetched(addresses, c, lines)
        note_sight(decay, record)
        note_update(record + tail, step)
        shrink = value_at(sums.square, c, form.zero, inverse_scale)
        update_weight(rule, form, record, linear_state, sums.scalar, c, inverse_scale, clip, l2)
        clear_at(sums.scalar, c)
        clear_at(sums.square, c)
        update_embedding(rule, form, record, sums.vector, c, shrink, inverse_scale, clip, l2, rounding)


@kernel
def square_norms(form, addresses, sums, inverse_scale, norms):
    """Fill norms (n) float64: squared norm of each row's gradient, before clipping and l2.  The sums stay."""
    lines = 0 if sums.square is None else (EMBEDDING + form.dim * size_of(form.element) + CACHE_LINE - 1) // CACHE_LINE
    for c in range(len(addresses)):
        record = prefetched(addresses, c, lines)
        shrink = value_at(sums.square, c, form.zero, inverse_scale)
        norm = np.float64(value_at(sums.scalar, c, form.zero, inverse_scale)) ** 2
        norms[c] = norm + embedding_square(form, record, sums.vector, c, shrink, inverse_scale)


@kernel
def add_exactly(numbers, terms):
    """Add numbers (n) float64, none negative, to terms (TERMS) int64 of `backend.exact_norm`."""
    for i in range(len(numbers)):
        add_term(terms, numbers[i])


def sum_parts(sums, total):
    """total (n) = sums (parts, ...) over all parts, added in order; they become zero."""
    np.add.reduce(sums.reshape(len(sums), -1), axis=0, out=total)
    sums[...] = 0


def set_numbers(sums, inverse_scale, numbers):
    """numbers = the values of sums, which are fixed point of this inverse scale unless they are of the same type."""
    numbers[...] = sums if sums.dtype == numbers.dtype else sums * inverse_scale


@kernel
def add_rounded(numbers, scale, sums):
    """sums (n) int64 += numbers (n) times scale, each rounded to an integer."""
    for i in range(len(numbers)):
        put(sums, i, accumulate(at(sums, i), at(numbers, i), scale))


def largest(numbers):
    """The largest |number|, NaN if there is one; 0 of none."""
    return float(max(numbers.max(initial=0), -numbers.min(initial=0)))


def square_norm(numbers):
    """Sum of squares (float64), rounded once: see `backend.exact_norm`."""
    terms = np.zeros(TERMS, np.int64)
    _add_squares(numbers, terms)
    return total(terms)


@kernel
def _add_squares(numbers, terms):
    for i in range(len(numbers)):
        number = np.float64(numbers[i])
        add_term(terms, number * number)


LANES = 16
"""Dense parameters that are updated at once, where they are many."""


@kernel
def dense(rule, lanes, zero, values, state, gradient, clip, begin, end):
    """Apply `rule` to the flat dense parameters begin .. end, with gradient  clip gradient.

    values, gradient (n), state (planes n), plane after plane: of the compute type
    lanes : of LANES numbers, or None: then each product is rounded by itself
    """
    size, n = size_of(zero), len(gradient)
    if lanes is not None:
        whole = begin + (end - begin) // LANES * LANES
        for i in range(begin, whole, LANES):
            place, weight = address_of(state, 0) + i * size, address_of(values, 0) + i * size
            slope = aload(lanes, address_of(gradient, 0) + i * size) * vsplat(lanes, clip)
            astore(weight, new_weight(rule, lanes, zero, zero, aload(lanes, weight), slope, place, n * size))
        begin = whole
    for i in range(begin, end):
        place = address_of(state, 0) + i * size
        slope = clip * at(gradient, i)
        put(values, i, new_weight(rule, None, zero, zero, at(values, i), slope, place, n * size))
