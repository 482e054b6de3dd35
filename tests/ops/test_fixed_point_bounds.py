"""The bounds from which fixed point takes its scales and errors: no smaller than anything they stand for.

`magnitude` of a partial against the sums of |terms| that NumPy takes, sample by sample; `largest_term` against every
term that the gradient sums of keys, dense features and bias consist of.  The first number that is none wins.
"""

import numpy as np
import pytest
import sparse_rows
from sparse_rows import ROWS, SAMPLES

from deshpc.backend.cpu import fm, linear, loss
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.weight_form import WeightForm

DIM, N_DENSE = 5, 2
FORM = WeightForm(Lanes(DIM, "float32", "float64", "int64"), np.float32(0), np.float64(0), DIM)


class Sparse(sparse_rows.Sparse):
    """Rows and samples of those, with dense features."""

    def __init__(self, seed, weighted):
        super().__init__(seed, weighted, "int64", DIM)
        self.dense = np.random.default_rng(seed).standard_normal((SAMPLES, N_DENSE)).astype(np.float32)

    def of_sample(self, i):
        """(w (m), v (m, k), x (m) of the embeddings, xl (m) of the linear weights) in float64."""
        own = slice(self.offsets[i], self.offsets[i + 1])
        weights = self.weights[self.local[own]].astype(np.float64)
        values = np.ones(len(weights)) if self.values is None else self.values[own].astype(np.float64)
        x, xl = (values, values) if values.ndim == 1 else values.T
        return weights[:, 0], weights[:, 1:], x, xl

    def magnitudes(self):
        """(linear, FM), each (largest sum of |terms|, sample)."""
        return linear.magnitude(self.form, self.owned()), fm.magnitude(self.form, self.owned())


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_magnitude_is_no_smaller_than_the_sum_of_any_states_terms(weighted):
    for seed in range(20):
        sparse = Sparse(seed, weighted)
        samples = [sparse.of_sample(i) for i in range(SAMPLES)]
        terms = [(np.abs(w * xl), np.abs(v * x[:, None]), 0.5 * (v * x[:, None]) ** 2) for w, v, x, xl in samples]
        of_linear = np.array([wx.sum() for wx, _, _ in terms])
        of_fm = np.array([max(vx.sum(axis=0).max(initial=0), wx.sum() + squares.sum()) for wx, vx, squares in terms])
        (z, at_z), (c, at_c) = sparse.magnitudes()
        assert z == pytest.approx(of_linear.max(), rel=1e-14) and at_z == of_linear.argmax()
        # A is bounded by lengths of v x: up to the root of k more than its largest coordinate
        assert of_fm.max() * (1 - 1e-14) <= c <= of_fm.max() * DIM**0.5 * (1 + 1e-14)
        assert c >= of_fm[at_c] * (1 - 1e-14)


@pytest.mark.parametrize("column", [0, 3])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_magnitude_finds_what_is_no_finite_number(column, number):
    sparse = Sparse(3, True)
    where = 9  # of six keys
    sparse.local[sparse.local == ROWS - 1] = 0
    sparse.local[sparse.offsets[where + 1] - 1] = ROWS - 1
    sparse.weights[ROWS - 1, column] = number
    sparse.write()
    (z, at_z), (c, at_c) = sparse.magnitudes()
    assert np.isfinite(z) == (column > 0) and (column > 0 or at_z == where)
    assert not np.isfinite(c) and at_c == where


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_largest_term_is_no_smaller_than_any_term_of_a_gradient(weighted):
    rng = np.random.default_rng(7)
    for seed in range(20):
        sparse, g = Sparse(seed, weighted), rng.standard_normal(SAMPLES)
        factors = 2 * rng.standard_normal((N_DENSE, DIM))
        state = np.zeros((SAMPLES, DIM + 1))
        largest = np.full(SAMPLES, np.nan)
        loss.largest_values(sparse.offsets[:-1], sparse.offsets[1:], sparse.values, sparse.dense, largest)
        of_linear, of_fm = [], []
        for i in range(SAMPLES):
            _, v, x, xl = sparse.of_sample(i)
            both = np.abs(np.concatenate([x, xl])).max(initial=0)
            d = sparse.dense[i].astype(np.float64)
            assert largest[i] == max(np.abs(d).max(), both if weighted else 1.0)
            state[i, :DIM] = (v * x[:, None]).sum(axis=0) + d @ factors  # A
            of_dense = np.abs(d[:, None] * (state[i, :DIM] - d[:, None] * factors)).max()
            of_linear.append(abs(g[i]) * max(1.0, both, np.abs(d).max()))  # 1: the bias
            of_keys = max(np.abs(x).max(initial=0) * np.abs(state[i, :DIM]).max(), (x**2).max(initial=0))
            of_fm.append(max(of_linear[-1], abs(g[i]) * max(of_dense, of_keys)))
        term, sample = linear.largest_term(g, largest, 0, SAMPLES)
        assert (term, sample) == (pytest.approx(max(of_linear), rel=1e-15), np.argmax(of_linear))
        bound, sample = fm.largest_term(FORM, state, 0, g, factors, largest, 0, SAMPLES)
        assert bound >= max(of_fm) * (1 - 1e-14)
        begin, end = 3, 8  # a rank's own samples of a whole batch
        part, sample = fm.largest_term(FORM, state, 0, g, factors, largest[begin:end], begin, end)
        assert begin <= sample < end and max(of_fm[begin:end]) * (1 - 1e-14) <= part <= bound


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_largest_term_finds_what_is_no_finite_number(number):
    g, largest, factors = np.linspace(-1, 1, SAMPLES), np.ones(SAMPLES), np.ones((N_DENSE, DIM))
    state = np.ones((SAMPLES, DIM + 1))
    g[6] = number
    for term, sample in (
        linear.largest_term(g, largest, 0, SAMPLES),
        fm.largest_term(FORM, state, 0, g, factors, largest, 0, SAMPLES),
    ):
        assert not np.isfinite(term) and sample == 6
    state[2, 1] = np.inf  # where A is NaN so is the logit, and g with it
    term, sample = fm.largest_term(FORM, state, 0, np.ones(SAMPLES), factors, largest, 0, SAMPLES)
    assert not np.isfinite(term) and sample == 2
