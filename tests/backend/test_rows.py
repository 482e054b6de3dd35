"""Kernels of rows that travel, against Python lists and NumPy: requests, where things lie in messages, rows out, gradients
out and in.  Messages are filled with rubbish before, so a byte that is not written shows.
"""

import numpy as np
import pytest

from deshpc.backend.cpu import rows
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.record import EMBEDDING
from deshpc.backend.weight_form import WeightForm

RANKS, FIELDS, DIM = 3, 4, 5


def rubbish(count):
    return np.full(count, 0xA5, np.uint8)


def grouped(rng, unique):
    """Random unique keys, their fields and ranks, and their places when grouped by (rank, field), in order inside."""
    keys = rng.choice(2**60, unique, replace=False).astype(np.uint64)
    fields, ranks = rng.integers(0, FIELDS, unique).astype(np.uint16), rng.integers(0, RANKS, unique).astype(np.int32)
    ranks[ranks == 1] = 2  # rank 1 is asked for nothing
    return keys, fields, ranks, np.lexsort((np.arange(unique), fields, ranks))


@pytest.mark.parametrize("unique", [0, 1, 50])
def test_requests_are_grouped_and_read_again(unique):
    keys, fields, ranks, order = grouped(np.random.default_rng(1), unique)
    counts = np.array([[((ranks == r) & (fields == f)).sum() for f in range(FIELDS)] for r in range(RANKS)], np.int32)
    lengths = counts.sum(axis=1)
    begins = 16 + 8 * np.array([lengths[2] + 1, 0, 0], np.int64)  # the requests may lie anywhere: rank 2's before rank 0's
    message, places = rubbish(32 + 8 * unique), np.empty(unique, np.int32)
    rows.group_requests(keys, fields, ranks, counts, places, begins, message)
    assert np.array_equal(places[order], np.arange(unique))
    read, fields_read = np.empty(unique, np.uint64), np.empty(unique, np.uint16)
    rows.read_requests(message, begins, counts, read, fields_read)
    assert np.array_equal(read, keys[order]) and np.array_equal(fields_read, fields[order])
    untouched = np.ones(len(message), bool)
    for begin, length in zip(begins, lengths, strict=True):
        untouched[begin : begin + 8 * length] = False
    assert (message[untouched] == 0xA5).all()


def test_addresses_of_stretches():
    message, counts = rubbish(1000), np.array([2, 0, 3], np.int64)
    found = np.empty(5, np.int64)
    rows.segment_addresses(message, np.array([500, 0, 96], np.int64), counts, 24, found)
    assert (found - message.ctypes.data).tolist() == [500, 524, 96, 120, 144]


def records(rng, count, precision):
    """(records (count, bytes), their weights (count, 1 + DIM), addresses)."""
    weights = rng.standard_normal((count, 1 + DIM)).astype(precision)
    first, end = EMBEDDING - weights.itemsize, EMBEDDING + weights.itemsize * DIM
    held = np.zeros((count, end + 8), np.uint8)
    held[:, first:end] = weights.view(np.uint8)
    return held, weights, held.ctypes.data + held.shape[1] * np.arange(count)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 1 + DIM])
@pytest.mark.parametrize("asked", [0, 60])
def test_rows_are_sent_as_they_were_asked_for(precision, width, asked):
    rng = np.random.default_rng(2)
    held, weights, addresses = records(rng, 20, precision)
    local, size = rng.integers(0, 20, asked).astype(np.int32), width * weights.itemsize
    message, place = rubbish((asked + 1) * size), rng.permutation(asked)
    rows.send_rows(
        np.dtype(precision).type(0), EMBEDDING - weights.itemsize, width, 2, local, addresses,
        (message.ctypes.data + size * place).astype(np.int64),
    )  # fmt: skip
    sent = message[: asked * size].view(precision).reshape(asked, width)
    assert np.array_equal(sent[place], weights[local, :width])
    assert (message[asked * size :] == 0xA5).all()
    del held


def some_sums(rng, count, kind, weighted, dim=DIM):
    """Scalar, vector and square sums."""
    if np.dtype(kind).kind == "i":
        scalar, vector, own = (rng.integers(-(2**60), 2**60, shape) for shape in (count, (count, DIM), count))
    else:
        scalar, vector, own = (rng.standard_normal(shape).astype(kind) for shape in (count, (count, DIM), count))
    return scalar, (vector if dim else None), (own if dim and weighted else None)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
@pytest.mark.parametrize("dim, weighted, send_squares", [(0, False, False), (DIM, False, False), (DIM, True, False), (DIM, True, True)])
def test_gradients_leave_zero_behind_and_are_added_up(kind, dim, weighted, send_squares):
    """From two home ranks to one owner, whose sums already hold something."""
    rng, homes, unique = np.random.default_rng(3), 2, 30
    width = 1 + dim + send_squares
    size = width * np.dtype(kind).itemsize
    local = np.concatenate([rng.permutation(40)[:unique] for _ in range(homes)]).astype(np.int32)
    sums = some_sums(rng, 40, kind, weighted, dim)
    expected = [None if one is None else one.copy() for one in sums]
    message = rubbish(homes * unique * size)
    addresses = message.ctypes.data + size * np.arange(homes * unique)
    for home in range(homes):
        part = slice(home * unique, (home + 1) * unique)
        sent = some_sums(rng, unique, kind, weighted, dim)
        copies = [None if one is None else one.copy() for one in sent]
        rows.send_gradients(dim, *sent, send_squares, addresses[part])
        assert all(one is None or not one.any() for one in sent)
        columns = [one.reshape(unique, -1) for one in copies[: 2 + send_squares] if one is not None]
        written = message[home * unique * size : (home + 1) * unique * size].view(kind).reshape(unique, width)
        assert np.array_equal(written, np.hstack(columns))
        for total, one in zip(expected[: 2 + send_squares], copies, strict=False):
            if total is not None:
                total[local[part]] += one
    rows.add_gradients(addresses, dim, local, sums[0], sums[1], sums[2] if send_squares else None)
    for total, one in zip(expected, sums, strict=True):
        assert (total is None and one is None) or np.array_equal(total, one)


@pytest.mark.parametrize("precision, compute", [("float32", "float32"), ("float32", "float64"), ("float64", "float64")])
def test_own_terms_are_subtracted_with_one_rounding(precision, compute):
    rng, number = np.random.default_rng(4), np.dtype(precision).type(0)
    held, weights, addresses = records(rng, 30, precision)
    _, vector, own = some_sums(rng, 30, compute, True)
    exact = vector.astype(np.longdouble) - weights[:, 1:].astype(np.longdouble) * own[:, None]
    rows.subtract_squares(WeightForm(Lanes(DIM, precision, compute), number, np.dtype(compute).type(0), DIM), addresses, vector, own)
    # the product of two float64 is exact to 2^-64 in a long double: half a unit and that
    assert (np.abs(vector - exact) <= np.finfo(compute).eps / 2 * np.abs(exact) * 1.01 + 1e-18).all()
    del held
