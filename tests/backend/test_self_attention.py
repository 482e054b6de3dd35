"""Attention between fields, beside NumPy in float64; a sample of numbers that are not finite spoils no other."""

import numpy as np
import pytest

from deshpc.backend.cpu.self_attention import attend


@pytest.mark.parametrize("broken", [None, np.nan, np.inf])
def test_attend(broken):
    samples, fields, heads, width = 4, 3, 2, 2
    rng = np.random.default_rng(3)
    queries, keys, values = (rng.standard_normal((samples * fields, heads * width)) for _ in range(3))
    if broken is not None:
        queries[0, 0] = broken
    shares, result = np.empty((samples, heads, fields, fields)), np.empty_like(queries)
    attend(queries, keys, values, heads, shares, result)
    q, k, v = (one.reshape(samples, fields, heads, width)[broken is not None :].transpose(0, 2, 1, 3) for one in (queries, keys, values))
    weights = np.exp(q @ k.swapaxes(2, 3))
    weights /= weights.sum(axis=3, keepdims=True)
    np.testing.assert_allclose(shares[broken is not None :], weights, rtol=1e-12)
    found = result.reshape(samples, fields, heads, width)[broken is not None :].transpose(0, 2, 1, 3)
    np.testing.assert_allclose(found, weights @ v, rtol=1e-11, atol=1e-13)
