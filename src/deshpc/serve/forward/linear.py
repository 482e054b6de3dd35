"""The models without a network: logistic regression and the factorization machine."""

import numpy as np


class LR:
    """Linear model: logit = bias + c + weights . dense, with c = sum of w xl."""

    linear, embeds, own_dims = True, False, False

    @staticmethod
    def shapes(top):
        """(name, shape) of each dense parameter."""
        yield "bias", ()
        yield "linear.weights", (top.n_dense,)

    def __init__(self, top):
        parameters = top.parameters
        self._bias, self._weights = parameters["bias"], parameters["linear.weights"]

    def pool(self, rows):
        """{"c": (n)} of SampleRows."""
        return {"c": rows.sums(rows.linear_terms)}

    def logit(self, c, dense):
        """(n) float64 of pooled rows c (n) and dense features (n, n_dense)."""
        return self._bias + c + dense @ self._weights


class FM:
    """Factorization machine, docs/method.md: the dense features' factors are added to what the rows are pooled to.

    logit = bias + c + weights . dense - sum |f_d|^2 dense_d^2 / 2 + |A + sum f_d dense_d|^2 / 2
    with  A = sum v x,  c = sum w xl - sum |v|^2 x^2 / 2
    """

    linear, embeds, own_dims = True, True, False

    @staticmethod
    def shapes(top):
        """(name, shape) of each dense parameter."""
        yield "bias", ()
        yield "fm.weights", (top.n_dense,)
        yield "fm.factors", (top.n_dense, top.dim)

    def __init__(self, top):
        parameters = top.parameters
        self._bias, self._weights, self._factors = parameters["bias"], parameters["fm.weights"], parameters["fm.factors"]

    def pool(self, rows):
        """{"A": (n, k), "c": (n)} of SampleRows."""
        return {"A": rows.sums(rows.scaled), "c": rows.sums(rows.linear_terms - rows.own_terms)}

    def logit(self, A, c, dense):
        """(n) float64 of pooled rows A (n, k), c (n) and dense features (n, n_dense)."""
        return self._bias + c + dense @ self._weights + pairs(A, dense, self._factors)


def pairs(A, dense, factors):
    """(n): |A + sum f_d dense_d|^2 / 2 - sum |f_d|^2 dense_d^2 / 2, the pairs but for the rows' own terms."""
    total = A + dense @ factors
    return (np.square(total).sum(axis=1) - np.square(dense) @ np.square(factors).sum(axis=1)) / 2
