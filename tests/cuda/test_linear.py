"""The linear term's kernels against NumPy float64, Python's integers, and the CPU backend where its bits are promised."""

import numpy as np
import pytest
from device_rows import (
    DOUBLE,
    FIXED,
    FIXED_DOUBLE,
    MIXED,
    SINGLE,
    Records,
    assert_same_bits,
    assert_within,
    devices,
    fixed_sum,
    layout_without_state,
    per_sample,
    small_batch,
    with_column,
)

from deshpc.backend.arguments import Parts
from deshpc.backend.cpu import linear as on_cpu
from deshpc.backend.cuda.backend import CudaBackend

SCALE = 2.0**32
COLUMN, BEHIND = 2, 1  # of the state, whose other columns belong to other operators
partial_cases = pytest.mark.parametrize(
    "kind, samples, width",
    [(SINGLE, 37, 1), (SINGLE, 37, 2), (MIXED, 37, 0), (DOUBLE, 29, 2), (FIXED, 37, 1), (FIXED_DOUBLE, 5, 0), (SINGLE, 1, 1), (SINGLE, 0, 1)],
    ids=str,
)  # fmt: skip


def drawn(kind, samples, width, dim=3):
    """(rng, records, occurrences) of a table that has embeddings, too."""
    rng = np.random.default_rng(samples + width)
    records = Records(rng, layout_without_state(1, dim, kind.storage), 23)
    return rng, records, small_batch(rng, samples, records.n, width)


@partial_cases
def test_partial(device, kind, samples, width):
    rng, records, occurrences = drawn(kind, samples, width)
    state = with_column(rng, samples, 1, COLUMN, BEHIND, kind.sums)
    backend = CudaBackend(device)
    memory, addresses = records.on(backend, beyond=4)
    gathered, on_device = backend.array(np.full(records.n + 4, 7, kind.compute)), backend.array(state)
    backend.linear.partial(kind.form(3), occurrences.owned(addresses, backend), gathered, on_device, COLUMN, SCALE)
    result, gathered = backend.host(on_device), backend.host(gathered)

    weights = records.weights()[:, 0]
    assert_same_bits(gathered[: records.n], weights.astype(kind.compute))
    assert (gathered[records.n :] == 7).all()  # no row: not read, not written
    assert_same_bits(np.delete(result, COLUMN, 1), np.delete(state, COLUMN, 1))  # other operators' columns
    terms = weights[occurrences.local] * occurrences.linear_x
    if kind.fixed:
        for i in range(samples):
            assert result[i, COLUMN] == fixed_sum(terms[occurrences.sample == i], SCALE)
    else:
        # m products and m additions, each within eps / 2 of a result that is at most the sum of |terms|
        bound = (1 + np.diff(occurrences.offsets)) * kind.eps * per_sample(occurrences, np.abs(terms))
        assert_within(result[:, COLUMN], per_sample(occurrences, terms), bound)
    expected = state.copy()
    host_bytes, host_addresses = records.on_host()
    scratch = np.empty(records.n, kind.compute)
    on_cpu.partial(kind.form(3), occurrences.owned(host_addresses), scratch, expected, COLUMN, SCALE)
    assert_same_bits(result, expected)
    assert_same_bits(backend.host(memory), records.bytes)


def test_fixed_point_terms_are_rounded_to_even(few):
    """Terms that lie in the middle of two multiples of 1 / scale."""
    scale, rng = 4.0, np.random.default_rng(1)
    numbers = rng.integers(-20, 20, (23, 4)) / 8
    records = Records(rng, layout_without_state(1, 3, "float32"), 23, numbers)
    occurrences = small_batch(rng, 37, 23, 0)
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    state = backend.zeros((37, 1), np.int64)
    scratch = backend.zeros(23, np.float64)
    backend.linear.partial(FIXED.form(3), occurrences.owned(addresses, backend), scratch, state, 0, scale)
    terms = records.weights()[occurrences.local, 0]
    halves = terms * scale % 1 == 0.5
    assert halves.sum() > 20
    expected = [fixed_sum(terms[occurrences.sample == i], scale) for i in range(37)]
    assert backend.host(state)[:, 0].tolist() == expected


@pytest.mark.parametrize("samples", [0, 1, 300])
@pytest.mark.parametrize("kind, n_dense", [(SINGLE, 0), (SINGLE, 3), (DOUBLE, 1)], ids=str)
def test_finish(device, kind, n_dense, samples):
    rng = np.random.default_rng(3)
    state = with_column(rng, samples, 1, COLUMN, BEHIND, kind.compute)
    dense, weights = rng.standard_normal((samples, n_dense)).astype(np.float32), rng.standard_normal(n_dense).astype(kind.compute)
    logit = rng.standard_normal(samples).astype(kind.compute)
    backend = CudaBackend(device)
    held = [backend.array(one) for one in (state, dense, weights, logit)]
    backend.linear.finish(kind.form(0), held[0], COLUMN, *held[1:], 0, samples)
    for one, before in zip(held[:3], (state, dense, weights), strict=True):
        assert_same_bits(backend.host(one), before)
    # in the types' own arithmetic, in the order of the features
    total = state[:, COLUMN].copy()
    for f in range(n_dense):
        total += dense[:, f].astype(kind.compute) * weights[f]
    assert_same_bits(backend.host(held[3]), logit + total)
    terms = dense.astype(np.float64) * weights
    size = np.abs(logit) + np.abs(state[:, COLUMN]) + np.abs(terms).sum(axis=1)
    exact = logit.astype(np.float64) + state[:, COLUMN] + terms.sum(axis=1)
    assert_within(backend.host(held[3]), exact, (2 + 2 * n_dense) * kind.eps * size)


@pytest.mark.parametrize(
    "kind, samples, n_dense, parts",
    [(SINGLE, 1101, 3, 4), (DOUBLE, 37, 1, 16), (FIXED, 1101, 2, 3), (FIXED, 3, 3, 16), (SINGLE, 5, 2, 16), (SINGLE, 41, 0, 16),
     (SINGLE, 0, 2, 4), (FIXED, 1, 1, 16)],
    ids=str,
)  # fmt: skip
def test_finish_adjoint(few, kind, samples, n_dense, parts):
    rng, scale = np.random.default_rng(samples), 2.0**40
    state = with_column(rng, samples, 1, COLUMN, BEHIND, kind.compute)
    dense = rng.standard_normal((samples, n_dense)).astype(np.float32)
    gradient = rng.standard_normal(samples).astype(kind.compute)
    held = rng.integers(-1000, 1000, (parts, n_dense)).astype(kind.sums)  # added to
    edges = samples * np.arange(parts + 1) // parts
    of_devices = []
    for one in devices(few):
        backend = CudaBackend(one)
        sums, on_device = backend.array(held), backend.array(state)
        backend.linear.finish_adjoint(
            kind.form(0), on_device, COLUMN, backend.array(dense), backend.array(gradient), sums, scale, Parts(edges, 0, parts)
        )
        of_devices.append((backend.host(sums), backend.host(on_device)))
    expected = state.copy()
    expected[:, COLUMN] = gradient
    for sums, adjoint in of_devices:
        assert_same_bits(adjoint, expected)
        assert_same_bits(sums, of_devices[0][0])  # whatever the schedule
    terms = gradient.astype(np.float64)[:, None] * dense
    for p in range(parts):
        own = terms[edges[p] : edges[p + 1]]
        for f in range(n_dense):
            if kind.fixed:
                assert sums[p, f] == int(held[p, f]) + fixed_sum(own[:, f], scale)
            else:
                # a product and at most as many additions as terms, and one to what was there
                bound = (2 + len(own)) * kind.eps * (np.abs(own[:, f]).sum() + abs(held[p, f]))
                assert_within(sums[p, f], held[p, f] + own[:, f].sum(), bound)
    if kind.fixed:
        of_cpu, cpu_state = held.copy(), state.copy()
        on_cpu.finish_adjoint(kind.form(0), cpu_state, COLUMN, dense, gradient, of_cpu, scale, Parts(edges, 0, parts))
        assert_same_bits(sums, of_cpu)


@pytest.mark.parametrize("kind, samples, width", [(SINGLE, 37, 1), (SINGLE, 37, 2), (DOUBLE, 29, 2), (SINGLE, 5, 0), (SINGLE, 0, 0)], ids=str)
def test_magnitude(few, kind, samples, width):
    rng, records, occurrences = drawn(kind, samples, width)
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    owned = occurrences.owned(addresses, backend)
    terms = np.abs(records.weights()[occurrences.local, 0] * occurrences.linear_x)
    sizes = [terms[occurrences.sample == i] for i in range(samples)]
    exact = [np.add.accumulate(np.append(0.0, of_sample))[-1] for of_sample in sizes]  # in order, in float64
    worst = int(np.argmax(exact)) if samples else 0
    found = backend.linear.magnitude(kind.form(3), owned)
    assert found == (exact[worst] if samples else 0.0, worst)
    held, host_addresses = records.on_host()
    assert found == on_cpu.magnitude(kind.form(3), occurrences.owned(host_addresses))
    for i in range(samples):  # each by itself
        alone = owned._replace(offsets=owned.offsets[i : i + 2])
        assert backend.linear.magnitude(kind.form(3), alone) == (exact[i], 0)


@pytest.mark.parametrize("kind", [SINGLE, DOUBLE], ids=str)
def test_largest_term(few, kind):
    rng, samples, begin, end = np.random.default_rng(5), 41, 7, 32
    gradient = rng.standard_normal(samples).astype(kind.compute)
    gradient[[0, 40]] = 50  # outside of begin .. end
    largest = np.abs(rng.standard_normal(end - begin)) * 2
    backend = CudaBackend(few)
    on_device, of_samples = backend.array(gradient), backend.array(largest)
    exact = np.abs(gradient[begin:end].astype(np.float64)) * np.maximum(1.0, largest)
    assert (largest < 1).any() and (largest > 1).any()
    found = backend.linear.largest_term(on_device, of_samples, begin, end)
    assert found == (exact.max(), begin + int(exact.argmax())) == on_cpu.largest_term(gradient, largest, begin, end)
    for i in range(begin, end):
        found = backend.linear.largest_term(on_device, of_samples[i - begin : i - begin + 1], i, i + 1)
        assert found == (exact[i - begin], i)
    assert backend.linear.largest_term(on_device, of_samples, begin, begin) == (0.0, begin)


@pytest.mark.parametrize("samples", [37, 20_011])
def test_worst_of_many(few, samples):
    """NaN before infinity before numbers, the first of equals: as an ordinary loop in order finds them.

    More samples than blocks take at once: a block has later samples than blocks behind it.
    """
    rng, backend = np.random.default_rng(6), CudaBackend(few)
    gradient = np.abs(rng.standard_normal(samples))
    ones = backend.array(np.ones(samples))

    def worst(*changes):
        for places, number in changes:
            gradient[places] = number
        number, place = backend.linear.largest_term(backend.array(gradient), ones, 0, samples)
        expected = on_cpu.largest_term(gradient, np.ones(samples), 0, samples)
        assert place == expected[1] and np.array_equal(number, expected[0], equal_nan=True)
        return number, place

    late, middle, early = samples - 1, samples - 36, 20
    late_in_block_0 = 16_384 + 4 if samples > 16_384 else late
    assert worst() == (gradient.max(), gradient.argmax())
    assert worst(([late, middle], 9.0)) == (9.0, middle)
    assert worst(([late_in_block_0, late], 10.0), ([early], 9.9)) == (10.0, min(late_in_block_0, late))
    assert worst(([late_in_block_0], 11.0), ([300 % samples], 11.0)) == (11.0, 300 % samples)
    assert worst(([late, middle], np.inf)) == (np.inf, middle)
    assert worst(([late_in_block_0], -np.inf)) == (np.inf, min(late_in_block_0, middle))
    assert worst(([late], np.nan))[1] == late
    assert worst(([late_in_block_0, late], np.nan))[1] == min(late_in_block_0, late)
    assert worst(([300 % samples], np.nan))[1] == 300 % samples
    gradient[:] = 0
    assert worst() == (0.0, 0)
