"""A cache of three pieces with everything that one may have."""

import numpy as np
import pytest

from deshpc.config import FieldConfig
from deshpc.data import cache
from deshpc.data.cache import CacheWriter
from deshpc.data.dataset import Dataset
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.schema import Schema

ROWS = 9


def small_cache(path):
    """Write it; returns the path."""
    rng, offsets = np.random.default_rng(3), np.array([0, 2, 2, 5, 6, 9, 10, 11, 13, 14])
    schema = Schema.of_fields((FieldConfig("a"), FieldConfig("b", "multi", weight_separator=":", linear_pooling="mean"), FieldConfig("x", "dense")), "y")
    fields = rng.integers(0, 2, 14).astype(np.uint64)
    keys = rng.integers(1, 2**63, 14, dtype=np.uint64) & ~np.uint64(0xFFFF << 32) | fields << np.uint64(32)
    data = Dataset(
        offsets, keys, fields.astype(np.uint16), rng.random((14, 2), np.float32),
        rng.random((ROWS, 1), np.float32), (np.arange(ROWS) % 2).astype(np.float32), rng.random(ROWS, np.float32),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, CacheWriter(path, schema) as writer:
        patch.setattr(cache, "PIECE_ROWS", 4)
        writer.add(data)
        writer.finish(None, False, BadRows("error"), {"x": {"missing": 0, "present": ROWS, "min": 0.0, "max": 1.0, "mean": 0.5}})
    return path
