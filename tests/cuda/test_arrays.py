"""Arithmetic on whole arrays on a device, against NumPy in the type's own arithmetic: the same bits, but for sums.

Matrices are parts of larger ones, and views of a single column, which vectors of other columns surround.
"""

import numpy as np
import pytest
from device_rows import EPS, assert_same_bits, assert_within, devices
from rows_apart import RowsApart

from deshpc.backend.cuda.backend import CudaBackend

TYPES = pytest.mark.parametrize("compute", ["float32", "float64"])
SHAPES = (67, 35), (300, 1), (0, 3), (3, 0)


@TYPES
def test_numbers_are_filled_and_put(few, compute):
    backend, rng = CudaBackend(few), np.random.default_rng(1)
    for n, h in SHAPES:
        for source_type in {"float32", compute}:
            source, target = RowsApart(rng, n, h, source_type), RowsApart(rng, n, h, compute)
            for add, factor in ((False, 1.0), (True, 1.0), (True, -0.3), (False, 2.5)):
                whole, part = target.on(backend)
                backend.arrays.put(source.on(backend)[1], part, add, factor)
                numbers = np.dtype(compute).type(factor) * source.numbers.astype(compute)
                assert_same_bits(backend.host(whole), target.with_numbers(target.numbers + numbers if add else numbers))
        whole, part = target.on(backend)
        backend.arrays.fill(part, 3)
        assert_same_bits(backend.host(whole), target.with_numbers(3))


@TYPES
def test_vectors_are_filled_and_put(few, compute):
    backend, numbers = CudaBackend(few), np.random.default_rng(2).standard_normal(300).astype(compute)
    target, source = backend.array(numbers), backend.array(numbers[:200])
    backend.arrays.put(source, target[50:250], add=True)
    backend.arrays.fill(target[:50], 0)
    expected = numbers.copy()
    expected[50:250] += numbers[:200]
    expected[:50] = 0
    assert_same_bits(backend.host(target), expected)
    one = backend.array(np.array(2, compute))  # an array without dimensions
    backend.arrays.put(backend.array(np.array(3, compute)), one, add=True)
    assert backend.host(one) == 5


@TYPES
def test_rows_are_added(few, compute):
    backend, rng = CudaBackend(few), np.random.default_rng(3)
    for r, n, h in ((20, 67, 35), (0, 5, 2), (4, 4, 1)):
        rows, source, target = rng.permutation(n)[:r], RowsApart(rng, r, h, compute), RowsApart(rng, n, h, compute)
        whole, part = target.on(backend)
        backend.arrays.add_rows(source.on(backend)[1], backend.array(rows), part)
        expected = target.numbers.copy()
        expected[rows] += source.numbers
        assert_same_bits(backend.host(whole), target.with_numbers(expected))
    vector = backend.array(np.arange(5, dtype=compute))
    backend.arrays.add_rows(backend.array(np.array([10, 20], compute)), backend.array(np.array([4, 1])), vector)
    assert backend.host(vector).tolist() == [0, 21, 2, 3, 14]


@TYPES
def test_products(few, compute):
    backend, rng = CudaBackend(few), np.random.default_rng(4)
    for n, h in SHAPES:
        a, b, out = (RowsApart(rng, n, h, compute) for _ in range(3))
        of_rows, of_columns = RowsApart(rng, n, 1, compute), rng.standard_normal(h).astype(compute)
        of_a = a.on(backend)[1]
        for other, factor in ((b.on(backend)[1], b.numbers), (of_rows.on(backend)[1], of_rows.numbers), (backend.array(of_columns), of_columns)):
            whole, part = out.on(backend)
            backend.arrays.multiply(of_a, other, part)
            assert_same_bits(backend.host(whole), out.with_numbers(a.numbers * factor))
        whole, part = out.on(backend)
        backend.arrays.multiply(part, b.on(backend)[1], part)  # in place
        assert_same_bits(backend.host(whole), out.with_numbers(out.numbers * b.numbers))
        for first in (a, of_rows):
            whole, part = out.on(backend)
            backend.arrays.subtract_product(first.on(backend)[1], b.on(backend)[1], part)
            assert_same_bits(backend.host(whole), out.with_numbers(out.numbers - first.numbers * b.numbers))


@TYPES
def test_sums_of_columns(few, compute):
    rng = np.random.default_rng(5)
    backends = [CudaBackend(one) for one in devices(few)]
    for n, h in ((603, 35), (1, 1), (70, 1), (0, 3)):
        x, weights, of_rows = (RowsApart(rng, n, width, compute) for width in (h, h, 1))
        for factor in (None, weights, of_rows):
            found = []
            for backend in backends:
                sums = backend.array(np.full(h, 7, compute))
                backend.arrays.column_sums(x.on(backend)[1], sums, None if factor is None else factor.on(backend)[1])
                found.append(backend.host(sums))
                assert_same_bits(found[-1], found[0])  # whatever the schedule
            terms = x.numbers.astype(np.float64) * (1 if factor is None else factor.numbers)
            assert_within(found[0], terms.sum(axis=0), (n + 1) * EPS[compute] * np.abs(terms).sum(axis=0))


@TYPES
def test_products_of_rows(few, compute):
    backend, rng = CudaBackend(few), np.random.default_rng(6)
    for n, h in ((13, 70), (9, 1), (0, 2)):
        a, b, out = (RowsApart(rng, n, width, compute) for width in (h, h, 1))
        whole, part = out.on(backend)
        backend.arrays.row_products(a.on(backend)[1], b.on(backend)[1], part, -0.5)
        terms = a.numbers.astype(np.float64) * b.numbers
        found = backend.host(whole)
        assert_same_bits(found, out.with_numbers(backend.host(part)))
        assert_within(backend.host(part), -0.5 * terms.sum(axis=1, keepdims=True), (h + 6) * EPS[compute] * np.abs(terms).sum(axis=1, keepdims=True))
