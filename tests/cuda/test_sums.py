"""Gradients of rows summed per key, in order and atomically, against NumPy float64, Python's integers, and the CPU's loop.

Sorted occurrences are cut in tiles of 32.  The keys' counts are chosen so that keys lie in the middle of a tile, end exactly
at a border, fill a tile or two exactly, begin in one tile and end in the next, and span many.
"""

import numpy as np
import pytest
from device_rows import (
    DOUBLE,
    FIXED,
    MIXED,
    SINGLE,
    Occurrences,
    assert_same_bits,
    assert_within,
    devices,
    fixed_sum,
    with_column,
)

from deshpc.backend import arguments
from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import fm as fm_on_cpu
from deshpc.backend.cpu import linear as linear_on_cpu
from deshpc.backend.cuda.backend import CudaBackend

TILE = 32
SCALE = 2.0**40
COLUMN, BEHIND = 1, 2  # of the state, whose other columns belong to other operators
COUNTS = [150, 10, 32, 64, 0, 33, 1, 5, 25, 63, 2, 0, 1, 30]
BORDERS = [0, 150, 160, 192, 256, 256, 289, 290, 295, 320, 383, 385, 385, 386, 416]


def test_the_counts_are_as_the_module_says():
    ends = np.cumsum(COUNTS)
    assert [0, *ends.tolist()] == BORDERS
    begins, last = ends - COUNTS, (ends - 1) // TILE
    span = last - begins // TILE
    assert span[0] == 4 and ends[1] % TILE == 0 and (COUNTS[2], span[2]) == (32, 0) and (COUNTS[3], span[3]) == (64, 1)
    assert (COUNTS[5], span[5]) == (33, 1) and span[9] == 1 and ends[-1] % TILE == 0


def occurrences_of(rng, counts, width, absent=0, samples=None):
    """Of keys with these counts, in any order; `absent` more occurrences are of no key, as other ranks' are."""
    counts = np.asarray(counts)
    local = np.repeat(np.arange(len(counts)), counts)
    local = rng.permutation(np.append(local, np.full(absent, len(counts))))
    samples = len(local) // 4 + 1 if samples is None else samples
    borders = np.sort(rng.integers(0, len(local) + 1, samples - 1))
    borders[samples // 3 : samples // 3 + 2] = borders[samples // 3 : samples // 3 + 1]  # samples without keys
    return Occurrences.draw(rng, np.diff([0, *borders, len(local)]), local, width)


class Case:
    """Occurrences, a state, and sums that hold something already."""

    def __init__(self, kind, dim, width, counts=COUNTS, absent=0, square_sums=True, held=True, samples=None):
        rng = np.random.default_rng(dim + 7 * width + len(counts))
        self.kind, self.dim, self.keys = kind, dim, len(counts)
        self.occurrences = occurrences_of(rng, counts, width, absent, samples)
        self.state = with_column(rng, self.occurrences.samples, dim + 1, COLUMN, BEHIND, kind.compute)
        shapes = [(self.keys,), (self.keys, dim) if dim else None, (self.keys,) if dim and square_sums else None]
        self.held = [
            None if shape is None else (rng.integers(-500, 500, shape) * int(held)).astype(kind.sums) for shape in shapes
        ]

    def run(self, device, atomic=False, times=1):
        """[scalar, vector, square sums] after so many additions."""
        backend = CudaBackend(device, atomic_sums=atomic)
        offsets, local, values = self.occurrences.on(backend)
        addresses = backend.zeros(self.keys, np.int64)  # sums do not read rows
        grouping = backend.lookup.group(offsets, local, addresses, backend.buffers())
        self.check_grouping(backend, grouping, atomic)
        state, sums = backend.array(self.state), Sums(*[None if one is None else backend.array(one) for one in self.held])
        owned = arguments.Occurrences(offsets, local, values, addresses, grouping=grouping)
        kernels = backend.fm if self.dim else backend.linear
        for _ in range(times):
            kernels.partial_adjoint(self.kind.form(self.dim), owned, state, COLUMN, sums, SCALE)
        assert_same_bits(backend.host(state), self.state)
        assert_same_bits(backend.host(local), self.occurrences.local)
        return [None if one is None else backend.host(one) for one in sums]

    def check_grouping(self, backend, grouping, atomic):
        assert grouping.keys == self.keys
        assert_same_bits(backend.host(grouping.samples), self.occurrences.sample.astype(np.int32))
        if atomic:
            assert grouping.places is None and grouping.order is None
            return
        order = np.argsort(self.occurrences.local, kind="stable")
        assert_same_bits(backend.host(grouping.order), order.astype(np.uint32))
        assert_same_bits(backend.host(grouping.places), self.occurrences.local[order].astype(np.uint32))

    def terms(self):
        """Terms (nnz) of the scalar and of the square sums, (nnz, dim) of the vector sums: float64."""
        upstream = self.state[self.occurrences.sample].astype(np.float64)
        g, x, linear_x = upstream[:, COLUMN + self.dim], self.occurrences.x, self.occurrences.linear_x
        vector = upstream[:, COLUMN : COLUMN + self.dim] * x[:, None]
        return g * linear_x, vector, g * x * x

    def check(self, found, times=1):
        """All sums against NumPy or integers."""
        local = self.occurrences.local
        for sums, held, terms in zip(found, self.held, self.terms(), strict=True):
            assert (sums is None) == (held is None)
            if sums is None:
                continue
            if self.kind.fixed:
                expected = held.copy()
                for c in range(self.keys):
                    own = terms[local == c].reshape(np.sum(local == c), held.size // self.keys)
                    for k, of_one in enumerate(own.T):
                        expected.reshape(self.keys, -1)[c, k] += times * fixed_sum(of_one, SCALE)
                assert_same_bits(sums, expected)
                continue
            own = local < self.keys
            exact, size = held.astype(np.float64), np.abs(held).astype(np.float64)
            np.add.at(exact, local[own], times * terms[own])
            np.add.at(size, local[own], times * np.abs(terms[own]))
            # two products, as many additions as occurrences in any tree, and the addition to what was there
            count = 3 + times * np.bincount(local[own], minlength=self.keys)
            bound = count.reshape(-1, *[1] * (held.ndim - 1)) * self.kind.eps * size
            assert_within(sums, exact, bound)

    def on_cpu(self):
        """The sums of the CPU's loop over the occurrences in their order; of keys alone."""
        sums = Sums(*[None if one is None else one.copy() for one in self.held])
        kernels = fm_on_cpu if self.dim else linear_on_cpu
        owned = self.occurrences.owned(np.zeros(self.keys, np.int64))
        kernels.partial_adjoint(self.kind.form(self.dim), owned, self.state, COLUMN, sums, SCALE)
        return sums


CASES = [
    (SINGLE, 0, 1), (FIXED, 0, 2), (SINGLE, 4, 2), (MIXED, 5, 1), (FIXED, 8, 2), (SINGLE, 10, 1), (DOUBLE, 12, 0), (SINGLE, 16, 1),
]  # fmt: skip


def assert_all_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_same_bits(one, other)


@pytest.mark.parametrize("kind, dim, width", CASES, ids=str)
def test_sums_in_order(few, kind, dim, width):
    case = Case(kind, dim, width)
    of_devices = [case.run(one) for one in devices(few)]
    case.check(of_devices[0])
    for found in of_devices[1:]:
        assert_all_same(found, of_devices[0])  # whatever the schedule
    if kind.fixed:
        assert_all_same(of_devices[0], case.on_cpu())


@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 4, 0), (DOUBLE, 12, 2), (FIXED, 8, 0), (SINGLE, 0, 0)], ids=str)
def test_without_square_sums_and_with_occurrences_of_no_key(device, kind, dim, width):
    case = Case(kind, dim, width, counts=[3, 40, 1, 24, 6], absent=39, square_sums=False)
    case.check(case.run(device))


@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 8, 1), (SINGLE, 0, 1)], ids=str)
def test_keys_of_one_tile_have_the_bits_of_the_cpu(device, kind, dim, width):
    """Their occurrences are added in order to nothing, and the sum to what was there: nothing, too."""
    case = Case(kind, dim, width, counts=[32, 10, 22, 0, 20, 12, 1, 31, 7], held=False)
    assert_all_same(case.run(device), case.on_cpu())


@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 64, 1), (MIXED, 256, 2), (SINGLE, 256, 0), (SINGLE, 1, 2), (SINGLE, 3, 1)], ids=str)
def test_other_dimensions(few, kind, dim, width):
    case = Case(kind, dim, width, counts=[40, 20, 3, 33], absent=5)
    of_devices = [case.run(one) for one in devices(few)]
    case.check(of_devices[0])
    for found in of_devices[1:]:
        assert_all_same(found, of_devices[0])


def test_a_key_in_every_sample_and_keys_of_two_digits(few):
    """One key spans 30 tiles, which more groups than a block has add up; places are sorted by two digits."""
    counts = np.append([966], np.arange(300) % 3)
    for dim, kind in ((16, FIXED), (0, SINGLE)):
        case = Case(kind, dim, 1, counts=counts, samples=400)
        found = case.run(few)
        case.check(found)
        if kind.fixed:
            assert_all_same(found, case.on_cpu())


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 4, 2), (FIXED, 5, 1)], ids=str)
def test_second_addition(few, kind, dim, width, atomic):
    case = Case(kind, dim, width)
    case.check(case.run(few, atomic, times=2), times=2)


@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 0, 0), (FIXED, 0, 1), (SINGLE, 4, 1), (DOUBLE, 5, 2), (FIXED, 12, 0), (SINGLE, 16, 2)], ids=str)
def test_atomic_sums(few, kind, dim, width):
    case = Case(kind, dim, width, counts=[70, 3, 0, 31, 1], absent=9, square_sums=width > 0)
    found = case.run(few, atomic=True)
    case.check(found)
    if kind.fixed:
        assert_all_same(found, case.run(few))  # the same integers in any order


@pytest.mark.parametrize("dim", [64, 256])
def test_atomic_sums_of_other_dimensions(few, dim):
    case = Case(SINGLE, dim, 1, counts=[9, 3, 4])
    case.check(case.run(few, atomic=True))


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("counts, samples", [([0, 0], 3), ([0], 1), ([1], 1), ([33], 1)], ids=str)
def test_few_occurrences(few, counts, samples, atomic):
    for kind, dim in ((SINGLE, 4), (FIXED, 0)):
        case = Case(kind, dim, 1, counts=counts, samples=samples)
        case.check(case.run(few, atomic))


@pytest.mark.parametrize("atomic", [False, True])
def test_occurrences_beyond_the_last_sample_are_of_none(few, atomic):
    """A rank's own occurrences are fewer than the arrays have room for; the rest has no key, and no sample."""
    case = Case(SINGLE, 4, 1, counts=[20, 3, 9])
    rng = np.random.default_rng(3)
    nnz, more = len(case.occurrences.local), 40
    long = [np.append(case.occurrences.local, np.full(more, 3, np.int32)), np.append(case.occurrences.values, rng.random(more, np.float32))]
    backend = CudaBackend(few, atomic_sums=atomic)
    offsets, local, values = (backend.array(one) for one in (case.occurrences.offsets, *long))
    addresses = backend.zeros(3, np.int64)
    grouping = backend.lookup.group(offsets, local, addresses, backend.buffers())
    owned = arguments.Occurrences(offsets, local, values, addresses, grouping=grouping)
    assert_same_bits(backend.host(grouping.samples), np.append(case.occurrences.sample, np.full(more, -1)).astype(np.int32))
    state, sums = backend.array(case.state), Sums(*[backend.array(one) for one in case.held])
    backend.fm.partial_adjoint(SINGLE.form(4), owned, state, COLUMN, sums, SCALE)
    assert len(long[0]) == nnz + more
    case.check([backend.host(one) for one in sums])


def test_terms_are_rounded_to_even(few):
    """Gradients in the middle of two multiples of 1 / scale; the vector's, the scalar's and the square sums' roundings."""
    scale, dim, rng = 4.0, 4, np.random.default_rng(8)
    case = Case(FIXED, dim, 0, counts=[40, 3, 9])
    state = rng.integers(-30, 30, case.state.shape) / 8
    for atomic in (False, True):
        backend = CudaBackend(few, atomic_sums=atomic)
        offsets, local, _ = case.occurrences.on(backend)
        addresses = backend.zeros(3, np.int64)
        grouping = backend.lookup.group(offsets, local, addresses, backend.buffers())
        owned = arguments.Occurrences(offsets, local, None, addresses, grouping=grouping)
        sums = Sums(backend.zeros(3, np.int64), backend.zeros((3, dim), np.int64), backend.zeros(3, np.int64))
        backend.fm.partial_adjoint(FIXED.form(dim), owned, backend.array(state), COLUMN, sums, scale)
        upstream = state[case.occurrences.sample]
        for c in range(3):
            own = upstream[case.occurrences.local == c]
            assert backend.host(sums[1])[c].tolist() == [fixed_sum(own[:, COLUMN + k], scale) for k in range(dim)]
            of_g = fixed_sum(own[:, COLUMN + dim], scale)
            assert backend.host(sums[0])[c] == of_g and backend.host(sums[2])[c] == of_g
