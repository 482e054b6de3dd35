"""The factorization machine's kernels against NumPy float64, Python's integers, and the CPU backend where its bits are promised.

Dimensions 4 to 256 take every width of loads, groups of 1 to 32 lanes, lanes that have no part, and several vectors a lane.
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
    with_column,
)

from deshpc.backend.arguments import Parts
from deshpc.backend.cpu import fm as on_cpu
from deshpc.backend.cuda.backend import CudaBackend

SCALE = 2.0**32
COLUMN, BEHIND = 1, 2  # of the state, whose other columns belong to other operators


def drawn(kind, dim, samples, width):
    rng = np.random.default_rng(100 * dim + samples)
    records = Records(rng, layout_without_state(1, dim, kind.storage), 23)
    return rng, records, small_batch(rng, samples, records.n, width)


def check_partial(device, kind, dim, samples, width):
    rng, records, occurrences = drawn(kind, dim, samples, width)
    state = with_column(rng, samples, dim + 1, COLUMN, BEHIND, kind.sums)
    backend = CudaBackend(device)
    memory, addresses = records.on(backend, beyond=3)
    on_device = backend.array(state)
    backend.fm.partial(kind.form(dim), occurrences.owned(addresses, backend), on_device, COLUMN, SCALE)
    result = backend.host(on_device)
    own = slice(COLUMN, COLUMN + dim + 1)
    assert_same_bits(np.delete(result, own, 1), np.delete(state, own, 1))  # other operators' columns
    assert_same_bits(backend.host(memory), records.bytes)

    weights = records.weights()[occurrences.local]
    v, linear = weights[:, 1:] * occurrences.x[:, None], weights[:, 0] * occurrences.linear_x
    if kind.fixed:
        squares = v * (v * 0.5)
        for i in range(samples):
            mine = occurrences.sample == i
            expected = [fixed_sum(v[mine, k], SCALE) for k in range(dim)]
            expected.append(fixed_sum(linear[mine], SCALE) - fixed_sum(squares[mine].ravel(), SCALE))
            assert result[i, own].tolist() == expected
    else:
        # A: m products and m additions.  c: the m fused squares of a coordinate, whose factors are rounded (1, 2), then
        # dim coordinates in a tree, m products and additions of the linear term, and their difference.  Each rounding is
        # within eps / 2 of at most the sum of |terms|.
        m, half_squares = np.diff(occurrences.offsets), 0.5 * v**2
        bound = (1 + m)[:, None] * kind.eps * per_sample(occurrences, np.abs(v))
        assert_within(result[:, COLUMN : COLUMN + dim], per_sample(occurrences, v), bound, "A")
        exact = per_sample(occurrences, linear - half_squares.sum(axis=1))
        size = per_sample(occurrences, np.abs(linear) + half_squares.sum(axis=1))
        assert_within(result[:, COLUMN + dim], exact, (4 + m + dim.bit_length()) * kind.eps * size, "c")
    expected = state.copy()
    held, host_addresses = records.on_host()
    on_cpu.partial(kind.form(dim), occurrences.owned(host_addresses), expected, COLUMN, SCALE)
    if not kind.fixed and not is_power_of_two(dim):
        expected[:, COLUMN + dim] = result[:, COLUMN + dim]  # c is added up in another tree
    assert_same_bits(result, expected)


@pytest.mark.parametrize(
    "kind, dim, samples, width",
    [(SINGLE, 4, 37, 1), (MIXED, 5, 37, 0), (FIXED, 8, 37, 2), (SINGLE, 10, 37, 2), (DOUBLE, 12, 37, 1), (FIXED, 12, 21, 0),
     (SINGLE, 16, 1, 0), (SINGLE, 16, 0, 0), (FIXED_DOUBLE, 16, 9, 1), (MIXED, 64, 7, 1)],
    ids=str,
)  # fmt: skip
def test_partial(device, kind, dim, samples, width):
    check_partial(device, kind, dim, samples, width)


@pytest.mark.parametrize("kind, dim, width", [(SINGLE, 256, 1), (DOUBLE, 256, 2), (FIXED, 5, 1), (SINGLE, 1, 0), (DOUBLE, 3, 0), (SINGLE, 2, 2)], ids=str)
def test_partial_of_other_dimensions(few, kind, dim, width):
    check_partial(few, kind, dim, 13, width)


def test_fixed_point_terms_are_rounded_to_even(few):
    """Terms that lie in the middle of two multiples of 1 / scale."""
    scale, dim, rng = 4.0, 8, np.random.default_rng(2)
    records = Records(rng, layout_without_state(1, dim, "float32"), 23, rng.integers(-20, 20, (23, 1 + dim)) / 8)
    occurrences = small_batch(rng, 37, 23, 0)
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    state = backend.zeros((37, dim + 1), np.int64)
    backend.fm.partial(FIXED.form(dim), occurrences.owned(addresses, backend), state, 0, scale)
    weights, result = records.weights()[occurrences.local], backend.host(state)
    for i in range(37):
        mine = weights[occurrences.sample == i]
        expected = [fixed_sum(mine[:, 1 + k], scale) for k in range(dim)]
        expected.append(fixed_sum(mine[:, 0], scale) - fixed_sum((mine[:, 1:] * (mine[:, 1:] * 0.5)).ravel(), scale))
        assert result[i].tolist() == expected


def check_finish(device, kind, dim, n_dense, samples):
    rng = np.random.default_rng(dim + n_dense)
    state = with_column(rng, samples, dim + 1, COLUMN, BEHIND, kind.compute)
    state[:, COLUMN : COLUMN + dim + 1] /= 100
    dense = rng.standard_normal((samples, n_dense)).astype(np.float32)
    weights = rng.standard_normal(n_dense).astype(kind.compute)
    factors = rng.standard_normal((n_dense, dim)).astype(kind.compute)
    logit = rng.standard_normal(samples).astype(kind.compute)
    backend = CudaBackend(device)
    on_device, of_logit = backend.array(state), backend.array(logit)
    backend.fm.finish(
        kind.form(dim), on_device, COLUMN, backend.array(dense), backend.array(weights), backend.array(factors), of_logit, 0,
        samples,
    )  # fmt: skip
    result, of_logit = backend.host(on_device), backend.host(of_logit)

    # A in the type's own arithmetic, in the order of the features; all else of the state as it was
    expected, begin = state.copy(), slice(COLUMN, COLUMN + dim)
    for f in range(n_dense):
        expected[:, begin] += factors[f] * dense[:, f : f + 1].astype(kind.compute)
    assert_same_bits(result, expected)
    a, c = state[:, begin].astype(np.float64), state[:, COLUMN + dim].astype(np.float64)
    x = dense.astype(np.float64)
    v = x[:, :, None] * factors
    total, squares = a + v.sum(axis=1), (v**2).sum(axis=1)
    exact = logit + c + x @ weights.astype(np.float64) + 0.5 * (total**2 - squares).sum(axis=1)
    # A is off by (1 + n_dense) / 2 eps of S = |a| + sum |v|, its square by twice that and a rounding; the squares by as much;
    # then the tree over dim coordinates, n_dense linear terms, and the three terms of the logit
    size = np.abs(logit) + np.abs(c) + np.abs(x) @ np.abs(weights) + 0.5 * ((np.abs(a) + np.abs(v).sum(axis=1)) ** 2 + squares).sum(axis=1)
    assert_within(of_logit, exact, (6 + 2 * n_dense + dim.bit_length()) * kind.eps * size)
    if is_power_of_two(dim):
        host_state, host_logit = state.copy(), logit.copy()
        on_cpu.finish(kind.form(dim), host_state, COLUMN, dense, weights, factors, host_logit, 0, samples)
        assert_same_bits(host_state, result)
        assert_same_bits(of_logit, host_logit)


@pytest.mark.parametrize(
    "kind, dim, n_dense, samples",
    [(SINGLE, 4, 0, 70), (DOUBLE, 5, 2, 37), (SINGLE, 8, 3, 37), (SINGLE, 10, 1, 37), (SINGLE, 12, 2, 21), (DOUBLE, 16, 3, 37),
     (SINGLE, 16, 2, 1), (SINGLE, 16, 2, 0)],
    ids=str,
)  # fmt: skip
def test_finish(device, kind, dim, n_dense, samples):
    check_finish(device, kind, dim, n_dense, samples)


@pytest.mark.parametrize("kind, dim, n_dense", [(DOUBLE, 64, 1), (SINGLE, 256, 2), (DOUBLE, 256, 0), (SINGLE, 1, 1)], ids=str)
def test_finish_of_other_dimensions(few, kind, dim, n_dense):
    check_finish(few, kind, dim, n_dense, 11)


@pytest.mark.parametrize(
    "kind, dim, samples, n_dense, parts",
    [(SINGLE, 4, 601, 2, 2), (FIXED, 5, 300, 1, 2), (SINGLE, 10, 150, 1, 3), (DOUBLE, 12, 37, 3, 16), (FIXED, 16, 90, 2, 1),
     (MIXED, 64, 25, 1, 2), (SINGLE, 256, 12, 2, 1), (FIXED, 8, 3, 2, 16), (SINGLE, 8, 21, 0, 16), (SINGLE, 16, 0, 2, 4),
     (FIXED, 4, 1, 1, 16)],
    ids=str,
)  # fmt: skip
def test_finish_adjoint(few, kind, dim, samples, n_dense, parts):
    rng, scale = np.random.default_rng(dim + samples), 2.0**40
    state = with_column(rng, samples, dim + 1, COLUMN, BEHIND, kind.compute)
    dense = rng.standard_normal((samples, n_dense)).astype(np.float32)
    factors = rng.standard_normal((n_dense, dim)).astype(kind.compute)
    gradient = rng.standard_normal(samples).astype(kind.compute)
    held = [rng.integers(-1000, 1000, shape).astype(kind.sums) for shape in ((parts, n_dense), (parts, n_dense, dim))]
    edges, begin = samples * np.arange(parts + 1) // parts, slice(COLUMN, COLUMN + dim)
    of_devices = []
    for one in devices(few):
        backend = CudaBackend(one)
        sums, on_device = [backend.array(array) for array in held], backend.array(state)
        backend.fm.finish_adjoint(
            kind.form(dim), on_device, COLUMN, backend.array(dense), backend.array(factors), backend.array(gradient), *sums,
            scale, Parts(edges, 0, parts),
        )  # fmt: skip
        of_devices.append([backend.host(array) for array in (on_device, *sums)])
    expected = state.copy()
    expected[:, begin] *= gradient[:, None]
    expected[:, COLUMN + dim] = gradient
    for found in of_devices:
        assert_same_bits(found[0], expected)
        for array, same in zip(found, of_devices[0], strict=True):
            assert_same_bits(array, same)  # whatever the schedule
    _, weight_sums, factor_sums = of_devices[0]
    g, x, a = gradient.astype(np.float64)[:, None], dense.astype(np.float64), state[:, begin].astype(np.float64)
    v = factors.astype(np.float64)
    if kind.fixed:
        of_cpu, cpu_state = [array.copy() for array in held], state.copy()
        on_cpu.finish_adjoint(
            kind.form(dim), cpu_state, COLUMN, dense, factors, gradient, *of_cpu, scale, Parts(edges, 0, parts)
        )
        assert_same_bits(weight_sums, of_cpu[0])
        assert_same_bits(factor_sums, of_cpu[1])
        assert_same_bits(cpu_state, expected)
    for p in range(parts):
        own = slice(edges[p], edges[p + 1])
        n = edges[p + 1] - edges[p]
        for f in range(n_dense):
            linear = g[own, 0] * x[own, f]
            terms = g[own] * x[own, f : f + 1] * (a[own] - v[f] * x[own, f : f + 1])
            sizes = np.abs(linear[:, None]) * (np.abs(a[own]) + np.abs(v[f] * x[own, f : f + 1]))
            if kind.fixed:
                assert weight_sums[p, f] == int(held[0][p, f]) + fixed_sum(linear, scale)
                # half a unit a term, which is itself rounded three times
                bound = 0.5 / scale * n + 2 * kind.eps * sizes.sum(axis=0) + kind.eps * np.abs(factor_sums[p, f]) / scale
                assert_within((factor_sums[p, f] - held[1][p, f]) / scale, terms.sum(axis=0), bound)
            else:
                # a product and at most as many additions as terms, and one to what was there
                bound = (2 + n) * kind.eps * (np.abs(linear).sum() + abs(held[0][p, f]))
                assert_within(weight_sums[p, f], held[0][p, f] + linear.sum(), bound)
                # A - v x, g x, the fused product with it: three roundings more
                bound = (4 + n) * kind.eps * (sizes.sum(axis=0) + np.abs(held[1][p, f]))
                assert_within(factor_sums[p, f], held[1][p, f] + terms.sum(axis=0), bound)


@pytest.mark.parametrize(
    "kind, dim, samples, width",
    [(SINGLE, 4, 29, 1), (MIXED, 5, 29, 2), (SINGLE, 10, 21, 0), (DOUBLE, 12, 21, 1), (SINGLE, 64, 9, 2), (SINGLE, 256, 5, 0), (SINGLE, 4, 0, 1)],
    ids=str,
)  # fmt: skip
def test_magnitude(few, kind, dim, samples, width):
    _, records, occurrences = drawn(kind, dim, samples, width)
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    owned = occurrences.owned(addresses, backend)

    def found(own):
        return backend.fm.magnitude(kind.form(dim), owned._replace(offsets=own))

    weights = records.weights()[occurrences.local]
    squares = (weights[:, 1:] ** 2).sum(axis=1) * occurrences.x**2
    of_a = per_sample(occurrences, np.sqrt(squares))
    of_c = per_sample(occurrences, np.abs(weights[:, 0] * occurrences.linear_x) + 0.5 * squares)
    exact = np.maximum(of_a, of_c)
    # |v|^2 in the type of arithmetic: a product and a tree; the rest in float64
    bound = (1 + dim.bit_length()) * kind.eps * exact + 64 * 2.0**-52 * exact
    sizes = [found(owned.offsets[i : i + 2]) for i in range(samples)]  # each sample by itself
    assert all(place == 0 for _, place in sizes)
    sizes = np.array([size for size, _ in sizes])
    assert_within(sizes, exact, bound)
    if samples:
        assert (of_a > of_c * 1.01).any() or dim > 4
        assert (of_c > of_a * 1.01).any()
    worst = found(owned.offsets)
    assert worst == ((sizes.max(), sizes.argmax()) if samples else (0.0, 0))
    held, host_addresses = records.on_host()
    if is_power_of_two(dim):
        def of_cpu(own):
            return on_cpu.magnitude(kind.form(dim), occurrences.owned(host_addresses)._replace(offsets=own))

        assert worst == of_cpu(occurrences.offsets)
        for i in range(samples):
            assert sizes[i] == of_cpu(occurrences.offsets[i : i + 2])[0]


@pytest.mark.parametrize("part", ["linear", "embedding"])
def test_magnitude_of_what_is_no_number(few, part):
    """A NaN among a sample's weights is that sample's magnitude, and the first such sample is found."""
    dim = 8
    rng = np.random.default_rng(9)
    numbers = rng.standard_normal((23, 1 + dim))
    numbers[20, 0 if part == "linear" else 4] = np.nan
    numbers[21, 3] = np.inf
    records = Records(rng, layout_without_state(1, dim, "float32"), 23, numbers)
    local = np.array([1, 2, 21, 3, 5, 20, 4, 20, 6], np.int32)
    offsets = np.array([0, 2, 3, 5, 7, 9])
    backend = CudaBackend(few)
    memory, addresses = records.on(backend)
    owned = Occurrences(offsets, local, None).owned(addresses, backend)
    size, sample = backend.fm.magnitude(SINGLE.form(dim), owned)
    assert np.isnan(size) and sample == 3
    early = owned._replace(offsets=owned.offsets[:4])
    assert backend.fm.magnitude(SINGLE.form(dim), early) == (np.inf, 1)


@pytest.mark.parametrize("kind, dim, n_dense", [(SINGLE, 4, 2), (DOUBLE, 5, 0), (SINGLE, 12, 3), (DOUBLE, 64, 1)], ids=str)
def test_largest_term(few, kind, dim, n_dense):
    rng, samples, begin, end = np.random.default_rng(dim), 41, 5, 33
    state = with_column(rng, samples, dim + 1, COLUMN, BEHIND, kind.compute)
    state[:, COLUMN : COLUMN + dim] /= 80
    state[:, COLUMN + dim] = 1e6  # c is none of the terms
    gradient = rng.standard_normal(samples).astype(kind.compute)
    gradient[[0, 40]] = 1000  # outside of begin .. end
    factors = -np.abs(rng.standard_normal((n_dense, dim))).astype(kind.compute)
    largest = np.abs(rng.standard_normal(end - begin)) * 2
    x = np.maximum(1.0, largest)
    state[begin + 2, COLUMN : COLUMN + dim] = 0  # where x is the larger
    backend = CudaBackend(few)
    held = [backend.array(one) for one in (state, gradient, factors, largest)]

    def found(first, last):
        return backend.fm.largest_term(
            kind.form(dim), held[0], COLUMN, held[1], held[2], held[3][first - begin : last - begin], first, last
        )

    a = np.abs(state[begin:end, COLUMN : COLUMN + dim].astype(np.float64)).max(axis=1)
    factor = np.abs(factors.astype(np.float64)).max(initial=0.0)
    exact = np.abs(gradient[begin:end].astype(np.float64)) * x * (np.maximum(a, x) + x * factor)  # the same operations in float64
    assert found(begin, end) == (exact.max(), begin + exact.argmax())
    for i in range(begin, end):
        assert found(i, i + 1) == (exact[i - begin], i)
    assert found(begin, begin) == (0.0, begin)
    of_cpu = on_cpu.largest_term(kind.form(dim), state, COLUMN, gradient, factors, largest, begin, end)
    assert found(begin, end) == of_cpu
    # it does bound the terms of a sample: g xl, g x A, g x^2 of its keys, g x (A - v x) of its dense features
    g, own = np.abs(gradient[begin:end, None]), state[begin:end, COLUMN : COLUMN + dim]
    for v in factors if n_dense else np.zeros((1, dim)):
        for sign in (-1, 1):
            terms = g * x[:, None] * np.hstack([np.abs(own - sign * v * x[:, None]), np.abs(own), x[:, None]])
            assert (terms <= exact[:, None] * (1 + 4 * kind.eps)).all()
