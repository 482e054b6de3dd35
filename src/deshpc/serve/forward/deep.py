"""A network above pooled embeddings, and what they and their pairs add: Wide & Deep, DeepFM, NFM.

E (n, F k), or of as many columns as the fields' dimensions add up to, holds the sums E_f = sum v x of all fields side by side;  x_0 = [E, dense].
"""

import numpy as np

from deshpc.serve.forward.layers import joined, network, network_shapes, outputs, product
from deshpc.serve.forward.linear import pairs


class Deep:
    """What deep models share: their Top, and embeddings that are pooled by field."""

    linear, embeds, own_dims = False, True, False

    @staticmethod
    def inputs(top):
        """Numbers of x_0."""
        return sum(top.field_dims) + top.n_dense

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter: the bias, and those of w . MLP(x), where x is as long as x_0."""
        yield "bias", ()
        yield from cls._deep_shapes(top, cls.inputs(top))

    @staticmethod
    def _deep_shapes(top, inputs):
        hidden = top.options["hidden"]
        yield from network_shapes(top, "deep", inputs, hidden)
        yield "deep.out.weights", (outputs(inputs, hidden), 1)

    def __init__(self, top):
        self._top, self._parameters = top, top.parameters

    def pool(self, rows):
        """{"E": (n, F k)} of SampleRows."""
        return {"E": rows.field_sums(rows.scaled, self._top.field_dims)}

    def _wide(self, c, dense):
        """(n): bias + c + w_d . dense."""
        return self._parameters["bias"] + c + product(self._top, "wide", dense)

    def _deep(self, x):
        """(n): w . MLP(x)."""
        return product(self._top, "deep.out", network(self._top, "deep", x, self._top.options["hidden"]))


class WideDeep(Deep):
    """logit = bias + c + w_d . dense + w . MLP(x_0), with c = sum w xl"""

    linear, own_dims = True, True

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        yield "wide.weights", (top.n_dense, 1)

    def pool(self, rows):
        """{"E": (n, F k), "c": (n)} of SampleRows."""
        return {**super().pool(rows), "c": rows.sums(rows.linear_terms)}

    def logit(self, E, c, dense):
        """(n) float64 of pooled rows E (n, F k), c (n) and dense features (n, n_dense)."""
        return self._wide(c, dense) + self._deep(joined(E, dense))


class DeepFM(WideDeep):
    """logit = bias + c + w_d . dense + w . MLP(x_0) + |A|^2 / 2 - sum |f_d|^2 dense_d^2 / 2

    with  A = sum_f E_f + sum f_d dense_d,  c = sum w xl - sum |v|^2 x^2 / 2
    """

    own_dims = False

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        yield "fm.factors", (top.n_dense, top.dim)

    def pool(self, rows):
        """{"E": (n, F k), "c": (n)} of SampleRows."""
        return {**super().pool(rows), "c": rows.sums(rows.linear_terms - rows.own_terms)}

    def logit(self, E, c, dense):
        """(n) float64 of pooled rows E (n, F k), c (n) and dense features (n, n_dense)."""
        A = E.reshape(len(E), self._top.n_fields, self._top.dim).sum(axis=1)
        return super().logit(E, c, dense) + pairs(A, dense, self._parameters["fm.factors"])


class NFM(Deep):
    """logit = bias + c + w_d . dense + w . MLP((A^2 - Q) / 2), squares taken coordinate by coordinate

    with  A = sum v x + sum f_d dense_d,  Q = sum v^2 x^2 + sum f_d^2 dense_d^2,  c = sum w xl
    """

    linear = True

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield "bias", ()
        yield from cls._deep_shapes(top, top.dim)
        yield "wide.weights", (top.n_dense, 1)
        yield "fm.factors", (top.n_dense, top.dim)

    def pool(self, rows):
        """{"A": (n, k), "Q": (n, k), "c": (n)} of SampleRows."""
        return {"A": rows.sums(rows.scaled), "Q": rows.sums(np.square(rows.scaled)), "c": rows.sums(rows.linear_terms)}

    def logit(self, A, Q, c, dense):
        """(n) float64 of pooled rows A, Q (n, k), c (n) and dense features (n, n_dense)."""
        factors = self._parameters["fm.factors"]
        total, squares = A + dense @ factors, Q + np.square(dense) @ np.square(factors)
        return self._wide(c, dense) + self._deep((np.square(total) - squares) / 2)
