"""What ranks have sent each other, added in rank order, against NumPy, number by number."""

import numpy as np
import pytest
from device_rows import assert_same_bits

from deshpc.backend.cuda.backend import CudaBackend


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_ranks_are_added_in_order(few, dtype):
    backend, random = CudaBackend(few), np.random.default_rng(3)
    backend.rank_sums.prepare()
    for ranks, count in ((2, 0), (2, 1), (3, 255), (5, 257), (17, 3)):
        parts = (random.standard_normal((ranks, count)) * 10.0 ** random.integers(0, 12, (ranks, count))).astype(dtype)
        parts[:, : count // 2 : 7] = -0.0  # which a sum that begins with 0 would lose
        total = backend.array(np.full(count + 1, 7, dtype))
        given = backend.array(parts.reshape(-1))
        backend.rank_sums.add(given, ranks, total[:count])
        expected = parts[0].copy()
        for part in parts[1:]:
            expected = expected + part
        assert_same_bits(backend.host(total), np.append(expected, np.array(7, dtype)))
        assert_same_bits(backend.host(given), parts.reshape(-1))
