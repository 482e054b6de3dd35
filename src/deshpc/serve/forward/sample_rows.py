"""The rows of samples, and how they are added up."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class SampleRows:
    """The rows of n samples, one for each occurrence of a key that the model knows.

    offsets : (n + 1) int64    sample i has the rows offsets[i] .. offsets[i + 1], in the order of their fields
    fields  : (nnz) uint16
    weights, embeddings : (nnz), (nnz, k) float64;  weights (nnz, 0) or k = 0 where the model has none
    x, xl   : (nnz) float64    weights of the embedding and of the linear weight
    values  : (n, F) int64     how many values each field has, known to the model or not
    """

    offsets: np.ndarray
    fields: np.ndarray
    weights: np.ndarray
    embeddings: np.ndarray
    x: np.ndarray
    xl: np.ndarray
    values: np.ndarray | None = None

    @cached_property
    def scaled(self):
        """(nnz, k): v x."""
        return self.embeddings * self.x[:, None]

    @property
    def linear_terms(self):
        """(nnz): w xl."""
        return self.weights * self.xl

    @property
    def own_terms(self):
        """(nnz): |v|^2 x^2 / 2, what FM's pairs have too much."""
        return np.einsum("jc,jc->j", self.scaled, self.scaled) / 2

    def apart(self, terms, field, length):
        """(n, length, k): terms (nnz, k) of a field one by one, in their order; zeros behind them."""
        own = np.flatnonzero(self.fields == field)
        samples = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))[own]
        places = np.arange(len(own)) - np.searchsorted(samples, samples)
        found = np.zeros((len(self.offsets) - 1, length, terms.shape[1]))
        found[samples, places] = terms[own]
        return found

    def sums(self, terms):
        """(n, ...): terms (nnz, ...) added up over each sample."""
        return _sums(terms, self.offsets)

    def field_sums(self, terms, dims):
        """(n, sum of dims): terms (nnz, k) added up over each field of each sample, the first dims[f] columns of each side by side."""
        samples, n_fields, width = len(self.offsets) - 1, len(dims), terms.shape[1]
        places = np.repeat(np.arange(samples) * n_fields, np.diff(self.offsets)) + self.fields
        sums = _sums(terms, np.searchsorted(places, np.arange(samples * n_fields + 1)))
        sums = sums.reshape(samples, n_fields * width)
        if all(dim == width for dim in dims):
            return sums
        return sums[:, np.concatenate([f * width + np.arange(dim) for f, dim in enumerate(dims)])]


def _sums(terms, offsets):
    """Sums (n, ...) of terms (nnz, ...) over offsets[i] .. offsets[i + 1]."""
    sums = np.zeros((len(offsets) - 1, *terms.shape[1:]))
    occupied = np.flatnonzero(np.diff(offsets))
    if len(occupied):
        sums[occupied] = np.add.reduceat(terms, offsets[occupied], axis=0)
    return sums
