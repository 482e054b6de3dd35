"""Dense layers and activations: their gradients by differences, and their values by definition."""

import numpy as np
import pytest
from nn.through_tape import WAYS, Case, numbers

from deshpc.nn.dense import ACTIVATIONS, Activation, Completion, Dense, Product

FUNCTIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z > 0, z, 0),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


def dense(activation, inputs, outputs, bias=True):
    return lambda backend, values: Dense(backend, values, "layer", inputs, outputs, activation, bias)


@pytest.mark.parametrize("fresh, narrow", WAYS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_a_dense_layer(activation, fresh, narrow):
    for n, inputs, outputs in [(5, 17, 3), (1, 33, 1), (5, 1, 33), (0, 3, 17)]:
        wanted = (max(1, inputs - 2),) if narrow else ()
        Case(dense(activation, inputs, outputs), [numbers(n, inputs)], wanted=wanted, fresh=fresh).check()


@pytest.mark.parametrize("fresh", [True, False])
def test_gradients_of_a_dense_layer_without_bias(fresh):
    gradients = Case(dense("identity", 17, 3, bias=False), [numbers(5, 17)], fresh=fresh).check()
    assert set(gradients) == {"layer.weights", "input 0"}


def test_an_input_whose_gradient_nobody_wants():
    gradients = Case(dense("tanh", 17, 3), [numbers(5, 17)], wanted=(0,)).check()
    assert set(gradients) == {"layer.weights", "layer.bias"}


def test_a_layer_of_no_inputs_is_its_bias():
    """Such as that of the dense features where there are none."""
    case = Case(dense("identity", 0, 3), [numbers(5, 0)], wanted=(0,))
    assert np.array_equal(case.forward(case.point)[0], np.tile(case.point["layer.bias"], (5, 1)))
    assert case.check()["layer.weights"].shape == (0, 3)


ROWS = {"the first": slice(0, 7), "none": slice(3, 3), "a part": slice(5, 9), "some": np.array([1, 4, 5, 8])}


def product(rows):
    """The product with some rows of the weights of a layer of 9 inputs and 3 outputs."""
    return lambda backend, values: Product(values.dense("weights", 9, 3), rows)


def completion(activation, first, bias=True):
    """The layer from its product with the first rows, and its remaining inputs."""

    def make(backend, values):
        weights, name = values.dense("weights", 9, 3), values.zeros("bias", 3) if bias else None
        return Completion(backend, weights, first, name, activation)

    return make


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("rows", ROWS)
def test_gradients_of_a_layers_product_with_some_rows(rows, fresh):
    count = len(np.arange(9)[ROWS[rows]])
    for n in (0, 1, 5):
        gradients = Case(product(ROWS[rows]), [numbers(n, count)], wanted=(None if count else 0,), fresh=fresh).check()
        assert np.abs(np.delete(gradients["weights"], np.arange(9)[ROWS[rows]], axis=0)).max(initial=0) <= 1e-15


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(
    "activation, first, bias", [*((one, first, True) for one in ACTIVATIONS for first in (0, 7, 9)), ("identity", 7, False)]
)
def test_gradients_of_a_layers_completion(activation, first, bias, fresh):
    for n in (0, 1, 5):
        inputs = [numbers(n, 3), numbers(n, 9 - first, seed=2)]
        Case(completion(activation, first, bias), inputs, wanted=(None, 0), fresh=fresh).check()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_of_parts_complete_to_the_layer(activation):
    x, total = numbers(5, 9), 0.0
    done = Case(completion(activation, 7), [numbers(5, 3), x[:, 7:]], wanted=(None, 0))
    for rows in (slice(0, 3), slice(3, 3), np.array([3, 5]), np.array([4, 6])):
        part = Case(product(rows), [x[:, rows]], wanted=(None,) if x[:, rows].size else (0,))
        total = total + part.forward({**part.point, "weights": done.point["weights"]})[0]
    found = done.forward({**done.point, "input 0": total})[0]
    expected = FUNCTIONS[activation](x @ done.point["weights"] + done.point["bias"])
    assert np.abs(found - expected).max() <= 1e-14 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("fresh, narrow", WAYS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_an_activation(activation, fresh, narrow):
    for n, columns in [(5, 17), (1, 3), (5, 33), (5, 1), (0, 3)]:
        wanted = (max(1, columns - 2),) if narrow else ()
        Case(lambda backend, values: Activation(backend, activation), [numbers(n, columns)], wanted=wanted, fresh=fresh).check()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values(activation):
    x = np.concatenate([4 * numbers(7, 17), np.zeros((1, 17)), np.full((1, 17), -0.0)])
    for make, weights, bias in [
        (dense(activation, 17, 5), None, None),
        (lambda backend, values: Activation(backend, activation), np.eye(17), np.zeros(17)),
    ]:
        case = Case(make, [x])
        weights = case.point["layer.weights"] if weights is None else weights
        bias = case.point["layer.bias"] if bias is None else bias
        expected = FUNCTIONS[activation](x @ weights + bias)
        # rounding of sums of 17 products, of up to 20
        assert np.abs(case.forward(case.point)[0] - expected).max() <= 1e-14 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("activation, low, high", [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_large_numbers_neither_overflow_nor_warn(activation, low, high):
    x = np.array([[-1e4, -800.0, 800.0, 1e4]])
    case = Case(lambda backend, values: Activation(backend, activation), [x])
    assert case.forward(case.point)[0].tolist() == [[low, low, high, high]]
    assert not case.gradients()["input 0"].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_no_number_stays_none(activation):
    x = np.array([[1.0, np.nan, -1.0]])
    case = Case(lambda backend, values: Activation(backend, activation), [x])
    assert np.isnan(case.forward(case.point)[0]).tolist() == [[False, True, False]]
