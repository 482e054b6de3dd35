"""A table as it was parsed: hashed keys and raw numbers by column, before any fitted transform."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Categorical:
    """One key a sample.

    keys : (n) uint64
    """

    keys: np.ndarray


@dataclass(frozen=True)
class Multi:
    """Any number of keys a sample, compressed sparse rows.

    offsets : (n + 1) int64    sample i holds keys[offsets[i]:offsets[i + 1]]
    keys    : (nnz) uint64
    pooling : "sum" gives every key weight 1, "mean" 1 / (keys of the sample in this field)
    """

    offsets: np.ndarray
    keys: np.ndarray
    pooling: str


@dataclass(frozen=True)
class Bucket:
    """One number a sample, to become a key once its boundaries are known.

    numbers : (n) float64    NaN where missing
    """

    numbers: np.ndarray


@dataclass(frozen=True)
class Columns:
    """n parsed samples.

    key_fields   : one column for each of the schema's key fields
    dense_fields : (n) float64 for each of the schema's dense fields, NaN where missing
    labels       : (n) float32, 0 or 1
    """

    key_fields: tuple[Categorical | Multi | Bucket, ...]
    dense_fields: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)
