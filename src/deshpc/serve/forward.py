"""Models in NumPy float64: what becomes of a sample's rows, and of what they are pooled to.

A model is written in two parts, as an operator is (`ops`): `pool` adds up a sample's rows, `logit` does the rest.
FORWARDS names them; an ONNX graph holds the second part (`serve.onnx_graph`).
"""

import numpy as np


class LR:
    """Linear model: logit = bias + c + weights . dense, with c = sum of w xl."""

    def __init__(self, dense):
        """dense : {name: array} of the dense parameters of `ops.linear`"""
        self.bias, self.weights = dense["bias"], dense["linear.weights"]

    def pool(self, offsets, weights, embeddings, x, xl):
        """{"c": (n)} of n samples.

        offsets : (n + 1) int64;  weights, x, xl : (nnz) float64;  embeddings : (nnz, 0)
        """
        return {"c": _sums(weights * xl, offsets)}

    def logit(self, c, dense):
        """(n) float64 of pooled rows c (n) and dense features (n, n_dense)."""
        return self.bias + c + dense @ self.weights


class FM:
    """Factorization machine, docs/method.md: the dense features' factors are added to what the rows are pooled to.

    logit = bias + c + weights . dense - sum |f_d|^2 dense_d^2 / 2 + |A + sum f_d dense_d|^2 / 2
    with  A = sum v x,  c = sum w xl - sum |v|^2 x^2 / 2
    """

    def __init__(self, dense):
        """dense : {name: array} of the dense parameters of `ops.fm`"""
        self.bias, self.weights, self.factors = dense["bias"], dense["fm.weights"], dense["fm.factors"]

    def pool(self, offsets, weights, embeddings, x, xl):
        """{"A": (n, k), "c": (n)} of n samples.

        offsets : (n + 1) int64;  weights, x, xl : (nnz) float64;  embeddings : (nnz, k) float64
        """
        scaled = embeddings * x[:, None]
        squares = np.einsum("jc,jc->j", scaled, scaled)
        return {"A": _sums(scaled, offsets), "c": _sums(weights * xl - squares / 2, offsets)}

    def logit(self, A, c, dense):
        """(n) float64 of pooled rows A (n, k), c (n) and dense features (n, n_dense)."""
        total = A + dense @ self.factors
        squares = np.square(dense) @ np.square(self.factors).sum(axis=1)
        return self.bias + c + dense @ self.weights + (np.square(total).sum(axis=1) - squares) / 2


FORWARDS = {"lr": LR, "fm": FM}
"""By `model.name`."""


def sigmoid(z):
    """1 / (1 + e^-z), without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def _sums(terms, offsets):
    """Sums (n, ...) of terms (nnz, ...) over offsets[i] .. offsets[i + 1]."""
    sums = np.zeros((len(offsets) - 1, *terms.shape[1:]))
    occupied = np.flatnonzero(np.diff(offsets))
    if len(occupied):
        sums[occupied] = np.add.reduceat(terms, offsets[occupied], axis=0)
    return sums
