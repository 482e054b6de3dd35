"""Samples in memory: compressed sparse rows of hashed keys beside dense features and labels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """n samples with nnz key occurrences in all.

    offsets : (n + 1) int64     sample i holds occurrences offsets[i] .. offsets[i + 1]
    keys    : (nnz) uint64      hash of field and raw value (`hashing.key`); never 0
    fields  : (nnz) uint16      index of the categorical field in the schema
    values  : (nnz) float32, or None when every occurrence has weight 1
    dense   : (n, n_dense) float32   transformed numeric features, in schema order
    labels  : (n) float32       0 or 1
    truth   : (n) float32, or None   the true probability, where the generator knows it
    """

    offsets: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    values: np.ndarray | None
    dense: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    @property
    def n_dense(self):
        return self.dense.shape[1]

    @property
    def keys_per_sample(self):
        """m, the mean number of key occurrences a sample."""
        return len(self.keys) / max(1, len(self))

    def head(self, rows):
        """The first `rows` samples, as views."""
        last = self.offsets[rows]
        return Dataset(
            self.offsets[: rows + 1],
            self.keys[:last],
            self.fields[:last],
            None if self.values is None else self.values[:last],
            self.dense[:rows],
            self.labels[:rows],
            None if self.truth is None else self.truth[:rows],
        )
