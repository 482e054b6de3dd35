"""Cross networks: DCN's scalars against its recursion, DCN-v2's layers against theirs, gradients by differences."""

import numpy as np
import pytest
from nn.through_tape import WAYS, Case, numbers

from deshpc.nn.cross import CrossLayer, CrossProducts, CrossScalars

SIZES = [(5, 17), (1, 33), (5, 1), (5, 3), (5, 16), (0, 3)]  # samples, columns


def products(columns, layers):
    return lambda backend, values: CrossProducts(backend, values, "cross", columns, 0, layers)


def scalars(columns, layers):
    """CrossScalars, with the weights that CrossProducts would declare."""

    def make(backend, values):
        CrossProducts(backend, values, "cross", columns, 0, layers)
        return CrossScalars(backend, values, "bias", "cross.weights", columns, layers)

    return make


def layer(columns, rank):
    return lambda backend, values: CrossLayer(backend, values, "layer", "float64", columns, rank)


@pytest.mark.parametrize("fresh, narrow", WAYS)
@pytest.mark.parametrize("n, columns", SIZES)
def test_gradients_of_the_products(n, columns, fresh, narrow):
    wanted = (max(1, columns - 2),) if narrow else ()
    Case(products(columns, 3), [numbers(n, columns)], wanted=wanted, fresh=fresh).check()


def test_products_of_an_input_whose_gradient_nobody_wants():
    assert set(Case(products(17, 2), [numbers(5, 17)], wanted=(0,)).check()) == {"cross.weights"}


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("n, columns", [(5, 17), (1, 3), (0, 3)])
def test_gradients_of_the_scalars(n, columns, layers, fresh):
    """By the weights, of which the products are an input of their own here: their share through the biases."""
    Case(scalars(columns, layers), [0.5 * numbers(n, layers + 1)], fresh=fresh).check()


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_scalars_are_the_recursion(layers):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l, and x_L . w_out."""
    x0 = 0.5 * numbers(7, 17)
    case = Case(scalars(17, layers), [np.zeros((7, layers + 1))])
    weights, biases = case.point["cross.weights"], case.point["bias"]
    found = case.forward({**case.point, "input 0": x0 @ weights})[0]
    for i in range(len(x0)):
        x = x0[i]
        for one, bias in zip(weights.T[:layers], biases, strict=True):
            x = x0[i] * np.dot(x, one) + bias + x
        assert abs(found[i] - np.dot(x, weights[:, layers])) <= 1e-12 * np.abs(found).max()


@pytest.mark.parametrize("fresh, narrow", WAYS)
@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("n, columns", SIZES)
def test_gradients_of_a_layer(n, columns, rank, fresh, narrow):
    wanted = max(1, columns - 2) if narrow else None
    inputs = [numbers(n, columns), numbers(n, columns, seed=2)]
    Case(layer(columns, rank), inputs, wanted=(wanted, None), fresh=fresh).check()


@pytest.mark.parametrize("fresh, narrow", WAYS)
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("n, columns", SIZES)
def test_gradients_of_the_first_layer(n, columns, rank, fresh, narrow):
    """Its x is x_0 itself, so both add to one gradient."""
    wanted = (max(1, columns - 2),) if narrow else ()
    Case(layer(columns, rank), [numbers(n, columns)], uses=(0, 0), wanted=wanted, fresh=fresh).check()


@pytest.mark.parametrize("columns", range(30, 36))
def test_any_number_of_columns_may_be_wanted(columns):
    """Vectors of 16 columns: the last one that is wanted lies anywhere in one."""
    for wanted in (1, 15, 16, 17, columns - 1, columns):
        Case(layer(columns, 0), [numbers(3, columns), numbers(3, columns, seed=2)], wanted=(wanted, None)).check()


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("n, columns", SIZES)
def test_a_layer_is_its_formula(n, columns, rank):
    """x_0 * (x W + b) + x."""
    case = Case(layer(columns, rank), [numbers(n, columns), numbers(n, columns, seed=2)])
    x0, x = case.inputs
    weights = case.point["layer.narrow"] @ case.point["layer.wide"] if rank else case.point["layer.weights"]
    expected, found = x0 * (x @ weights + case.point["layer.bias"]) + x, case.forward(case.point)[0]
    assert np.abs(found - expected).max(initial=0) <= 1e-13 * np.abs(expected).max(initial=1)
