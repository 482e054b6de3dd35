"""Models with attention: DIN, of a sequence's values to a target, and AutoInt, between fields."""

import numpy as np

from deshpc.serve.forward.deep import Deep
from deshpc.serve.forward.layers import activated, joined

_BYTES = 1 << 23  # of the layers above pairs, or of shares, held at a time


class DIN(Deep):
    """logit = bias + w . MLP(x_0), in which a sequence's sum is that of a_i e_i over its values e_i, with a_i = MLP([e_i, t, e_i - t, e_i * t])"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        for number in range(len(top.attended)):
            inputs = 4 * top.dim
            for i, width in enumerate(top.options["attention_hidden"]):
                yield f"attention.{number}.{i}.weights", (inputs, width)
                yield f"attention.{number}.{i}.bias", (width,)
                inputs = width
            yield f"attention.{number}.out.weights", (inputs, 1)
            if top.options["attention_weights"] == "plain":
                yield f"attention.{number}.out.bias", (1,)

    def pool(self, rows):
        """{"E": (n, F k), "values_0": (n, L, k), .., "lengths": (n, S)} of SampleRows; E has zeros for those sequences."""
        E, found = super().pool(rows)["E"], {}
        for number, one in enumerate(self._top.attended):
            found[f"values_{number}"] = rows.apart(rows.scaled, one.field, one.length)
            E[:, self._columns(one.field)] = 0
        return {"E": E, **found, "lengths": rows.values[:, [one.field for one in self._top.attended]].astype(np.float64)}

    def logit(self, E, lengths, dense, **values):
        """(n) float64 of pooled rows E (n, F k), values of sequences (n, L, k), how many each sample has, and dense features (n, n_dense)."""
        E = E.copy()
        for number, one in enumerate(self._top.attended):
            E[:, self._columns(one.field)] = self._sums(number, values[f"values_{number}"], E[:, self._columns(one.target)], lengths[:, number])
        return self._parameters["bias"] + self._deep(joined(E, dense))

    def _sums(self, number, values, targets, lengths):
        """(n, k): the values that are there, weighed and added up."""
        there = np.arange(values.shape[1]) < lengths[:, None]
        samples, _ = np.nonzero(there)
        e, t = values[there], targets[samples]
        weights = np.zeros(there.shape)
        weights[there] = self._numbers(f"attention.{number}", np.concatenate([e, t, e - t, e * t], axis=1))
        if self._top.options["attention_weights"] == "softmax":
            weights = np.where(there, np.exp(weights - np.max(weights, axis=1, keepdims=True, initial=-np.inf, where=there)), 0) if there.size else weights
            weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return np.einsum("nl,nlk->nk", weights, values)

    def _numbers(self, name, x):
        of, activate = self._parameters, activated(self._top)
        for i in range(len(self._top.options["attention_hidden"])):
            x = activate(x @ of[f"{name}.{i}.weights"] + of[f"{name}.{i}.bias"])
        return x @ of[f"{name}.out.weights"][:, 0] + of.get(f"{name}.out.bias", np.zeros(1))

    def _columns(self, field):
        return slice(field * self._top.dim, (field + 1) * self._top.dim)


class AutoInt(Deep):
    """logit = bias + w_a . (fields after attention) + w . MLP(x_0);  e' = relu(sum_j softmax_j(<q, k_j>) v_j + e W_r), head by head"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        yield "attention.factors", (top.n_dense, top.dim)
        width = top.dim
        for i, outputs in enumerate(top.options["attention_layers"]):
            for part in ("queries", "keys", "values", "rest"):
                yield f"attention.{i}.{part}", (width, outputs)
            width = outputs
        yield "attention.out.weights", ((top.n_fields + top.n_dense) * width, 1)

    def logit(self, E, dense):
        """(n) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        top = self._top
        fields = top.n_fields + top.n_dense
        samples = max(1, _BYTES // (8 * max(1, fields * fields * top.options["attention_heads"])))
        some = [self._of_some(E[i : i + samples], dense[i : i + samples]) for i in range(0, max(1, len(E)), samples)]
        return self._parameters["bias"] + np.concatenate(some) + self._deep(joined(E, dense))

    def _of_some(self, E, dense):
        top, of, heads = self._top, self._parameters, self._top.options["attention_heads"]
        n, fields = len(E), top.n_fields + top.n_dense
        x = np.concatenate([E.reshape(n, top.n_fields, top.dim), dense[:, :, None] * of["attention.factors"]], axis=1)
        for i in range(len(top.options["attention_layers"])):
            query, key, value = (
                (x @ of[f"attention.{i}.{part}"]).reshape(n, fields, heads, -1).transpose(0, 2, 1, 3) for part in ("queries", "keys", "values")
            )
            dots = query @ key.transpose(0, 1, 3, 2)
            shares = np.exp(dots - dots.max(axis=3, keepdims=True, initial=-np.inf))
            result = (shares / shares.sum(axis=3, keepdims=True)) @ value
            x = np.maximum(result.transpose(0, 2, 1, 3).reshape(n, fields, -1) + x @ of[f"attention.{i}.rest"], 0)
        return x.reshape(n, -1) @ of["attention.out.weights"][:, 0]
