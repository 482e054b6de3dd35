"""DLRM's dot products of all pairs: by definition, and their gradients by differences."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.nn.dots import Dots

SIZES = [(5, 3, 6), (1, 17, 1), (5, 33, 3), (5, 1, 17), (0, 3, 2)]  # samples, k, F


def case(n, dim, n_fields, fresh=True, beside=True):
    """z comes from a network, so its rows lie side by side."""
    inputs = [numbers(n, n_fields * dim), numbers(n, dim, seed=2)]
    return Case(lambda backend, values: Dots(backend, "float64", dim, n_fields, beside), inputs, packed=(1,), fresh=fresh)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, n_fields", SIZES)
def test_gradients(n, dim, n_fields, fresh, beside):
    case(n, dim, n_fields, fresh, beside).check()


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("n, dim, n_fields", SIZES)
def test_values(n, dim, n_fields, beside):
    one = case(n, dim, n_fields, beside=beside)
    found = one.forward(one.point)[0]
    assert found.shape == (n, beside * dim + n_fields * (n_fields + 1) // 2)
    for i, (embeddings, z) in enumerate(zip(*one.inputs, strict=True)):
        vectors = [*embeddings.reshape(n_fields, dim), z]
        expected = [*(z if beside else []), *(np.dot(vectors[f], vectors[h]) for f in range(n_fields + 1) for h in range(f))]
        assert np.abs(found[i] - expected).max() <= 1e-13 * np.abs(expected).max()
