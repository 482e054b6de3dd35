"""The kernels of field-aware factorization machines against their definition in NumPy float64: every pair of features, one sample at a time."""

import numpy as np
import pytest
from device_rows import (
    DOUBLE,
    MIXED,
    SINGLE,
    Occurrences,
    Records,
    assert_same_bits,
    assert_within,
    devices,
    layout_without_state,
    small_batch,
)

from deshpc.backend.arguments import Room, Sums, Vectors
from deshpc.backend.cuda.backend import CudaBackend

ROWS, BEHIND = 23, 3


class Case:
    """Samples of some keys of rows of G vectors of k numbers, each of a field, and dense features, whose rows are `factors`.

    n_fields, n_dense : F, and G - F;  width : values beside a key;  scalars : linear weights of a row
    """

    def __init__(self, kind, k, n_fields, n_dense, width, scalars, samples):
        rng = np.random.default_rng(100 * k + samples)
        self.rng, self.kind, self.k, self.n_fields, self.n_dense, self.scalars = rng, kind, k, n_fields, n_dense, scalars
        self.vectors = n_fields + n_dense
        self.records = Records(rng, layout_without_state(scalars, self.vectors * k, kind.storage), ROWS)
        self.occurrences = small_batch(rng, samples, ROWS, width)
        if n_fields > 32:  # and a sample of more keys than a warp has lanes
            sizes, local = np.append(np.diff(self.occurrences.offsets), 40), np.append(self.occurrences.local, rng.integers(0, ROWS, 40))
            self.occurrences, samples = Occurrences.draw(rng, sizes, local, width), samples + 1
        self.fields = rng.integers(0, n_fields, ROWS).astype(np.uint16)
        self.fields[0] = n_fields - 1  # of a key in every sample
        self.dense = rng.standard_normal((samples, n_dense)).astype(np.float32)
        self.factors = rng.standard_normal((n_dense, self.vectors * k)).astype(kind.compute)
        weights = self.records.weights()
        self.v = np.vstack([weights[:, scalars:], self.factors]).reshape(ROWS + n_dense, self.vectors, k)
        self.w = weights[:, 0] if scalars else np.zeros(ROWS)
        self.of_row = np.append(self.fields, n_fields + np.arange(n_dense)).astype(int)

    def features(self, i):
        """(rows, dense features' behind the keys', their x, the keys' linear x) of sample i."""
        own = slice(*self.occurrences.offsets[i : i + 2])
        rows = np.append(self.occurrences.local[own], ROWS + np.arange(self.n_dense)).astype(int)
        return rows, np.append(self.occurrences.x[own], self.dense[i]), self.occurrences.linear_x[own]

    def pairs(self, i):
        """(sum over the pairs of sample i, the sum of their |terms|, with each key's with itself)."""
        rows, x, _ = self.features(i)
        total = size = 0.0
        for a, row in enumerate(rows):
            for b, other in enumerate(rows[: a + 1]):
                terms = x[a] * x[b] * self.v[row, self.of_row[other]] * self.v[other, self.of_row[row]]
                total, size = total + (a != b) * terms.sum(), size + np.abs(terms).sum()
        return total, size

    def gradients(self, z):
        """(of w, of v (rows and dense features, G, k)) of the sum of z times each sample's part of the logit; the same of |terms|."""
        found = [np.zeros(ROWS), np.zeros(self.v.shape), np.zeros(ROWS), np.zeros(self.v.shape)]
        for i, one in enumerate(z):
            rows, x, linear_x = self.features(i)
            np.add.at(found[0], rows[: len(linear_x)], one * linear_x)
            np.add.at(found[2], rows[: len(linear_x)], np.abs(one * linear_x))
            for a, row in enumerate(rows):
                for b, other in enumerate(rows):
                    term = one * x[a] * x[b] * self.v[other, self.of_row[row]]
                    found[1][row, self.of_row[other]] += (a != b) * term
                    found[3][row, self.of_row[other]] += np.abs(term)
        return found

    def on(self, device, atomic=False):
        """(backend, memory of the records, their Occurrences, Vectors)."""
        backend = CudaBackend(device, atomic_sums=atomic)
        memory, addresses = self.records.on(backend)
        owned = self.occurrences.owned(addresses, backend)
        grouping = backend.lookup.group(owned.offsets, owned.local, addresses, backend.buffers())
        return backend, memory, owned._replace(fields=backend.array(self.fields), grouping=grouping), Vectors(self.kind.form(self.k), None)

    def held_sums(self):
        """What the sums of the rows' gradients hold before: of w (rows), None without them, and of v (rows, G k)."""
        scalar, vector = (self.rng.integers(-9, 9, shape).astype(self.kind.compute) for shape in ((ROWS,), (ROWS, self.vectors * self.k)))
        return scalar if self.scalars else None, vector

    def check_sums(self, found, held, z, factors):
        """found : of w, if rows have it, and of v;  factors (n_dense, G k) : sums of the factors' gradients"""
        of_w, of_v, w_size, v_size = self.gradients(z.astype(float))
        # additions of all occurrences in any tree, products of a term, and differences of equal ones inside a field
        bound = (20 + 7 * len(z)) * self.kind.eps
        if self.scalars:
            assert_within(found[0], held[0] + of_w, bound * (np.abs(held[0]) + w_size))
        exact, sizes = of_v.reshape(len(of_v), -1), v_size.reshape(len(of_v), -1)
        assert_within(found[-1], held[1] + exact[:ROWS], bound * (np.abs(held[1]) + sizes[:ROWS]))
        assert_within(factors, exact[ROWS:], bound * sizes[ROWS:])


CASES = [  # kind, k, fields, dense features, values beside a key, linear weights, samples
    (SINGLE, 4, 5, 2, 1, 1, 70), (DOUBLE, 5, 3, 0, 2, 0, 19), (MIXED, 2, 38, 3, 0, 1, 9),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pairs_of_rows_where_they_lie(few, case):
    one, of_devices = Case(*case), []
    samples, linear, held = one.occurrences.samples, bool(one.scalars), one.held_sums()
    first, z = (one.rng.standard_normal((samples, 1)).astype(one.kind.compute) for _ in range(2))
    atomic = one.kind is DOUBLE  # whose sums of gradients are not the same on every schedule
    for device in devices(few)[: 1 if atomic else None]:
        backend, memory, owned, vectors = one.on(device, atomic)
        state, dense, factors, *of_rows = (None if array is None else backend.array(array) for array in (first, one.dense, one.factors, *held))
        terms, places = backend.ffm.new_terms(vectors, one.vectors, one.n_dense, linear, [owned], samples, backend.buffers())
        backend.ffm.collect(vectors, linear, owned, terms, places, state, 0, samples)
        backend.ffm.partial(vectors, terms, dense, factors, None, state, 0, samples)
        partials = backend.host(state)
        backend.set(state, z)
        backend.ffm.partial_adjoint(vectors, owned, terms, dense, factors, None, state, Sums(*of_rows, None))
        of_factors = backend.zeros(one.factors.shape, one.kind.compute)
        if one.n_dense:
            backend.ffm.factors_adjoint(vectors, terms, dense, factors, None, state, of_factors, 0, samples)
        assert_same_bits(backend.host(memory), one.records.bytes)
        of_devices.append([partials, *(backend.host(array) for array in (of_factors, *of_rows) if array is not None)])
    for i in range(samples):
        rows, _, linear_x = one.features(i)
        own, (pairs, size) = one.w[rows[: len(linear_x)]] * linear_x, one.pairs(i)
        bound = 60 * one.kind.eps * (abs(first[i, 0]) + np.abs(own).sum() + size)
        assert_within(of_devices[0][0][i, 0], first[i, 0] + own.sum() + pairs, bound)
    _, of_factors, *of_rows = of_devices[0]
    one.check_sums(of_rows, held, z[:, 0], of_factors)
    for other in of_devices[1:]:
        for a, b in zip(of_devices[0], other, strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sums_of_fields(few, case):
    """S and c of some samples, the pairs of complete sums, and their gradients back to rows: together those of the definition."""
    one = Case(*case)
    kind, k, n_fields, samples = one.kind, one.k, one.n_fields, one.occurrences.samples
    backend, memory, owned, vectors = one.on(few, atomic=kind is DOUBLE)
    row, width = one.vectors * k, n_fields * one.vectors * k
    columns = 1 + row * one.rng.permutation(n_fields)
    on_device, begin, end = backend.array(columns), 2, samples - 1
    held = one.rng.standard_normal((samples, 1 + width + BEHIND)).astype(kind.compute)
    state = backend.array(held)
    given = vectors.one, one.vectors, bool(one.scalars), owned, on_device
    backend.field_sums.partial(*given, state, begin, end, 1 + width)
    found = backend.host(state)
    assert_same_bits(found[:, 1 + width :], held[:, 1 + width :])
    assert_same_bits(found[:begin], held[:begin])
    assert_same_bits(found[end:], held[end:])
    backend.field_sums.partial(*given, state, 0, samples, 1 + width)
    exact, sizes = np.zeros((2, samples, 1 + width))
    for i in range(samples):
        rows, x, linear_x = one.features(i)
        for r, value, linear_value in zip(rows, x, linear_x, strict=False):
            place, v = columns[one.fields[r]], one.v[r] * value
            own = one.w[r] * linear_value, -0.5 * (v[one.fields[r]] ** 2).sum()
            exact[i, place : place + row] += v.ravel()
            sizes[i, place : place + row] += np.abs(v.ravel())
            exact[i, 0] += sum(own)
            sizes[i, 0] += np.abs(own).sum()
    found = backend.host(state)[:, : 1 + width]
    assert_within(found, exact, 40 * kind.eps * sizes)

    places, factors = np.concatenate([np.arange(c, c + row) for c in columns]), backend.array(one.factors)
    wide = np.zeros((samples, 1 + width + one.n_dense + BEHIND), kind.compute)
    wide[:, 1 : 1 + width], wide[:, 1 + width : 1 + width + one.n_dense] = found[:, places], one.dense
    whole, result = backend.array(wide), backend.zeros(samples, kind.compute)
    sums, dense, room = whole[:, 1 : 1 + width], whole[:, 1 + width : 1 + width + one.n_dense], Room(None, None, range(one.vectors), None, None)
    backend.field_sums.pairs(vectors, sums, dense, factors, room, result)
    logit = found[:, 0] + backend.host(result)
    for i in range(samples):
        rows, x, linear_x = one.features(i)
        pairs, size = one.pairs(i)
        linear = one.w[rows[: len(linear_x)]] * linear_x
        assert_within(logit[i], linear.sum() + pairs, 60 * kind.eps * (np.abs(linear).sum() + 2 * size))

    z = one.rng.standard_normal(samples).astype(kind.compute)
    before = one.rng.integers(-9, 9, (samples, 1 + width + BEHIND)).astype(kind.compute)
    gradient, of_factors = backend.array(before), backend.array(np.full(one.factors.shape, 7, kind.compute))
    into, given = gradient[:, 1 : 1 + width], (vectors, sums, dense, factors, room, backend.array(z))
    backend.field_sums.pairs_adjoint(*given, into, False, of_factors)
    added = backend.host(gradient)
    backend.field_sums.pairs_adjoint(*given, into, True, of_factors)
    fresh = backend.host(gradient)
    own, others = slice(1, 1 + width), [0, *range(1 + width, 1 + width + BEHIND)]
    assert_within(added[:, own], before[:, own] + fresh[:, own].astype(float), 20 * kind.eps * (9 + np.abs(fresh[:, own])))
    assert_same_bits(added[:, others], before[:, others])
    assert_same_bits(fresh[:, others], before[:, others])

    upstream = np.zeros((samples, 1 + width + BEHIND), kind.compute)
    upstream[:, 0], upstream[:, places] = z, fresh[:, 1 : 1 + width]
    held = one.held_sums()
    of_rows = [None if array is None else backend.array(array) for array in held]
    backend.field_sums.partial_adjoint(vectors.one, one.vectors, owned, on_device, backend.array(upstream), Sums(*of_rows, None))
    found = [backend.host(array) for array in of_rows if array is not None]
    one.check_sums(found, held, z, backend.host(of_factors) if one.n_dense else one.factors)
    assert_same_bits(backend.host(memory), one.records.bytes)
