"""The compressed interaction network's kernels against NumPy float64: rows apart, sizes that fill no block, no samples.

Numbers are small whole ones, so that every sum is exact.
"""

import numpy as np
import pytest

from deshpc.backend.cuda.backend import CudaBackend

SHAPES = [(3, 4, 5, 7), (1, 1, 1, 1), (13, 5, 3, 9), (0, 4, 3, 2)]  # n, k, F, H


def drawn(rng, *shape):
    return rng.integers(-9, 9, shape).astype(np.float64)


class On:
    """A backend, its `cin`, and arrays on it of type `kind`; `apart` gives one whose rows lie apart."""

    def __init__(self, device, kind):
        self.backend, self.kind = CudaBackend(device), kind
        self.cin = self.backend.cin

    def __call__(self, host):
        return self.backend.array(np.ascontiguousarray(host, self.kind))

    def apart(self, host):
        """(the whole array, the part of it that holds `host`)."""
        whole = self(np.pad(host, ((0, 1), (2, 1)), constant_values=77))
        return whole, whole[: len(host), 2 : 2 + host.shape[1]]

    def assert_equal(self, array, expected):
        np.testing.assert_array_equal(self.backend.host(array), expected.astype(self.kind))

    def assert_beside(self, whole, expected):
        """The part is `expected`, and nothing was written beside it."""
        self.assert_equal(whole, np.pad(expected, ((0, 1), (2, 1)), constant_values=77))


@pytest.fixture(params=["float32", "float64"])
def on(request, few):
    return On(few, request.param)


@pytest.mark.parametrize("n, k, fields, width", SHAPES)
def test_embeddings_are_turned_and_turned_back(on, n, k, fields, width):
    rng = np.random.default_rng(1)
    embeddings, before = drawn(rng, n, fields * k), drawn(rng, n, fields * k)
    turned = np.array([[[embeddings[i, f * k + c] for f in range(fields)] for c in range(k)] for i in range(n)]).reshape(n * k, fields)
    first = on(drawn(rng, n * k, fields))
    on.cin.by_coordinate(on.apart(embeddings)[1], first)
    on.assert_equal(first, turned)
    for add in (False, True):
        whole, part = on.apart(before)
        on.cin.by_field(on(turned), part, add)
        on.assert_beside(whole, embeddings + before * add)


@pytest.mark.parametrize("n, k, fields, width", SHAPES)
def test_products_and_their_adjoint(on, n, k, fields, width):
    rng, rows = np.random.default_rng(2), n * k
    maps, first, upstream = drawn(rng, rows, width), drawn(rng, rows, fields), drawn(rng, rows, width * fields)
    out = on(drawn(rng, rows, width * fields))
    on.cin.products(on(maps), on(first), out)
    on.assert_equal(out, np.array([np.outer(maps[r], first[r]).ravel() for r in range(rows)]).reshape(rows, width * fields))
    before = drawn(rng, rows, fields)
    of_maps, of_first = on(drawn(rng, rows, width)), on(before)
    on.cin.products_adjoint(on(upstream), on(maps), on(first), of_maps, of_first)
    of_both = upstream.reshape(rows, width, fields)
    on.assert_equal(of_maps, np.array([of_both[r] @ first[r] for r in range(rows)]).reshape(rows, width))
    on.assert_equal(of_first, before + np.array([of_both[r].T @ maps[r] for r in range(rows)]).reshape(rows, fields))


@pytest.mark.parametrize("n, k, fields, width", SHAPES)
def test_sums_of_coordinates_and_their_adjoint(on, n, k, fields, width):
    rng = np.random.default_rng(3)
    maps, gradient, before = drawn(rng, n * k, width), drawn(rng, n, width), drawn(rng, n * k, width)
    whole, part = on.apart(drawn(rng, n, width))
    on.cin.sum_coordinates(on(maps), part)
    on.assert_beside(whole, np.array([maps[i * k : (i + 1) * k].sum(axis=0) for i in range(n)]).reshape(n, width))
    for add in (False, True):
        of_maps = on(before)
        on.cin.spread_coordinates(on.apart(gradient)[1], of_maps, add)
        on.assert_equal(of_maps, np.repeat(gradient, k, axis=0) + before * add)
