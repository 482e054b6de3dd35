"""FM's pairs and NFM's bi-interaction over pooled embeddings and dense features: by explicit pairs, and by differences."""

import numpy as np
import pytest
from nn.through_tape import Case, numbers

from deshpc.nn.pairs import BiInteraction, Pairs, SumFields

SIZES = [(5, 3, 6, 2), (1, 17, 1, 1), (5, 33, 3, 17), (5, 1, 3, 2), (5, 3, 1, 0), (0, 3, 2, 2)]  # n, k, F, n_dense


def sum_fields(dim, n_fields):
    return lambda backend, values: SumFields(backend, "float64", dim, n_fields)


def pairs(dim, n_dense, columns=slice(None)):
    """Pairs, with the factors that a model declares."""
    return lambda backend, values: Pairs(backend, values.uniform("factors", 0.1, n_dense, dim), "float64", dim, columns)


def bi_interaction(dim, n_dense):
    return lambda backend, values: BiInteraction(backend, values.uniform("factors", 0.1, n_dense, dim), dim)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, n_fields, _", SIZES)
def test_the_sum_of_fields_and_its_gradient(n, dim, n_fields, _, fresh):
    case = Case(sum_fields(dim, n_fields), [numbers(n, n_fields * dim)], fresh=fresh)
    expected = sum(case.inputs[0][:, f * dim : (f + 1) * dim] for f in range(n_fields))
    assert np.abs(case.forward(case.point)[0] - expected).max(initial=0) <= 1e-14 * n_fields
    case.check()


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, _, n_dense", SIZES)
def test_gradients_of_pairs(n, dim, _, n_dense, fresh):
    Case(pairs(dim, n_dense), [numbers(n, dim), numbers(n, n_dense, seed=2)], wanted=(None, 0), fresh=fresh).check()


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("begin, end", [(0, 3), (3, 4), (4, 17), (0, 17)])
def test_pairs_of_some_columns(begin, end, fresh):
    """Factors of other columns have no gradient."""
    inputs = [numbers(5, end - begin), numbers(5, 2, seed=2)]
    gradients = Case(pairs(17, 2, slice(begin, end)), inputs, wanted=(None, 0), fresh=fresh).check()
    assert np.abs(np.delete(gradients["factors"], np.arange(begin, end), axis=1)).max(initial=0) <= 1e-15


def test_pairs_of_columns_add_up():
    sums, dense = numbers(5, 17), numbers(5, 2, seed=2)
    whole = Case(pairs(17, 2), [sums, dense], wanted=(None, 0))
    parts = 0.0
    for begin, end in ((0, 4), (4, 5), (5, 17)):
        part = Case(pairs(17, 2, slice(begin, end)), [sums[:, begin:end], dense], wanted=(None, 0))
        parts = parts + part.forward({**part.point, "factors": whole.point["factors"]})[0]
    assert np.abs(parts - whole.forward(whole.point)[0]).max() <= 1e-13


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("n, dim, n_fields, n_dense", SIZES)
def test_gradients_of_the_bi_interaction(n, dim, n_fields, n_dense, fresh):
    inputs = [numbers(n, 2 * dim), numbers(n, n_dense, seed=2)]
    Case(bi_interaction(dim, n_dense), inputs, wanted=(None, 0), fresh=fresh).check()


@pytest.mark.parametrize("n, dim, n_fields, n_dense", SIZES)
def test_all_pairs_of_fields_and_dense_features(n, dim, n_fields, n_dense):
    """The pairs inside a field are in |E_f|^2 / 2; its own terms, which come from the rows, are not taken off here."""
    embeddings = numbers(n, n_fields, dim)
    case = Case(pairs(dim, n_dense), [embeddings.sum(axis=1), numbers(n, n_dense, seed=2)], wanted=(None, 0))
    found = case.forward(case.point)[0]
    for i in range(n):
        vectors = list(embeddings[i])
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
