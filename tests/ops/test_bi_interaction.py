"""Sums and sums of squares of NFM: partials and row gradients by definition, in floating and in fixed point, and their bounds.

Against sums that NumPy takes one occurrence at a time (`sparse_rows`).
"""

import numpy as np
import pytest
from sparse_rows import FORMS, ROWS, SAMPLES, SCALE, Sparse

from deshpc.backend.arguments import Sums
from deshpc.backend.cpu import bi_interaction, pool
from deshpc.backend.open import open_backend
from deshpc.ops.bi_interaction import BiInteraction


@pytest.mark.parametrize("dim", [1, 4, 17])
@pytest.mark.parametrize("kind, weighted", FORMS)
def test_partials(kind, weighted, dim):
    """c = sum w xl, A = sum v x, Q = sum v^2 x^2; other samples and the columns behind are left alone."""
    sparse, begin, end, width = Sparse(1, weighted, kind, dim), 2, 9, 1 + 2 * dim
    state = np.full((SAMPLES, width + 2), 77, sparse.sums)
    pool.clear(state, width, begin, end)
    halves = np.arange(ROWS) % 2  # two shards' occurrences are added up
    for shard in (0, 1):
        bi_interaction.partial(sparse.form, sparse.owned(halves[sparse.local] == shard), state, SCALE, begin, end)
    assert (state[:begin] == 77).all() and (state[end:] == 77).all() and (state[:, width:] == 77).all()
    expected = np.zeros((SAMPLES, width))
    for i in range(SAMPLES):
        for _, w, v, x, xl in sparse.occurrences(i):
            expected[i] += sparse.rounded(np.concatenate([[w * xl], v * x, (v * x) ** 2]))
    sparse.assert_close(sparse.floats(state[begin:end, :width]), expected[begin:end])


@pytest.mark.parametrize("kind, weighted", FORMS)
def test_row_gradients(kind, weighted):
    """sum x dA + 2 x^2 v dQ and sum g xl; added to what is there."""
    sparse = Sparse(3, weighted, kind)
    dim, width = sparse.dim, 1 + 2 * sparse.dim
    upstream = np.random.default_rng(4).standard_normal((SAMPLES, width + 3)).astype(sparse.compute)
    scalars, vectors = np.zeros(ROWS, sparse.sums), np.ones((ROWS, dim), sparse.sums)
    bi_interaction.partial_adjoint(sparse.form, sparse.owned(), upstream, Sums(scalars, vectors, None), SCALE)
    expected = np.zeros((ROWS, 1 + dim))
    for i in range(SAMPLES):
        g, of_total, of_squares = float(upstream[i, 0]), upstream[i, 1 : 1 + dim], upstream[i, 1 + dim : width]
        for row, _, v, x, xl in sparse.occurrences(i):
            slope = x * of_total.astype(np.float64) + 2 * x * x * v * of_squares.astype(np.float64)
            expected[row] += sparse.rounded(np.concatenate([[g * xl], slope]))
    sparse.assert_close(np.column_stack([sparse.floats(scalars), sparse.floats(vectors - vectors.dtype.type(1))]), expected)


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_magnitude_is_no_smaller_than_the_sum_of_any_states_terms(weighted):
    for seed in range(20):
        sparse = Sparse(seed, weighted)
        terms = np.zeros((SAMPLES, 1 + 2 * sparse.dim))
        for i in range(SAMPLES):
            for _, w, v, x, xl in sparse.occurrences(i):
                terms[i] += np.concatenate([[abs(w * xl)], np.abs(v * x), (v * x) ** 2])
        bound, sample = bi_interaction.magnitude(sparse.form, sparse.owned())
        # lengths of v x bound coordinates: k times too large at most, for squares
        assert terms.max() * (1 - 1e-14) <= bound <= terms.max() * sparse.dim * (1 + 1e-14)
        assert bound >= terms[sample].max() * (1 - 1e-14)


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_the_bound_is_no_smaller_than_any_term_of_a_gradient(weighted):
    """From states and their gradients alone, which a sample's home has: a term is x (dA + 2 x v dQ), and v^2 x^2 is a part of Q."""
    rng, backend = np.random.default_rng(7), open_backend("cpu", 1)
    for seed in range(20):
        sparse = Sparse(seed, weighted)
        k, largest = sparse.dim, 0.0
        operator, width = BiInteraction(backend, sparse.form), 1 + 2 * sparse.dim
        gradient = rng.standard_normal((SAMPLES, width + 2))
        gradient[:, width:] = 1e9  # what lies behind is no gradient
        state, values = np.zeros((SAMPLES, width + 2)), np.ones(SAMPLES)
        for i in range(SAMPLES):
            for _, _, v, x, xl in sparse.occurrences(i):
                state[i, 1 + k : width] += sparse.rounded((v * x) ** 2)
                values[i] = max(values[i], abs(x), abs(xl))
                slope = x * gradient[i, 1 : 1 + k] + 2 * x * x * v * gradient[i, 1 + k : width]
                largest = max(largest, abs(gradient[i, 0] * xl), np.abs(slope).max())
        term, _ = backend.pool.largest_term(gradient, width, values, 0, SAMPLES)
        assert term * operator.largest_factor(state, 0, SAMPLES) >= largest * (1 - 1e-14)
        last = 1 + 2 * np.sqrt(state[-2:, 1 + k : width].max() + 2.0**-10)
        assert operator.largest_factor(state, SAMPLES - 2, SAMPLES) == pytest.approx(last, rel=1e-12)  # of samples that are asked for


@pytest.mark.parametrize("column", [0, 3])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_bounds_find_weights_that_are_no_finite_numbers(number, column):
    sparse = Sparse(3, True)
    where = int(np.argmax(sparse.counts))
    sparse.local[sparse.local == ROWS - 1] = 0
    sparse.local[sparse.offsets[where]] = ROWS - 1  # of several occurrences the first
    sparse.weights[ROWS - 1, column] = number
    sparse.write()
    bound, sample = bi_interaction.magnitude(sparse.form, sparse.owned())
    assert not np.isfinite(bound) and sample == where
