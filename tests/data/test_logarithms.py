"""Signed logarithms by table and moments of columns: against Python's math, and the NumPy that a saved model uses."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.data.logarithms import signed_logs
from deshpc.data.moments import Moments, column_moments
from deshpc.data.transform import signed_log

NUMBERS = st.one_of(
    st.integers(-20_000, 20_000).map(float), st.floats(allow_nan=False, allow_infinity=False, width=64), st.just(math.nan)
)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 16_383.0, 16_383.5, 16_384.0, 16_385.0, -16_384.0, 1e308, -1e-308, math.nan]


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, max_size=50))
def test_logarithms_are_those_of_a_saved_model_to_the_bit(numbers):
    x = np.array(numbers + EDGES)
    logs = np.empty((len(x), 3), np.float32)
    signed_logs(x, logs[:, 1])
    missing = np.isnan(x)
    assert np.isnan(logs[missing, 1]).all()
    assert logs[~missing, 1].tobytes() == signed_log(x[~missing]).tobytes()
    expected = [math.copysign(math.log1p(abs(one)), one) for one in x[~missing].tolist()]
    np.testing.assert_allclose(logs[~missing, 1], expected, rtol=1e-7, atol=2e-45)  # of float32, whose smallest number is 1.4e-45
    assert (np.signbit(logs[~missing, 1]) == np.signbit(x[~missing])).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.one_of(st.floats(-700, 700, width=32), st.just(math.nan)), min_size=3, max_size=3), max_size=40))
def test_moments_of_columns(rows):
    matrix = np.array(rows, np.float32).reshape(-1, 3)
    cut, columns = len(matrix) // 3, [Moments() for _ in range(3)]
    for part in (matrix[:cut], matrix[cut:]):
        for one, moments in zip(columns, column_moments(part).tolist(), strict=True):
            one.merge(*moments)
    for column, moments in zip(matrix.T.astype(float), columns, strict=True):
        numbers = column[~np.isnan(column)].tolist()
        assert moments.count == len(numbers)
        if numbers:
            mean = math.fsum(numbers) / len(numbers)
            assert math.isclose(moments.mean, mean, abs_tol=1e-9)
            assert math.isclose(moments.squares, math.fsum((x - mean) ** 2 for x in numbers), rel_tol=1e-9, abs_tol=1e-6)
            assert (moments.low, moments.high) == (min(numbers), max(numbers))
