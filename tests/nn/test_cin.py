"""xDeepFM's compressed interaction network: by explicit sums, and its gradients by differences."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.backend.cpu.backend import CpuBackend
from deshpc.nn.cin import CIN

SIZES = [(5, 3, 6, (4, 3)), (1, 17, 1, (1,)), (5, 1, 3, (5, 1, 2)), (3, 5, 2, (17, 3)), (0, 3, 2, (2, 2))]  # n, k, F, layers


def network(dim, n_fields, layers):
    return lambda backend, values: CIN(backend, values, "cin", dim, n_fields, layers)


@pytest.fixture(params=["at once", "in pieces"])
def pieces(request, monkeypatch):
    if request.param == "in pieces":
        monkeypatch.setattr(CpuBackend, "product_bytes", 8 * 40)  # of a row or two of products, not all of them equally many


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, n_fields, layers", SIZES)
def test_gradients(n, dim, n_fields, layers, fresh, pieces):
    Case(network(dim, n_fields, layers), [numbers(n, n_fields * dim)], fresh=fresh).check()


@pytest.mark.parametrize("n, dim, n_fields, layers", SIZES)
def test_values(n, dim, n_fields, layers, pieces):
    case = Case(network(dim, n_fields, layers), [numbers(n, n_fields * dim)])
    found = case.forward(case.point)[0]
    assert found.shape == (n, sum(layers))
    for sample, embeddings in enumerate(case.inputs[0].reshape(n, n_fields, dim)):
        before, expected = embeddings, []
        for layer, maps in enumerate(layers):
            weights = case.point[f"cin.{layer}.weights"].reshape(len(before), n_fields, maps)
            following = np.zeros((maps, dim))
            for h in range(maps):
                for i in range(len(before)):
                    for f in range(n_fields):
                        following[h] += weights[i, f, h] * before[i] * embeddings[f]
            expected += [one.sum() for one in following]
            before = following
        assert np.abs(found[sample] - expected).max() <= 1e-12 * max(1, np.abs(expected).max())
