"""The kernels of NFM's bi-interaction against NumPy float64, Python's integers, and the CPU backend where its bits are promised.

132 numbers are 33 vectors of 16 bytes: a second one for one lane of 32.
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
from deshpc.backend.cpu import bi_interaction as on_cpu
from deshpc.backend.cuda.backend import CudaBackend

SCALE = 2.0**32
ROWS, BEHIND = 23, 2  # columns behind the state's own


def drawn(kind, dim, samples, width):
    rng = np.random.default_rng(100 * dim + samples)
    records = Records(rng, layout_without_state(1, dim, kind.storage), ROWS)
    return rng, records, small_batch(rng, samples, ROWS, width)


def check_partial(device, kind, dim, samples, width):
    rng, records, occurrences = drawn(kind, dim, samples, width)
    begin, end = (1, samples - 2) if samples > 4 else (0, samples)
    held = rng.integers(-9, 9, (samples, 1 + 2 * dim + BEHIND)).astype(kind.sums)
    backend = CudaBackend(device)
    memory, addresses = records.on(backend, beyond=3)
    state = backend.array(held)
    backend.bi_interaction.partial(kind.form(dim), occurrences.owned(addresses, backend), state, SCALE, begin, end)
    result = backend.host(state)
    assert_same_bits(backend.host(memory), records.bytes)

    weights = records.weights()[occurrences.local]
    v = weights[:, 1:] * occurrences.x[:, None]
    terms = np.column_stack([weights[:, 0] * occurrences.linear_x, v, v**2])
    own = slice(1 + 2 * dim)
    if kind.fixed:
        for i in range(begin, end):
            mine = terms[occurrences.sample == i]
            assert result[i, own].tolist() == [int(h) + fixed_sum(t, SCALE) for h, t in zip(held[i, own], mine.T, strict=True)]
    else:
        exact, size = per_sample(occurrences, terms) + held[:, own], per_sample(occurrences, np.abs(terms)) + np.abs(held[:, own])
        # v x is rounded, and so are its square and every addition
        bound = (3 + np.diff(occurrences.offsets))[:, None] * kind.eps * size
        assert_within(result[begin:end, own], exact[begin:end], bound[begin:end])
    expected = held.copy()
    copy, host_addresses = records.on_host()
    on_cpu.partial(kind.form(dim), occurrences.owned(host_addresses), expected, SCALE, begin, end)
    assert_same_bits(result, expected)
    outside = np.ones(held.shape, bool)
    outside[begin:end, own] = False
    assert_same_bits(result[outside], held[outside])


@pytest.mark.parametrize(
    "kind, dim, samples, width",
    [(SINGLE, 4, 19, 1), (FIXED, 8, 19, 2), (MIXED, 5, 19, 0), (FIXED_DOUBLE, 16, 9, 1), (SINGLE, 16, 1, 0)],
    ids=str,
)  # fmt: skip
def test_partial(device, kind, dim, samples, width):
    check_partial(device, kind, dim, samples, width)


@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 132, 1), (DOUBLE, 12, 2), (FIXED, 5, 1), (SINGLE, 10, 2), (DOUBLE, 1, 0)], ids=str)
def test_partial_of_other_dimensions(few, kind, dim, width):
    check_partial(few, kind, dim, 11, width)


def test_no_samples(few):
    check_partial(few, SINGLE, 8, 0, 0)


COUNTS = [70, 3, 0, 32, 1, 9]  # a key that spans three tiles of 32, one without occurrences


def check_adjoint(few, kind, dim, width, atomic=False):
    """Against NumPy; in fixed point the integers of the CPU's loop."""
    rng, rows = np.random.default_rng(dim + width), len(COUNTS)
    local = rng.permutation(np.repeat(np.arange(rows), COUNTS))
    borders = np.sort(rng.integers(0, len(local) + 1, 20))
    occurrences = Occurrences.draw(rng, np.diff([0, *borders, len(local)]), local, width)
    records = Records(rng, layout_without_state(1, dim, kind.storage), rows)
    state = rng.standard_normal((occurrences.samples, 1 + 2 * dim + BEHIND)).astype(kind.compute)
    held = [rng.integers(-500, 500, shape).astype(kind.sums) for shape in ((rows,), (rows, dim))]
    of_devices = []
    for one in devices(few)[: 1 if atomic else None]:
        backend = CudaBackend(one, atomic_sums=atomic)
        memory, addresses = records.on(backend)
        owned = occurrences.owned(addresses, backend)
        owned = owned._replace(grouping=backend.lookup.group(owned.offsets, owned.local, addresses, backend.buffers()))
        sums = [backend.array(array) for array in held]
        backend.bi_interaction.partial_adjoint(kind.form(dim), owned, backend.array(state), Sums(*sums, None), SCALE)
        of_devices.append([backend.host(array) for array in sums])
    of_cpu = [array.copy() for array in held]
    copy, host_addresses = records.on_host()
    on_cpu.partial_adjoint(kind.form(dim), occurrences.owned(host_addresses), state, Sums(*of_cpu, None), SCALE)
    upstream, x = state[occurrences.sample].astype(np.float64), occurrences.x[:, None]
    v = records.weights()[local][:, 1:]
    of_total, of_squares = x * upstream[:, 1 : 1 + dim], 2 * x * x * v * upstream[:, 1 + dim : 1 + 2 * dim]
    of_scalar = upstream[:, :1] * occurrences.linear_x[:, None]
    all_terms = (of_scalar, np.abs(of_scalar)), (of_total + of_squares, np.abs(of_total) + np.abs(of_squares))
    for which, (begin, (terms, sizes), expected) in enumerate(zip(held, all_terms, of_cpu, strict=True)):
        for found in of_devices[1:]:
            assert_same_bits(found[which], of_devices[0][which])
        if kind.fixed:
            assert_same_bits(of_devices[0][which], expected)
            begin = begin / SCALE
        exact, size = begin.reshape(rows, -1).astype(np.float64), np.abs(begin).reshape(rows, -1).astype(np.float64)
        np.add.at(exact, local, terms)
        np.add.at(size, local, sizes)
        # three products and a sum, as many additions as occurrences, one to what was there; in fixed point half a unit a term
        count = 5 + np.array(COUNTS)[:, None]
        found = of_devices[0][which].reshape(rows, -1) / (SCALE if kind.fixed else 1)
        assert_within(found, exact, count * (kind.eps * size + kind.fixed * 0.5 / SCALE))


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 4, 1), (FIXED, 8, 2), (DOUBLE, 5, 0)], ids=str)
def test_sums_by_key(few, kind, dim, width, atomic):
    check_adjoint(few, kind, dim, width, atomic)


@pytest.mark.parametrize("kind, dim", [(SINGLE, 64), (MIXED, 256)], ids=str)
def test_sums_by_key_of_other_dimensions(few, kind, dim):
    check_adjoint(few, kind, dim, 1)


@pytest.mark.parametrize(
    "kind, dim, samples, width",
    [(SINGLE, 4, 21, 1), (MIXED, 5, 13, 0), (DOUBLE, 12, 13, 2), (SINGLE, 132, 5, 1), (SINGLE, 4, 0, 1)],
    ids=str,
)  # fmt: skip
def test_bounds(few, kind, dim, samples, width):
    """Magnitudes of partials, sample by sample."""
    rng, records, occurrences = drawn(kind, dim, samples, width)
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    owned, form = occurrences.owned(addresses, backend), kind.form(dim)
    weights, x, linear_x = records.weights()[occurrences.local], occurrences.x, occurrences.linear_x
    norms = np.sqrt((weights[:, 1:] ** 2).sum(axis=1))
    of_linear = per_sample(occurrences, np.abs(weights[:, 0] * linear_x))
    exact_sizes = np.maximum(per_sample(occurrences, norms * np.abs(x)), per_sample(occurrences, (norms * x) ** 2))
    exact_sizes = np.maximum(exact_sizes, of_linear)

    def bound(begin, end):
        return backend.bi_interaction.magnitude(form, owned._replace(offsets=owned.offsets[begin : end + 1]))

    copy, host_addresses = records.on_host()
    of_cpu = on_cpu.magnitude(form, occurrences.owned(host_addresses))
    numbers = np.array([bound(i, i + 1)[0] for i in range(samples)])
    # |v|^2 in the type of arithmetic: a product and a tree; the rest in float64
    assert_within(numbers, exact_sizes, ((1 + dim.bit_length()) * kind.eps + 64 * 2.0**-52) * exact_sizes)
    worst = bound(0, samples)
    assert worst == ((numbers.max(), numbers.argmax()) if samples else (0.0, 0))
    if is_power_of_two(dim):
        assert worst == of_cpu


@pytest.mark.parametrize("column", [0, 3])
def test_bounds_of_weights_that_are_no_numbers(few, column):
    rng, dim = np.random.default_rng(9), 8
    numbers = rng.standard_normal((ROWS, 1 + dim))
    numbers[20, column], numbers[21, column] = np.nan, np.inf
    records = Records(rng, layout_without_state(1, dim, "float32"), ROWS, numbers)
    occurrences = Occurrences(np.array([0, 2, 3, 5, 8, 9]), np.array([1, 2, 21, 3, 5, 4, 20, 6, 20], np.int32), None)
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    owned = occurrences.owned(addresses, backend)
    size, sample = backend.bi_interaction.magnitude(SINGLE.form(dim), owned)
    assert np.isnan(size) and sample == 3
    assert backend.bi_interaction.magnitude(SINGLE.form(dim), owned._replace(offsets=owned.offsets[:4])) == (np.inf, 1)
