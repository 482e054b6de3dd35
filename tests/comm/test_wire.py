"""float32 that travels as halves: roundings against ml_dtypes' and NumPy's, sums within their bounds and equal on all ranks, half the bytes."""

import ml_dtypes
import numpy as np
import pytest
from pretended_nodes import pretend

from deshpc.comm.group import Group
from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of
from deshpc.comm.wire import KINDS, WIRES, open_wire

TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
PARTIALS, WHOLE = Traffic("fm", "partials", "forward"), [Traffic("dense", "dense", "backward"), Traffic("fm", "partials", "eval")]


@pytest.fixture(params=[("bfloat16", None), ("float16", None), ("bfloat16", "blocks"), ("bfloat16", "in turns")], ids=str)
def opened(request, world, monkeypatch):
    """(name of the wire, Group, on one node or on two)."""
    name, places = request.param
    if places:
        pretend(monkeypatch, places)
    group = Group(world, "two" if places else "one", name)
    yield name, group
    group.free()


def contribution(rank, shape):
    return np.random.default_rng([rank, *shape]).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", WIRES)
def test_numbers_are_rounded_to_the_nearest(name):
    random = np.random.default_rng(1)
    bits = random.integers(0, 2**32, 200_000, dtype=np.uint32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1.00390625, 1.01171875, 1e-45, 65_519, 65_520], np.float32)
    numbers = np.concatenate([bits.view(np.float32), special])
    with np.errstate(all="ignore"):
        expected = numbers.astype(TYPES[name]).astype(np.float32)
    found = open_wire(name).unpack(open_wire(name).pack(numbers), np.empty_like(numbers))
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.array_equal(np.signbit(found[~np.isnan(found)]), np.signbit(expected[~np.isnan(found)]))


@pytest.mark.mpi
def test_sums_are_those_of_rounded_numbers(opened):
    name, group = opened
    rounding = 2.0**-8 if name == "bfloat16" else 2.0**-11  # of a number, relative: half a unit in its last place
    for shape in ((0, 2), (1, 3), (7, 5), (300, 17)):
        terms = np.array([contribution(rank, shape) for rank in range(group.size)], np.float64)
        bound = 2.1 * rounding * abs(terms).sum(axis=0) + 1e-7
        mine = slice(*slice_of(shape[0], group.size, group.rank))
        share = group.reduce_samples(contribution(group.rank, shape), PARTIALS).wait()
        assert share.dtype == np.float32 and (abs(share - terms.sum(axis=0)[mine]) <= bound[mine]).all()
        whole = group.sum_samples(contribution(group.rank, shape), PARTIALS).wait()
        assert (abs(whole - terms.sum(axis=0)) <= bound).all() and len(set(group.gather(whole.tobytes()))) == 1
        if group.size > 1 and whole.size > 50:  # something was rounded
            assert not np.array_equal(whole, terms.sum(axis=0).astype(np.float32))
        for traffic in WHOLE:  # gradients of dense parameters, and what is evaluated
            exact = group.sum_samples(contribution(group.rank, shape), traffic).wait()
            assert (abs(exact - terms.sum(axis=0)) <= group.size * 2.0**-24 * abs(terms).sum(axis=0)).all()


@pytest.mark.mpi
def test_messages_are_rounded_and_half_as_long(opened):
    name, group = opened
    traffic = Traffic("fm", "rows", "forward")
    counts = np.arange(group.size) + 1 + group.rank
    numbers = np.concatenate([contribution(group.rank * 8 + to, (int(n),)) for to, n in enumerate(counts)])
    coming = np.arange(group.size) + 1 + group.rank
    received = np.zeros(4 * int(coming.sum()), np.uint8)
    found = group.exchange_bytes(numbers.view(np.uint8), 4 * counts, received, 4 * coming, [(traffic, 4 * counts)]).wait()
    expected = np.concatenate([contribution(r * 8 + group.rank, (int(n),)) for r, n in enumerate(coming)])
    assert found is received
    if group.size > 1:
        expected = expected.astype(TYPES[name]).astype(np.float32)
    assert np.array_equal(found.view(np.float32), expected)
    sent = counts.sum() - counts[group.rank]
    assert group.ledger.of(kind="rows") == (2 if group.size > 1 else 4) * sent


def test_what_travels_narrow_are_numbers_of_samples_and_rows():
    assert {"keys", "labels", "control", "dense", "replicated"}.isdisjoint(KINDS)
