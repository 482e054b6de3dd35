"""Pairs of fields: field-aware, field-weighted and field-matrixed factorization machines.

A dense feature is a field of its own behind the others, with x_d f_d for what other fields have of their keys.
"""

import numpy as np

from deshpc.serve.forward.layers import joined

_BYTES = 1 << 23  # of sums of ffm's fields held at a time


class FieldPairs:
    """logit = bias + c + weights . dense + the pairs of all fields, with c = sum of w xl."""

    linear, embeds, own_dims = True, True, False

    def __init__(self, top):
        self._top, self._parameters = top, top.parameters

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield "bias", ()
        yield "linear.weights", (top.n_dense,)

    def pool(self, rows):
        """{"E": (n, F k), "c": (n)} of SampleRows."""
        return {"E": rows.field_sums(rows.scaled, self._top.field_dims), "c": rows.sums(rows.linear_terms)}

    def logit(self, E, c, dense):
        """(n) float64 of pooled rows E (n, F k), c (n) and dense features (n, n_dense)."""
        return self._parameters["bias"] + c + dense @ self._parameters["linear.weights"] + self._pairs(E, dense)

    def _fields(self, E, dense, factors):
        """(n, G, k): E of all fields."""
        of_dense = (dense[:, :, None] * self._parameters[factors]).reshape(len(dense), self._top.n_dense * self._top.dim)
        return joined(E, of_dense).reshape(len(E), fields_of(self._top), self._top.dim)


class FwFM(FieldPairs):
    """The pairs: sum over f > g of r_fg <E_f, E_g>"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        yield "fwfm.weights", (fields_of(top), fields_of(top))
        yield "fwfm.factors", (top.n_dense, top.dim)

    def _pairs(self, E, dense):
        x = self._fields(E, dense, "fwfm.factors")
        met = np.tril(self._parameters["fwfm.weights"], -1) @ x
        return np.einsum("nfc,nfc->n", x, met)


class FmFM(FieldPairs):
    """The pairs: sum over f < g of E_f M_fg E_g"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        for f in range(fields_of(top) - 1):
            yield f"fmfm.{f}.matrices", ((fields_of(top) - 1 - f) * top.dim, top.dim)
        yield "fmfm.factors", (top.n_dense, top.dim)

    def _pairs(self, E, dense):
        x, total = self._fields(E, dense, "fmfm.factors"), np.zeros(len(E))
        for f in range(x.shape[1] - 1):
            after = x[:, f + 1 :].reshape(len(x), -1)
            total += np.einsum("nc,nc->n", x[:, f], after @ self._parameters[f"fmfm.{f}.matrices"])
        return total


class FFM(FieldPairs):
    """The pairs of all keys: those of fields by their sums S_f (G k), less what a key makes with itself.

    S_f = sum of x v over the keys of field f, whose g-th part meets the f-th of S_g;  c = sum w xl - sum |v_f|^2 x^2 / 2
    """

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield "bias", ()
        if top.linear:
            yield "linear.weights", (top.n_dense,)
        yield "ffm.factors", (top.n_dense, fields_of(top) * top.dim)

    def pool(self, rows):
        """{"S": (n, F G k), "c": (n)} of SampleRows."""
        own = rows.scaled.reshape(len(rows.scaled), fields_of(self._top), self._top.dim)[np.arange(len(rows.scaled)), rows.fields]
        c = rows.sums(-np.einsum("jc,jc->j", own, own) / 2)
        if self._top.linear:
            c = c + rows.sums(rows.linear_terms)
        return {"S": rows.field_sums(rows.scaled, self._top.row_dims), "c": c}

    def logit(self, S, c, dense):
        """(n) float64 of pooled rows S (n, F G k), c (n) and dense features (n, n_dense)."""
        wide = dense @ self._parameters["linear.weights"] if self._top.linear else 0.0
        samples = max(1, _BYTES // (8 * fields_of(self._top) ** 2 * self._top.dim))
        parts = [self._pairs(S[i : i + samples], dense[i : i + samples]) for i in range(0, max(1, len(S)), samples)]
        return self._parameters["bias"] + c + wide + np.concatenate(parts)

    def _pairs(self, S, dense):
        top = self._top
        fields, n_fields = fields_of(top), top.n_fields
        of_dense = (dense[:, :, None] * self._parameters["ffm.factors"]).reshape(len(dense), -1)
        sums = joined(S, of_dense).reshape(len(S), fields, fields, top.dim)
        both = np.einsum("nfgc,ngfc->nfg", sums, sums)
        own = np.einsum("nff->nf", both)
        return (both.sum(axis=(1, 2)) - own[:, n_fields:].sum(axis=1)) / 2


def fields_of(top):
    """G: fields that become keys, and dense features."""
    return top.n_fields + top.n_dense
