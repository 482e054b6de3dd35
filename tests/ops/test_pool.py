"""Pooled embeddings: partials and row gradients by definition, in floating and in fixed point, and the bounds of fixed point.

Against sums that NumPy takes one occurrence at a time (`sparse_rows`).
"""

import numpy as np
import pytest
from sparse_rows import FORMS, N_FIELDS, ROWS, SAMPLES, SCALE, Sparse

from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import loss, pool


def columns_of(dim, first):
    return first + dim * np.arange(N_FIELDS, dtype=np.int64)


@pytest.mark.parametrize("linear, squares", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind, weighted", FORMS)
def test_partials(kind, weighted, linear, squares):
    """E_f = sum v x, c = sum w xl - 1/2 sum |v|^2 x^2 of either; other samples and the columns behind are left alone."""
    sparse, first = Sparse(1, weighted, kind), int(linear or squares)
    dim, begin, end = sparse.dim, 2, 9
    width = first + N_FIELDS * dim
    state = np.full((SAMPLES, width + 2), 77, sparse.sums)
    halves = np.arange(ROWS) % 2  # two shards' occurrences are added up
    for shard in (0, 1):
        pool.partial(
            sparse.form, linear, squares, sparse.owned(halves[sparse.local] == shard), columns_of(dim, first), state, SCALE,
            begin, end, 0 if shard else width,
        )  # fmt: skip
    assert (state[:begin] == 77).all() and (state[end:] == 77).all() and (state[:, width:] == 77).all()
    expected = np.zeros((SAMPLES, width))
    for i in range(SAMPLES):
        for row, w, v, x, xl in sparse.occurrences(i):
            place = first + dim * sparse.fields[row]
            expected[i, place : place + dim] += sparse.rounded(v * x)
            expected[i, 0] += sparse.rounded(w * xl) if linear else 0.0
            expected[i, 0] -= sparse.rounded(0.5 * ((v * x) ** 2).sum()) if squares else 0.0
    sparse.assert_close(sparse.floats(state[begin:end, :width]), expected[begin:end])


@pytest.mark.parametrize("dim", [1, 4, 17])
def test_partials_of_any_width(dim):
    sparse = Sparse(2, 1, "float64", dim)
    state = np.zeros((SAMPLES, N_FIELDS * dim))
    pool.partial(sparse.form, False, False, sparse.owned(), columns_of(dim, 0), state, 1.0, 0, SAMPLES)
    expected = np.zeros((SAMPLES, N_FIELDS, dim))
    for i in range(SAMPLES):
        for row, _, v, x, _ in sparse.occurrences(i):
            expected[i, sparse.fields[row]] += v * x
    sparse.assert_close(state, expected.reshape(SAMPLES, -1))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("kind, weighted", FORMS)
def test_row_gradients(kind, weighted, linear, own):
    """sum x dE_f, sum g xl, and sum g x^2 where FM's own terms are wanted; added to what is there."""
    sparse, first = Sparse(3, weighted, kind), int(linear or own)
    dim, width = sparse.dim, first + N_FIELDS * sparse.dim
    upstream = np.random.default_rng(4).standard_normal((SAMPLES, width + 3)).astype(sparse.compute)
    scalars, vectors, selves = np.zeros(ROWS, sparse.sums), np.ones((ROWS, dim), sparse.sums), np.zeros(ROWS, sparse.sums)
    sums = Sums(scalars if linear else None, vectors, selves if own else None)
    pool.partial_adjoint(sparse.form, sparse.owned(), columns_of(dim, first), upstream, sums, SCALE)
    expected = np.zeros((ROWS, 2 + dim))
    for i in range(SAMPLES):
        g = float(upstream[i, 0])
        for row, _, _, x, xl in sparse.occurrences(i):
            place = first + dim * sparse.fields[row]
            expected[row, :dim] += sparse.rounded(x * upstream[i, place : place + dim].astype(np.float64))
            expected[row, dim] += sparse.rounded(g * xl) if linear else 0.0
            expected[row, dim + 1] += sparse.rounded(g * x * x) if own else 0.0
    found = np.column_stack([sparse.floats(vectors - vectors.dtype.type(1)), sparse.floats(scalars), sparse.floats(selves)])
    sparse.assert_close(found, expected)


@pytest.mark.parametrize("linear, squares", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_magnitude_is_no_smaller_than_the_sum_of_any_states_terms(weighted, linear, squares):
    for seed in range(20):
        sparse = Sparse(seed, weighted)
        terms = np.zeros((SAMPLES, 1 + N_FIELDS * sparse.dim))
        for i in range(SAMPLES):
            for row, w, v, x, xl in sparse.occurrences(i):
                place = 1 + sparse.dim * sparse.fields[row]
                terms[i, place : place + sparse.dim] += np.abs(v * x)
                terms[i, 0] += abs(w * xl) * linear + 0.5 * ((v * x) ** 2).sum() * squares
        bound, sample = magnitude(sparse, linear, squares)
        # a field's sum is bounded by lengths of v x: up to the root of k more than its largest coordinate
        assert terms.max() * (1 - 1e-14) <= bound <= max(terms[:, 0].max(), terms[:, 1:].max() * sparse.dim**0.5) * (1 + 1e-14)
        assert bound >= terms[sample].max() * (1 - 1e-14)


def magnitude(sparse, linear=True, squares=True):
    return pool.magnitude(sparse.form, linear, squares, N_FIELDS, sparse.owned())


@pytest.mark.parametrize("linear, squares, column", [(True, True, 0), (True, True, 3), (True, False, 3), (False, False, 3), (False, True, 1)])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_magnitude_finds_what_is_no_finite_number(number, linear, squares, column):
    sparse = Sparse(3, True)
    where = int(np.argmax(sparse.counts))
    sparse.local[sparse.local == ROWS - 1] = 0
    sparse.local[sparse.offsets[where]] = ROWS - 1  # of several occurrences the first
    sparse.weights[ROWS - 1, column] = number
    sparse.write()
    bound, sample = magnitude(sparse, linear, squares)
    assert not np.isfinite(bound) and sample == where


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_largest_term_is_no_smaller_than_any_term_of_a_gradient(weighted):
    rng, width = np.random.default_rng(7), 1 + N_FIELDS * 5
    for seed in range(20):
        sparse, gradient = Sparse(seed, weighted), rng.standard_normal((SAMPLES, width + 2))
        gradient[:, width:] = 1e9  # what lies behind is no gradient
        largest, of_samples = np.empty(SAMPLES), np.zeros(SAMPLES)
        dense = np.zeros((SAMPLES, 1), np.float32)
        loss.largest_values(sparse.offsets[:-1], sparse.offsets[1:], sparse.values, dense, largest)
        for i in range(SAMPLES):
            g = abs(gradient[i, 0])
            for row, _, _, x, xl in sparse.occurrences(i):
                place = 1 + 5 * sparse.fields[row]
                of_samples[i] = max(of_samples[i], abs(x) * np.abs(gradient[i, place : place + 5]).max(), g * abs(xl), g * x * x)
        for begin, end in ((0, SAMPLES), (3, 8), (4, 4)):
            bound, sample = pool.largest_term(gradient, width, largest[begin:end], begin, end)
            assert bound >= of_samples[begin:end].max(initial=0) * (1 - 1e-14)
            assert begin <= sample < max(end, begin + 1)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_largest_term_finds_what_is_no_finite_number(number):
    for column in (0, 7, 20):
        gradient = np.ones((SAMPLES, 21))
        gradient[6, column] = number
        bound, sample = pool.largest_term(gradient, 21, np.ones(SAMPLES), 0, SAMPLES)
        assert not np.isfinite(bound) and sample == 6
