"""The end of a tower: its parts' sum and the bias; the sum alone; dense features' own weights."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.nn.logit import Logit, Sum, Wide


def logit(backend, values):
    return Logit(backend, values)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_gradients(n, fresh):
    inputs = [numbers(n), numbers(n, 1, seed=2), numbers(n, seed=3)]
    gradients = Case(logit, inputs, fresh=fresh).check()
    assert gradients["input 1"].shape == (n, 1)


def test_parts_that_nobody_asks_of_or_that_come_twice():
    inputs = [numbers(5), numbers(5, 1, seed=2)]
    assert set(Case(logit, inputs, uses=(0, 1, 1), wanted=(0, None)).check()) == {"bias", "input 1"}


def test_values():
    case = Case(logit, [numbers(5), numbers(5, 1, seed=2)])
    assert np.allclose(case.forward(case.point)[0], case.inputs[0] + case.inputs[1][:, 0] + case.point["bias"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_sum_without_a_bias(n, fresh):
    case = Case(lambda backend, values: Sum(), [numbers(n), numbers(n, 1, seed=2)], fresh=fresh)
    assert np.allclose(case.forward(case.point)[0], case.inputs[0] + case.inputs[1][:, 0], rtol=0, atol=1e-15)
    assert set(case.check()) == {"input 0", "input 1"}


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, columns", [(5, 3), (1, 17), (5, 0), (0, 3)])
def test_weights_of_dense_features(n, columns, fresh):
    case = Case(lambda backend, values: Wide(values, "wide", columns), [numbers(n, columns)], wanted=(0,), fresh=fresh)
    expected = [sum(x * w for x, w in zip(row, case.point["wide"], strict=True)) for row in case.inputs[0]]
    assert np.allclose(case.forward(case.point)[0], expected, rtol=0, atol=1e-14)
    case.check()
