"""Interactions of embeddings side by side, against NumPy float64 and, where its bits are promised, the CPU backend.

Rows of embeddings lie apart and begin at odd numbers; gradients lie in rows of other numbers, which stay.
"""

import numpy as np
import pytest
from device_rows import DOUBLE, SINGLE, assert_same_bits, assert_within, devices, is_power_of_two
from rows_apart import RowsApart

from deshpc.backend.arguments import Matrix
from deshpc.backend.cpu import interaction as on_cpu
from deshpc.backend.cuda.backend import CudaBackend

KINDS = pytest.mark.parametrize("kind", [SINGLE, DOUBLE], ids=str)


def drawn(rng, kind, *shape):
    return rng.standard_normal(shape).astype(kind.compute)


def exactly(array):
    return array.astype(np.float64)


# ---------------------------------------------------------------------- sums of embeddings


@pytest.mark.parametrize("kind, dim, n_fields, n", [(SINGLE, 16, 3, 37), (DOUBLE, 10, 7, 30), (SINGLE, 1, 2, 300), (SINGLE, 256, 2, 3), (SINGLE, 4, 1, 0)], ids=str)
def test_sums_of_fields_and_their_adjoint(few, kind, dim, n_fields, n):
    backend, rng, form = CudaBackend(few), np.random.default_rng(dim), kind.form(dim)
    x, total = RowsApart(rng, n, n_fields * dim, kind.compute), drawn(rng, kind, n, dim)
    found, expected = backend.array(total), total.copy()
    backend.interaction.sum_fields(form, n_fields, x.on(backend)[1], found)
    on_cpu.sum_fields(form, n_fields, Matrix.of(x.numbers), expected)
    assert_same_bits(backend.host(found), expected)
    terms = exactly(x.numbers).reshape(n, n_fields, dim)
    assert_within(expected, total + terms.sum(axis=1), n_fields * kind.eps * (np.abs(total) + np.abs(terms).sum(axis=1)))

    upstream = drawn(rng, kind, n, dim)
    for fresh in (False, True):
        whole, gradient = x.on(backend)
        backend.interaction.add_to_fields(form, n_fields, backend.array(upstream), fresh, gradient)
        repeated = np.tile(upstream, n_fields)
        assert_same_bits(backend.host(whole), x.with_numbers(repeated if fresh else repeated + x.numbers))


@pytest.mark.parametrize("kind, dim, n", [(SINGLE, 16, 37), (DOUBLE, 10, 30), (SINGLE, 1, 300), (DOUBLE, 256, 3), (SINGLE, 5, 0)], ids=str)
def test_half_squares(few, kind, dim, n):
    backend, rng = CudaBackend(few), np.random.default_rng(dim)
    total, result = drawn(rng, kind, n, dim), drawn(rng, kind, n)
    found = backend.array(result)
    backend.interaction.half_squares(kind.form(dim), backend.array(total), found)
    squares = (exactly(total) ** 2).sum(axis=1) / 2
    # a product, halved exactly, a tree over the coordinates, and a sum
    assert_within(backend.host(found), result + squares, (2 + dim.bit_length()) * kind.eps * (np.abs(result) + squares))
    if is_power_of_two(dim):
        expected = result.copy()
        on_cpu.half_squares(kind.form(dim), total, expected)
        assert_same_bits(backend.host(found), expected)


# ---------------------------------------------------------------------- dot products

DOTS = [  # vectors of one to four numbers a load; more pairs than threads; more than there is room for; a single pair
    (SINGLE, 16, 17, 3, 16), (DOUBLE, 6, 4, 5, 0), (SINGLE, 5, 3, 9, 1), (SINGLE, 2, 160, 1, 2), (DOUBLE, 1, 1, 4, 0), (SINGLE, 8, 2, 0, 8),
]  # fmt: skip


@pytest.mark.parametrize("kind, dim, n_fields, n, column", DOTS, ids=str)
def test_dots_and_their_adjoint(few, kind, dim, n_fields, n, column):
    backend, rng, vectors = CudaBackend(few), np.random.default_rng(n_fields), n_fields + 1
    x, last = RowsApart(rng, n, n_fields * dim, kind.compute), drawn(rng, kind, n, dim)
    result = drawn(rng, kind, n, column + n_fields * vectors // 2 + 1)
    on_last, found, expected = backend.array(last), backend.array(result), result.copy()
    backend.interaction.dots(kind.form(16), n_fields, x.on(backend)[1], on_last, None, found, column)
    padded = -(-vectors // 16) * 16
    on_cpu.dots(kind.form(16), n_fields, Matrix.of(x.numbers), last, np.empty((dim + 1, padded), kind.compute), expected, column)
    assert_same_bits(backend.host(found), expected)
    e = np.concatenate([exactly(x.numbers), exactly(last)], axis=1).reshape(n, vectors, dim)
    greater, lesser = np.tril_indices(vectors, -1)  # (1, 0), (2, 0), (2, 1), ...
    own = slice(column, column + len(greater))
    terms = e[:, greater] * e[:, lesser]
    assert_within(expected[:, own], terms.sum(axis=2), dim * kind.eps * np.abs(terms).sum(axis=2))

    upstream, last_gradient = drawn(rng, kind, *result.shape), drawn(rng, kind, n, dim)
    for fresh in (True, False):
        gradient = RowsApart(rng, n, n_fields * dim, kind.compute)
        whole, of_gradient = gradient.on(backend)
        of_last, cpu_last, cpu_gradient = backend.array(last_gradient), last_gradient.copy(), gradient.with_numbers(gradient.numbers)
        backend.interaction.dots_adjoint(
            kind.form(dim), n_fields, x.on(backend)[1], on_last, backend.array(upstream), column, of_gradient, fresh, of_last
        )
        into = Matrix.of(cpu_gradient[1 : n + 1, 3 : 3 + n_fields * dim])
        on_cpu.dots_adjoint(kind.form(dim), n_fields, Matrix.of(x.numbers), last, upstream, column, into, fresh, cpu_last)
        assert_same_bits(backend.host(whole), cpu_gradient)
        assert_same_bits(backend.host(of_last), cpu_last)
    symmetric = np.zeros((n, vectors, vectors))
    symmetric[:, greater, lesser] = symmetric[:, lesser, greater] = upstream[:, own]
    before = np.concatenate([exactly(gradient.numbers), exactly(last_gradient)], axis=1).reshape(n, vectors, dim)
    after = np.concatenate([backend.host(whole)[1 : n + 1, 3 : 3 + n_fields * dim], cpu_last], axis=1).reshape(n, vectors, dim)
    size = np.abs(before) + np.abs(symmetric) @ np.abs(e)
    assert_within(after, before + symmetric @ e, (vectors + 1) * kind.eps * size)  # a chain over the vectors, and a sum


def test_dots_are_in_the_order_of_the_model(few):
    """Embeddings 2 and 3, and the last vector 5, of one number each."""
    backend, result = CudaBackend(few), np.zeros((1, 3), np.float32)
    found = backend.array(result)
    backend.interaction.dots(
        SINGLE.form(16), 2, backend.array(np.float32([[2, 3]])), backend.array(np.float32([[5]])), None, found, 0
    )
    assert backend.host(found).tolist() == [[6, 10, 15]]


# ---------------------------------------------------------------------- cross networks


@KINDS
@pytest.mark.parametrize("n, d", [(67, 35), (130, 1), (0, 3)])
def test_cross(few, kind, n, d):
    backend, rng, side = CudaBackend(few), np.random.default_rng(d), kind.form(16)
    x0, x = RowsApart(rng, n, d, kind.compute), RowsApart(rng, n, d, kind.compute)
    z, bias = drawn(rng, kind, n, d), drawn(rng, kind, d)
    of_z, of_result = backend.array(z), backend.zeros((n, d), kind.compute)
    backend.interaction.cross(side, x0.on(backend)[1], x.on(backend)[1], of_z, backend.array(bias), of_result)
    result, cpu_z, cpu_result = backend.host(of_result), z.copy(), np.zeros_like(z)
    on_cpu.cross(side, Matrix.of(x0.numbers), Matrix.of(x.numbers), cpu_z, bias, cpu_result)
    assert_same_bits(backend.host(of_z), z + bias)
    assert_same_bits(cpu_z, z + bias)
    whole = d // 16 * 16  # whole vectors of the CPU, in which it fuses, too
    assert_same_bits(result[:, :whole], cpu_result[:, :whole])
    product = x0.numbers.astype(np.longdouble) * (z + bias)
    exact = product + x.numbers
    assert_within(result, exact, kind.eps / 2 * np.abs(exact) + 2.0**-60 * np.abs(product))  # rounded once


@KINDS
@pytest.mark.parametrize("n, d, columns", [(67, 35, 35), (603, 5, 3), (0, 2, 2)])
def test_adjoint_of_cross(few, kind, n, d, columns):
    rng, side = np.random.default_rng(d), kind.form(16)
    x0, z, upstream = RowsApart(rng, n, d, kind.compute), drawn(rng, kind, n, d), drawn(rng, kind, n, d)
    gradient, sums = RowsApart(rng, n, columns, kind.compute), []
    for one in devices(few):
        backend, fresh = CudaBackend(one), len(sums) == 1
        (whole, into), of_z, bias_sum = gradient.on(backend), backend.array(z), backend.array(np.full(d, 7, kind.compute))
        backend.interaction.cross_adjoint(
            side, x0.on(backend)[1], of_z, backend.array(upstream), bias_sum, into, columns, fresh
        )
        sums.append(backend.host(bias_sum))
        slope, of_product = (upstream * z)[:, :columns], upstream * x0.numbers
        assert_same_bits(backend.host(whole), gradient.with_numbers(slope if fresh else slope + gradient.numbers))
        assert_same_bits(backend.host(of_z), of_product)
        assert_same_bits(sums[-1], sums[0])  # whatever the schedule
    size = np.abs(of_product).sum(axis=0, dtype=np.float64)
    assert_within(sums[0], of_product.sum(axis=0, dtype=np.float64), n * kind.eps * size)


@KINDS
@pytest.mark.parametrize("d, layers", [(300, 3), (1, 1), (5, 8)])
def test_constants_of_a_cross_network(few, kind, d, layers):
    backend, rng, width = CudaBackend(few), np.random.default_rng(d), layers + 1
    weights, biases, of_constants = drawn(rng, kind, d, width), drawn(rng, kind, layers, d), drawn(rng, kind, width)
    biases[:, 0] = weights[0] = -0.0
    on_weights, on_constants = backend.array(weights), backend.array(of_constants)
    sums, constants = backend.zeros((width, d), kind.compute), backend.zeros(width, kind.compute)
    of_weights, of_biases = backend.zeros((d, width), kind.compute), backend.zeros((layers, d), kind.compute)
    backend.interaction.cross_constants(on_weights, backend.array(biases), sums, constants)
    backend.interaction.cross_weights_adjoint(sums, on_constants, of_weights)
    backend.interaction.cross_biases_adjoint(on_weights, on_constants, of_biases)
    of_cpu = [np.empty(shape, kind.compute) for shape in ((width, d), width, (d, width), (layers, d))]
    on_cpu.cross_constants(weights, biases, *of_cpu[:2])
    on_cpu.cross_weights_adjoint(of_cpu[0], of_constants, of_cpu[2])
    on_cpu.cross_biases_adjoint(weights, of_constants, of_cpu[3])
    for found, expected in ((sums, of_cpu[0]), (of_weights, of_cpu[2]), (of_biases, of_cpu[3])):
        assert_same_bits(backend.host(found), expected)
    before = np.concatenate([np.zeros((1, d)), np.cumsum(exactly(biases), axis=0)])
    sizes = np.concatenate([np.zeros((1, d)), np.cumsum(np.abs(exactly(biases)), axis=0)])
    bound = (width + d) * kind.eps * (sizes * np.abs(weights.T)).sum(axis=1)
    assert_within(backend.host(constants), (before * weights.T).sum(axis=1), bound)
    slopes = exactly(weights.T) * of_constants[:, None]  # of B_l, a sum of the biases before it
    exact = np.array([slopes[layer + 1 :].sum(axis=0) for layer in range(layers)])
    size = np.array([np.abs(slopes[layer + 1 :]).sum(axis=0) for layer in range(layers)])
    assert_within(of_cpu[3], exact, width * kind.eps * size)


@KINDS
def test_half_differences(few, kind):
    backend, rng = CudaBackend(few), np.random.default_rng(5)
    total, squares = drawn(rng, kind, 67, 5), drawn(rng, kind, 67, 5)
    found = backend.array(squares)
    backend.interaction.half_difference(backend.array(total), found)
    assert_same_bits(backend.host(found), (total * total - squares) * kind.zero.dtype.type(0.5))


@KINDS
@pytest.mark.parametrize("n, layers", [(300, 3), (5, 1), (0, 2)])
def test_scalars_of_a_cross_network(few, kind, n, layers):
    rng, width = np.random.default_rng(layers), layers + 1
    products, constants, logit = drawn(rng, kind, n, width), drawn(rng, kind, width), np.full(n, 7, kind.compute)
    upstream, found = drawn(rng, kind, n), []
    for one in devices(few):
        backend = CudaBackend(one)
        on_products, scalars, of_logit = backend.array(products), backend.array(np.full_like(products, 7)), backend.array(logit)
        backend.interaction.cross_scalars(kind.zero, on_products, backend.array(constants), scalars, of_logit)
        slopes, sums = backend.array(np.full_like(products, 7)), backend.array(np.full(width, 7, kind.compute))
        backend.interaction.cross_scalars_adjoint(kind.zero, on_products, scalars, backend.array(upstream), slopes, sums)
        found.append([backend.host(array) for array in (scalars, of_logit, slopes, sums)])
        for array, same in zip(found[-1], found[0], strict=True):
            assert_same_bits(array, same)  # whatever the schedule
    of_cpu = np.empty_like(products), logit.copy(), np.empty_like(products), np.empty(width, kind.compute)
    on_cpu.cross_scalars(kind.zero, products, constants, *of_cpu[:2])
    on_cpu.cross_scalars_adjoint(kind.zero, products, of_cpu[0], upstream, *of_cpu[2:])
    for array, expected in zip(found[0][:3], of_cpu, strict=False):
        assert_same_bits(array, expected)

    # in float64, by the definition: the gradient of each constant from the factors behind it
    s, a, size = exactly(products), np.ones((n, width)), np.ones((n, width))
    for layer in range(layers):
        a[:, layer + 1] = a[:, layer] * (1 + s[:, layer]) + constants[layer]
        size[:, layer + 1] = size[:, layer] * (1 + np.abs(s[:, layer])) + np.abs(constants[layer])
    exact = a[:, -1] * s[:, -1] + constants[-1]
    bound = size[:, -1] * np.abs(s[:, -1]) + np.abs(constants[-1])
    assert_within(found[0][1], exact, (3 * width + 3) * kind.eps * bound)  # a layer rounds three times
    for layer in range(width):
        factors = np.concatenate([1 + s[:, layer + 1 : -1], s[:, -1:]], axis=1) if layer < layers else np.ones((n, 1))
        sizes = np.concatenate([1 + np.abs(s[:, layer + 1 : -1]), np.abs(s[:, -1:])], axis=1) if layer < layers else np.ones((n, 1))
        terms, of_terms = upstream * factors.prod(axis=1), np.abs(upstream) * sizes.prod(axis=1)
        assert_within(found[0][3][layer], terms.sum(), (n + 2 * width) * kind.eps * of_terms.sum())
