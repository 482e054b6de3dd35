"""The kernels of pooled embeddings against NumPy float64, Python's integers, and the CPU backend where its bits are promised.

Fields have their columns in any order; the rows of a sample are those of two shards, the second of which adds to what the first
has written.  132 numbers are 33 vectors of 16 bytes: a second one for one lane of 32.
"""

import numpy as np
import pytest
from device_rows import (
    DOUBLE,
    FIXED,
    FIXED_DOUBLE,
    MIXED,
    SINGLE,
    Occurrences,
    Records,
    assert_same_bits,
    assert_within,
    devices,
    fixed_sum,
    is_power_of_two,
    layout_without_state,
    per_sample,
    small_batch,
)

from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import pool as on_cpu
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.record import FIELD

SCALE = 2.0**32
ROWS, FIELDS, BEHIND = 23, 3, 2  # columns behind the state's own, which a tower wants there


class Case:
    """Rows of some fields, occurrences of them, and where each field's sum lies."""

    def __init__(self, kind, dim, samples, width, linear, squares):
        self.rng = np.random.default_rng(100 * dim + samples)
        self.kind, self.dim, self.linear, self.squares = kind, dim, linear, squares
        self.records = Records(self.rng, layout_without_state(int(linear), dim, kind.storage), ROWS)
        self.fields = self.rng.integers(0, FIELDS, ROWS).astype(np.uint16)
        self.first = int(linear or squares)
        self.columns = self.first + dim * np.array([1, 2, 0])
        self.width = self.first + dim * FIELDS
        self.occurrences = small_batch(self.rng, samples, ROWS, width)

    def owned(self, occurrences, backend=None):
        """Occurrences as operators take them, on the device of a backend if there is one."""
        if backend is None:
            self.memory, addresses = self.records.on_host()
            return occurrences.owned(addresses)._replace(fields=self.fields)
        self.memory, addresses = self.records.on(backend, beyond=3)
        return occurrences.owned(addresses, backend)._replace(fields=backend.array(self.fields))

    def of_shard(self, shard):
        """The occurrences of every second row."""
        own, (_, local, values) = self.occurrences.local % 2 == shard, self.occurrences
        offsets = np.concatenate([[0], np.cumsum(own)])[self.occurrences.offsets]
        return Occurrences(offsets, local[own], None if values is None else values[own])

    def terms(self):
        """(v x (nnz, dim), w xl (nnz), |v|^2 x^2 / 2 (nnz)), float64, the latter two 0 where they are not wanted."""
        weights = self.records.weights()[self.occurrences.local]
        v = weights[:, -self.dim :] * self.occurrences.x[:, None]
        scalar = weights[:, 0] * self.occurrences.linear_x if self.linear else np.zeros(len(v))
        return v, scalar, 0.5 * (v**2).sum(axis=1) * self.squares

    def field_of(self):
        return self.fields[self.occurrences.local]


def check_partial(device, kind, dim, samples, width, linear, squares):
    case = Case(kind, dim, samples, width, linear, squares)
    begin, end = (1, samples - 2) if samples > 4 else (0, samples)
    state = (100 * case.rng.standard_normal((samples, case.width + BEHIND))).astype(kind.sums)
    backend = CudaBackend(device)
    on_device, columns, expected = backend.array(state), backend.array(case.columns), state.copy()
    for shard in (0, 1):
        cleared, own = 0 if shard else case.width, case.of_shard(shard)
        form = kind.form(dim)
        backend.pool.partial(
            form, linear, squares, case.owned(own, backend), columns, on_device, SCALE, begin, end, cleared
        )
        on_cpu.partial(form, linear, squares, case.owned(own), case.columns, expected, SCALE, begin, end, cleared)
    result = backend.host(on_device)

    outside = np.ones(state.shape, bool)
    outside[begin:end, : case.width] = False
    assert_same_bits(result[outside], state[outside])
    v, scalar, square = case.terms()
    count = 1 + np.diff(case.occurrences.offsets)[begin:end]
    for f, column in enumerate(case.columns):
        found, of_field = result[begin:end, column : column + dim], case.field_of() == f
        if kind.fixed:
            for i in range(begin, end):
                mine = of_field & (case.occurrences.sample == i)
                assert found[i - begin].tolist() == [fixed_sum(v[mine, k], SCALE) for k in range(dim)]
            continue
        terms = np.where(of_field[:, None], v, 0)  # a product and as many additions as there are terms
        bound = count[:, None] * kind.eps * per_sample(case.occurrences, np.abs(terms))[begin:end]
        assert_within(found, per_sample(case.occurrences, terms)[begin:end], bound, f"E_{f}")
    if case.first:
        exact = per_sample(case.occurrences, scalar - square)[begin:end]
        size = per_sample(case.occurrences, np.abs(scalar) + square)[begin:end]
        # a product, or two squared factors and a tree over dim; then the additions, and in fixed point two roundings a term
        bound = (4 + count + dim.bit_length()) * kind.eps * size + kind.fixed * count / SCALE
        assert_within(result[begin:end, 0] / (SCALE if kind.fixed else 1.0), exact, bound, "c")
    if squares and not is_power_of_two(dim):
        expected[:, 0] = result[:, 0]  # |v|^2 is added up in another tree
    assert_same_bits(result, expected)


@pytest.mark.parametrize(
    "kind, dim, samples, width, linear, squares",
    [(SINGLE, 4, 19, 1, True, True), (FIXED, 8, 19, 2, True, False), (SINGLE, 16, 19, 0, False, False),
     (MIXED, 5, 19, 0, False, True), (FIXED_DOUBLE, 16, 9, 1, True, True), (SINGLE, 16, 1, 0, True, False)],
    ids=str,
)  # fmt: skip
def test_partial(device, kind, dim, samples, width, linear, squares):
    check_partial(device, kind, dim, samples, width, linear, squares)


@pytest.mark.parametrize(
    "kind, dim, width, linear, squares",
    [(SINGLE, 132, 1, True, True), (DOUBLE, 12, 2, False, True), (FIXED, 5, 1, True, False), (DOUBLE, 3, 0, True, False),
     (SINGLE, 10, 2, True, False), (SINGLE, 64, 1, False, False)],
    ids=str,
)  # fmt: skip
def test_partial_of_other_dimensions(few, kind, dim, width, linear, squares):
    check_partial(few, kind, dim, 11, width, linear, squares)


def test_no_samples(few):
    check_partial(few, SINGLE, 8, 0, 0, True, True)


@pytest.mark.parametrize("kind", [SINGLE, FIXED], ids=str)
def test_clear(few, kind):
    state = np.arange(1, 7 * 80 + 1).reshape(7, 80).astype(kind.sums)
    backend = CudaBackend(few)
    on_device = backend.array(state)
    backend.pool.clear(on_device, 71, 2, 6)
    state[2:6, :71] = 0
    assert_same_bits(backend.host(on_device), state)


# ---------------------------------------------------------------------- sums by key


COUNTS = [70, 3, 0, 32, 1, 9]  # a key that spans three tiles of 32, one without occurrences


def occurrences_of(rng, width):
    local = rng.permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    borders = np.sort(rng.integers(0, len(local) + 1, 20))
    return Occurrences.draw(rng, np.diff([0, *borders, len(local)]), local, width)


def check_adjoint(few, kind, dim, width, linear, squares, atomic):
    """Against NumPy; in fixed point the integers of the CPU's loop."""
    rng = np.random.default_rng(dim + width)
    occurrences, rows, first = occurrences_of(rng, width), len(COUNTS), int(linear or squares)
    fields, columns = np.array([0, 1, 2, 2, 1, 0], np.uint16), first + dim * np.array([1, 2, 0])
    state = rng.standard_normal((occurrences.samples, first + dim * FIELDS + BEHIND)).astype(kind.compute)
    shapes = (rows,) if linear else None, (rows, dim), (rows,) if squares else None
    held = [None if shape is None else rng.integers(-500, 500, shape).astype(kind.sums) for shape in shapes]
    of_devices = []
    for one in devices(few)[: 1 if atomic else None]:
        backend = CudaBackend(one, atomic_sums=atomic)
        owned = occurrences.owned(backend.zeros(rows, np.int64), backend)._replace(fields=backend.array(fields))
        owned = owned._replace(grouping=backend.lookup.group(owned.offsets, owned.local, owned.addresses, backend.buffers()))
        sums = Sums(*[None if array is None else backend.array(array) for array in held])
        backend.pool.partial_adjoint(kind.form(dim), owned, backend.array(columns), backend.array(state), sums, SCALE)
        of_devices.append([None if array is None else backend.host(array) for array in sums])
    g, x = state[occurrences.sample, 0].astype(np.float64), occurrences.x
    places = columns[fields[occurrences.local]][:, None] + np.arange(dim)
    upstream = state[occurrences.sample[:, None], places].astype(np.float64)
    of_cpu = [None if array is None else array.copy() for array in held]
    owned = occurrences.owned(np.zeros(rows, np.int64))._replace(fields=fields)
    on_cpu.partial_adjoint(kind.form(dim), owned, columns, state, Sums(*of_cpu), SCALE)
    all_terms = (g * occurrences.linear_x)[:, None], upstream * x[:, None], (g * x * x)[:, None]
    for which, (begin, terms, expected) in enumerate(zip(held, all_terms, of_cpu, strict=True)):
        if begin is None:
            assert all(found[which] is None for found in of_devices)
            continue
        for found in of_devices[1:]:
            assert_same_bits(found[which], of_devices[0][which])
        if kind.fixed:
            assert_same_bits(of_devices[0][which], expected)
            begin = begin / SCALE
        exact, size = begin.reshape(rows, -1).astype(np.float64), np.abs(begin).reshape(rows, -1).astype(np.float64)
        np.add.at(exact, occurrences.local, terms)
        np.add.at(size, occurrences.local, np.abs(terms))
        # two products, as many additions as occurrences, one to what was there; in fixed point half a unit a term
        count = 3 + np.array(COUNTS)[:, None]
        bound = count * (kind.eps * size + kind.fixed * 0.5 / SCALE)
        found = of_devices[0][which].reshape(rows, -1) / (SCALE if kind.fixed else 1)
        assert_within(found, exact, bound)


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    "kind, dim, width, linear, squares",
    [(SINGLE, 4, 1, True, True), (FIXED, 8, 2, True, False), (SINGLE, 16, 0, False, False), (DOUBLE, 5, 1, False, True),
     (FIXED, 3, 0, False, False)],
    ids=str,
)  # fmt: skip
def test_sums_by_key(few, kind, dim, width, linear, squares, atomic):
    check_adjoint(few, kind, dim, width, linear, squares, atomic)


@pytest.mark.parametrize("kind, dim, linear", [(SINGLE, 64, False), (MIXED, 256, True)], ids=str)
def test_sums_by_key_of_other_dimensions(few, kind, dim, linear):
    check_adjoint(few, kind, dim, 1, linear, False, False)


# ---------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "kind, dim, samples, width, linear, squares",
    [(SINGLE, 4, 21, 1, True, True), (MIXED, 5, 13, 0, False, True), (SINGLE, 10, 13, 2, True, False), (SINGLE, 132, 5, 1, True, True),
     (SINGLE, 64, 9, 1, False, False), (SINGLE, 4, 0, 1, True, True)],
    ids=str,
)  # fmt: skip
def test_magnitude(few, kind, dim, samples, width, linear, squares):
    case, backend = Case(kind, dim, samples, width, linear, squares), CudaBackend(few)
    owned, form = case.owned(case.occurrences, backend), kind.form(dim)

    def found(offsets):
        return backend.pool.magnitude(form, linear, squares, FIELDS, owned._replace(offsets=offsets))

    v, scalar, square = case.terms()
    norms = np.sqrt((v**2).sum(axis=1))
    exact = per_sample(case.occurrences, np.abs(scalar) + square)
    for f in range(FIELDS):
        exact = np.maximum(exact, per_sample(case.occurrences, np.where(case.field_of() == f, norms, 0)))
    sizes = np.array([found(owned.offsets[i : i + 2])[0] for i in range(samples)])  # each sample by itself
    # |v|^2 in the type of arithmetic: a product and a tree; the rest in float64
    assert_within(sizes, exact, ((1 + dim.bit_length()) * kind.eps + 64 * 2.0**-52) * exact)
    worst = found(owned.offsets)
    assert worst == ((sizes.max(), sizes.argmax()) if samples else (0.0, 0))
    if is_power_of_two(dim):
        assert worst == on_cpu.magnitude(form, linear, squares, FIELDS, case.owned(case.occurrences))


def test_magnitude_of_more_samples_than_groups(few, monkeypatch):
    """Groups take samples in turns, and what they have added up for one is not left to the next."""
    monkeypatch.setattr("deshpc.backend.cuda.pool._MOST_MAGNITUDE_BLOCKS", 1)
    case, backend = Case(SINGLE, 128, 40, 1, True, True), CudaBackend(few)
    found = backend.pool.magnitude(SINGLE.form(128), True, True, FIELDS, case.owned(case.occurrences, backend))
    assert found == on_cpu.magnitude(SINGLE.form(128), True, True, FIELDS, case.owned(case.occurrences))


@pytest.mark.parametrize("linear, squares, column", [(True, False, 0), (False, False, 3), (True, True, 3)])
def test_magnitude_of_what_is_no_number(few, linear, squares, column):
    """A NaN among a sample's weights is that sample's magnitude, and the first such sample is found."""
    case, backend = Case(SINGLE, 8, 0, 0, linear, squares), CudaBackend(few)
    numbers = case.rng.standard_normal((ROWS, int(linear) + 8))
    numbers[20, column] = np.nan
    case.records = Records(case.rng, case.records.layout, ROWS, numbers)
    occurrences = Occurrences(np.array([0, 2, 3, 5, 7]), np.array([1, 2, 3, 5, 20, 20, 4], np.int32), None)
    size, sample = backend.pool.magnitude(SINGLE.form(8), linear, squares, FIELDS, case.owned(occurrences, backend))
    assert np.isnan(size) and sample == 2


@pytest.mark.parametrize("kind", [SINGLE, DOUBLE], ids=str)
def test_largest_term(few, kind):
    rng, samples, width, begin, end = np.random.default_rng(5), 21, 70, 3, 17
    gradient = rng.standard_normal((samples, width + BEHIND)).astype(kind.compute)
    gradient[:, width:] = gradient[:begin] = gradient[end:] = 1000  # not of these samples' gradients
    largest = 2 * np.abs(rng.standard_normal(end - begin))
    backend = CudaBackend(few)
    exact = np.abs(gradient[begin:end, :width].astype(np.float64)).max(axis=1) * np.maximum(1.0, largest) ** 2

    def found():
        return backend.pool.largest_term(backend.array(gradient), width, backend.array(largest), begin, end)

    term, sample = found()
    assert sample == begin + exact.argmax() and abs(term - exact.max()) <= 2.0**-52 * term
    assert found() == on_cpu.largest_term(gradient, width, largest, begin, end)
    assert backend.pool.largest_term(backend.array(gradient), width, backend.array(largest), begin, begin) == (0.0, begin)
    for column in (0, 33, 69):
        gradient[7, column], gradient[9, 5] = np.nan, np.inf
        term, sample = found()
        assert np.isnan(term) and sample == 7
        gradient[7, column] = 0
        assert found() == (np.inf, 9)


# ---------------------------------------------------------------------- fields of rows


def test_fields_of_rows(few):
    backend, rng = CudaBackend(few), np.random.default_rng(6)
    records = Records(rng, layout_without_state(0, 8, "float32"), ROWS)
    place = records.layout.tail + FIELD
    fields = rng.integers(0, 2**16, ROWS).astype(np.uint16)
    fields[:2] = 0, 2**16 - 1
    records.bytes[records.rows, place : place + 4] = fields.astype(np.uint32).view(np.uint8).reshape(ROWS, 4)
    memory, addresses = records.on(backend, beyond=3)
    found = backend.zeros(ROWS + 3, np.uint16)
    backend.lookup.row_fields(addresses, records.layout.tail, found)
    assert_same_bits(backend.host(found), np.append(fields, np.zeros(3, np.uint16)))


@pytest.mark.parametrize("counts", [[[2, 0, 3], [0, 0, 0], [1, 300, 0]], [[0, 0]], [[0], [4]]], ids=str)
def test_fields_of_requested_keys(few, counts):
    backend, counts = CudaBackend(few), np.array(counts, np.int32)
    found = backend.zeros(int(counts.sum()), np.uint16)
    backend.rows.requested_fields(counts, found)
    expected = [field for of_rank in counts for field, count in enumerate(of_rank) for _ in range(count)]
    assert backend.host(found).tolist() == expected
