"""Kernels around the matrix products of dense layers, against NumPy and the CPU backend.

Shapes: more columns than a block has, and as many; more stretches of rows than a block adds up at once; one column; no sample.
"""

import numpy as np
import pytest
from device_rows import EPS, assert_same_bits, assert_within, devices
from rows_apart import RowsApart

from deshpc.backend.cpu import dense as on_cpu
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.nn.dense import ACTIVATIONS

SHAPES = (67, 35), (65, 32), (603, 1), (0, 3)


def f_of(activation, z):
    """(f(z), f'(z)) float64"""
    if activation == "relu":
        return np.where(z < 0, 0, z), (z > 0).astype(np.float64)
    if activation == "tanh":
        return np.tanh(z), 1 - np.tanh(z) ** 2
    if activation == "sigmoid":
        y = 1 / (1 + np.exp(-z))
        return y, y * (1 - y)
    return z, np.ones_like(z)


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bias_and_activation(few, activation, compute):
    backend, rng, eps, number = CudaBackend(few), np.random.default_rng(1), EPS[compute], ACTIVATIONS.index(activation)
    for n, h in SHAPES:
        matrix, bias = RowsApart(rng, n, h, compute), rng.standard_normal(h).astype(compute)
        whole, y = matrix.on(backend)
        backend.dense.bias_activation(y, backend.array(bias), number)
        result = backend.host(whole)[1 : n + 1, 3 : 3 + h]
        assert_same_bits(backend.host(whole), matrix.with_numbers(result))
        z = matrix.numbers.astype(np.float64) + bias
        exact, slope = f_of(activation, z)
        # z is rounded; exp and tanh are within two units of their last place, a sum and a quotient round once each
        assert_within(result, exact, eps * (np.abs(z) * slope + 4 * np.abs(exact)))
        if activation in ("identity", "relu"):
            expected = matrix.numbers.copy()
            on_cpu.bias_activation(expected, bias, number)
            assert_same_bits(result, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_no_number_stays_none(few, activation):
    backend, special = CudaBackend(few), np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    y = backend.array(special)
    backend.dense.bias_activation(y, backend.array(np.full(4, -0.0, np.float32)), ACTIVATIONS.index(activation))
    result = backend.host(y)[0]
    of_infinity = {"identity": [np.inf, -np.inf], "relu": [np.inf, 0], "tanh": [1, -1], "sigmoid": [1, 0]}[activation]
    assert np.isnan(result[0])
    assert_same_bits(result[1:], np.float32([*of_infinity, 0.5 if activation == "sigmoid" else -0.0]))


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_adjoint_of_an_activation(few, activation, compute):
    rng, number = np.random.default_rng(2), ACTIVATIONS.index(activation)
    backends = [CudaBackend(one) for one in devices(few)]
    for n, h in SHAPES:
        gradient, y = RowsApart(rng, n, h, compute), RowsApart(rng, n, h, compute)
        sums = []
        for backend in backends:
            (whole, of_gradient), (_, of_y) = gradient.on(backend), y.on(backend)
            bias_sum = backend.array(np.full(h, 7, compute))
            backend.dense.activation_adjoint(of_gradient, of_y, number, bias_sum)
            sums.append(backend.host(bias_sum))
            g, one = gradient.numbers, y.numbers.dtype.type(1)
            slopes = {"relu": y.numbers > 0, "tanh": one - y.numbers * y.numbers, "sigmoid": y.numbers * (one - y.numbers)}
            expected = g * slopes[activation] if activation in slopes else g
            assert_same_bits(np.abs(backend.host(whole)), np.abs(gradient.with_numbers(expected)))
            assert (backend.host(whole) == gradient.with_numbers(expected)).all()
        assert all(one.tobytes() == sums[0].tobytes() for one in sums)  # whatever the schedule
        assert_within(sums[0], expected.sum(axis=0, dtype=np.float64), n * EPS[compute] * np.abs(expected).sum(axis=0, dtype=np.float64))


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_dropout_is_that_of_the_cpu(few, compute):
    backend, rng, scale = CudaBackend(few), np.random.default_rng(3), np.dtype(compute).type(1 / 0.7)
    for (n, h), first, threshold in (((67, 35), 0, 19661), ((70, 6), 2**40 + 5, 65535), ((603, 1), 9, 30000), ((5, 4), 1, 0), ((0, 3), 1, 1)):
        matrix, seed, threshold = RowsApart(rng, n, h, compute), np.uint64(2**63 + n), np.uint64(threshold)
        whole, numbers = matrix.on(backend)
        backend.dense.drop(numbers, seed, first, threshold, scale)
        expected = matrix.numbers.copy()
        on_cpu.drop(expected, seed, first, threshold, scale)
        assert_same_bits(backend.host(whole), matrix.with_numbers(expected))
        if n > 60:
            assert abs((expected == 0).mean() - int(threshold) / 65536) < 0.06  # six standard deviations
