"""The three forms of values that occurrences may have, inside kernels and outside, against plain NumPy indexing."""

import numpy as np
import pytest

from deshpc.backend.cpu.values import embedding_value, linear_value
from deshpc.backend.values import value_shape, value_width
from deshpc.jit import kernel


@kernel
def read_all(values, n, zero, found):
    """found (n, 3): value of the embedding, value of the linear weight, width."""
    for j in range(n):
        found[j, 0] = embedding_value(values, j, zero)
        found[j, 1] = linear_value(values, j, zero)
        found[j, 2] = value_width(values)


@pytest.mark.parametrize("compute", [np.float32, np.float64])
@pytest.mark.parametrize("width", [0, 1, 2])
def test_each_occurrence_has_its_two_values(width, compute):
    n, numbers = 7, np.random.default_rng(1).standard_normal((7, 2)).astype(np.float32)
    values = [None, numbers[:, 0].copy(), numbers][width]
    expected = [np.ones((n, 2)), numbers[:, [0, 0]], numbers][width]
    found = np.full((n, 3), np.nan)
    read_all(values, n, compute(0), found)
    assert np.array_equal(found[:, :2], expected)
    assert (found[:, 2] == width).all() and value_width(values) == width
    assert width == 0 or np.empty(value_shape(values, n)).shape == values.shape


def test_values_with_gaps_are_refused():
    """Kernels read values as flat memory: a column of a table would be read wrongly."""
    with pytest.raises(TypeError, match="C-contiguous"):
        read_all(np.ones((3, 2), np.float32)[:, 0], 3, np.float32(0), np.empty((3, 3)))
