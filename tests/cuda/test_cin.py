"""Kernels of the compressed interaction network, against NumPy's own subscripts."""

import numpy as np
import pytest
from device_rows import EPS, assert_same_bits, assert_within
from rows_apart import RowsApart

from deshpc.backend.cuda.backend import CudaBackend

SHAPES = pytest.mark.parametrize("compute, n, dim, fields, h", [("float32", 7, 4, 5, 6), ("float64", 33, 3, 2, 5), ("float32", 0, 4, 3, 2), ("float64", 300, 1, 1, 1)])


def exactly(array):
    return array.astype(np.float64)


@SHAPES
def test_embeddings_are_turned(few, compute, n, dim, fields, h):
    backend, rng = CudaBackend(few), np.random.default_rng(n)
    embeddings, first = RowsApart(rng, n, fields * dim, compute), backend.array(np.full((n * dim, fields), 7, compute))
    backend.cin.by_coordinate(embeddings.on(backend)[1], first)
    turned = embeddings.numbers.reshape(n, fields, dim).transpose(0, 2, 1).reshape(n * dim, fields)
    assert_same_bits(backend.host(first), turned)
    target = RowsApart(rng, n, fields * dim, compute)
    for add in (False, True):
        whole, part = target.on(backend)
        backend.cin.by_field(first, part, add)
        assert_same_bits(backend.host(whole), target.with_numbers(embeddings.numbers + target.numbers if add else embeddings.numbers))


@SHAPES
def test_products_of_maps_and_fields(few, compute, n, dim, fields, h):
    backend, rng, rows, eps = CudaBackend(few), np.random.default_rng(n + 1), n * dim, EPS[compute]
    maps, first, upstream, held = (rng.standard_normal((rows, width)).astype(compute) for width in (h, fields, h * fields, fields))
    on_maps, on_first, on_upstream, of_first = (backend.array(one) for one in (maps, first, upstream, held))
    out, of_maps = backend.array(np.full_like(upstream, 7)), backend.array(np.full_like(maps, 7))
    backend.cin.products(on_maps, on_first, out)
    assert_same_bits(backend.host(out), (maps[:, :, None] * first[:, None]).reshape(rows, h * fields))
    backend.cin.products_adjoint(on_upstream, on_maps, on_first, of_maps, of_first)
    terms = exactly(upstream).reshape(rows, h, fields) * first[:, None]
    assert_within(backend.host(of_maps), terms.sum(axis=2), (1 + fields) * eps * np.abs(terms).sum(axis=2))
    terms = exactly(upstream).reshape(rows, h, fields) * maps[:, :, None]
    assert_within(backend.host(of_first), held + terms.sum(axis=1), (2 + h) * eps * (np.abs(held) + np.abs(terms).sum(axis=1)))


@SHAPES
def test_sums_over_coordinates(few, compute, n, dim, fields, h):
    backend, rng = CudaBackend(few), np.random.default_rng(n + 2)
    maps, result = rng.standard_normal((n * dim, h)).astype(compute), RowsApart(rng, n, h, compute)
    (whole, out), on_maps = result.on(backend), backend.array(maps)
    backend.cin.sum_coordinates(on_maps, out)
    found = backend.host(whole)[1 : n + 1, 3 : 3 + h]
    assert_same_bits(backend.host(whole), result.with_numbers(found))
    terms = exactly(maps).reshape(n, dim, h)
    assert_within(found, terms.sum(axis=1), dim * EPS[compute] * np.abs(terms).sum(axis=1))
    spread = np.repeat(result.numbers, dim, axis=0)
    for add in (True, False):
        on_maps = backend.array(maps)
        backend.cin.spread_coordinates(result.on(backend)[1], on_maps, add)
        assert_same_bits(backend.host(on_maps), maps + spread if add else spread)
