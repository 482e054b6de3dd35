"""FM's pairs and NFM's bi-interaction over pooled embeddings and dense features: by explicit pairs, and by differences."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.nn.pairs import BiInteraction, Pairs

SIZES = [(5, 3, 6, 2), (1, 17, 1, 1), (5, 33, 3, 17), (5, 1, 3, 2), (5, 3, 1, 0), (0, 3, 2, 2)]  # n, k, F, n_dense


def pairs(dim, n_fields, n_dense):
    return lambda backend, values: Pairs(backend, values, "factors", "float64", dim, n_fields, n_dense, 0.1)


def bi_interaction(dim, n_dense):
    return lambda backend, values: BiInteraction(values, "factors", dim, n_dense, 0.1)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, n_fields, n_dense", SIZES)
def test_gradients_of_pairs(n, dim, n_fields, n_dense, fresh):
    inputs = [numbers(n, n_fields * dim), numbers(n, n_dense, seed=2)]
    Case(pairs(dim, n_fields, n_dense), inputs, wanted=(None, 0), fresh=fresh).check()


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, n_fields, n_dense", SIZES)
def test_gradients_of_the_bi_interaction(n, dim, n_fields, n_dense, fresh):
    inputs = [numbers(n, 2 * dim), numbers(n, n_dense, seed=2)]
    Case(bi_interaction(dim, n_dense), inputs, wanted=(None, 0), fresh=fresh).check()


@pytest.mark.parametrize("n, dim, n_fields, n_dense", SIZES)
def test_all_pairs_of_fields_and_dense_features(n, dim, n_fields, n_dense):
    """The pairs inside a field are in |E_f|^2 / 2; its own terms, which come from the rows, are not taken off here."""
    case = Case(pairs(dim, n_fields, n_dense), [numbers(n, n_fields * dim), numbers(n, n_dense, seed=2)], wanted=(None, 0))
    found = case.forward(case.point)[0]
    for i in range(n):
        vectors = list(case.inputs[0][i].reshape(n_fields, dim))
        expected = sum(0.5 * np.dot(one, one) for one in vectors)
        vectors += [x * factors for x, factors in zip(case.inputs[1][i], case.point["factors"], strict=True)]
        expected += sum(np.dot(vectors[a], vectors[b]) for a in range(len(vectors)) for b in range(a))
        assert abs(found[i] - expected) <= 1e-12 * sum(np.dot(one, one) for one in vectors)


@pytest.mark.parametrize("n, dim, n_keys, n_dense", SIZES)
def test_all_pairs_coordinate_by_coordinate(n, dim, n_keys, n_dense):
    v, dense = numbers(n, n_keys, dim), numbers(n, n_dense, seed=2)
    case = Case(bi_interaction(dim, n_dense), [np.hstack([v.sum(axis=1), (v**2).sum(axis=1)]), dense], wanted=(None, 0))
    found = case.forward(case.point)[0]
    for i in range(n):
        vectors = [*v[i], *(x * factors for x, factors in zip(dense[i], case.point["factors"], strict=True))]
        expected = sum((vectors[a] * vectors[b] for a in range(len(vectors)) for b in range(a)), np.zeros(dim))
        assert np.abs(found[i] - expected).max() <= 1e-12 * sum(np.dot(one, one) for one in vectors)
