"""The end of a tower: its parts' sum and the bias."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.nn.logit import Logit


def logit(backend, values):
    return Logit(values)


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
