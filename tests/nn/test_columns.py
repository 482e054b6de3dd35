"""Columns of an array, and arrays side by side: values and gradients."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.nn.columns import Beside, Columns


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, begin, end", [(5, 0, 3), (5, 2, 17), (1, 7, 8), (0, 1, 2)])
def test_columns(n, begin, end, fresh):
    case = Case(lambda backend, values: Columns(begin, end), [numbers(n, 17)], fresh=fresh)
    assert np.array_equal(case.forward(case.point)[0], case.inputs[0][:, begin:end])
    gradient = case.check()["input 0"]
    assert np.abs(np.delete(gradient, np.arange(begin, end), axis=1)).max(initial=0) <= 1e-15


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, columns", [(5, (3, 17)), (1, (1, 1)), (0, (2, 3))])
def test_beside(n, columns, fresh):
    case = Case(lambda backend, values: Beside(), [numbers(n, columns[0]), numbers(n, columns[1], seed=2)], fresh=fresh)
    assert np.array_equal(case.forward(case.point)[0], np.hstack(case.inputs))
    case.check()
