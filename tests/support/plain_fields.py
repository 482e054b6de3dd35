"""Models of fields in float64 from their definitions, whole batches at a time: see `plain_trained`, of which they have gradients, and `plain_deep`, in loops.

    wide_deep   bias + wide + w_d . dense + net(x_0)
    fwfm        bias + wide + w_d . dense + sum over f > g of r_fg <E_f, E_g>, E of a dense feature: x_d f_d
    fmfm        bias + wide + w_d . dense + sum over f < g of E_f M_fg E_g
    autoint     bias + w . (fields after attention) + net(x_0)
    din         bias + net(x_0), where E of a sequence is sum of a(e_i, t) e_i, or of the softmax of a
"""

import numpy as np
from plain_trained import PlainTrained, log_losses


class PlainFields(PlainTrained):
    """options : of [model], and attended : [(sequence, target)], numbers of fields;  others : of PlainTrained"""

    def __init__(self, options, *arguments):
        super().__init__(*arguments)
        self.options, self.losses = options, log_losses

    def logits_of(self, inputs):
        return self.values["bias"] + getattr(self, f"_{self.options['name']}")(inputs)

    def _wide_deep(self, inputs):
        return inputs.wide() + inputs.dense @ self.values["wide.weights"].ravel() + self.net("deep", inputs.x0())

    def _fwfm(self, inputs):
        E, r = self._fields(inputs, "fwfm.factors"), np.tril(self.values["fwfm.weights"], -1)
        return self._linear(inputs) + np.einsum("nfk,ngk,fg->n", E, E, r)

    def _fmfm(self, inputs):
        E, total = self._fields(inputs, "fmfm.factors"), self._linear(inputs)
        for f in range(E.shape[1] - 1):
            others = self.values[f"fmfm.{f}.matrices"].reshape(-1, self.dim, self.dim)  # of each field behind f, transposed
            total = total + np.einsum("nk,gjk,ngj->n", E[:, f], others, E[:, f + 1 :])
        return total

    def _autoint(self, inputs):
        E, heads = self._fields(inputs, "attention.factors"), self.options["attention_heads"]
        for layer, width in enumerate(self.options["attention_layers"]):
            query, key, value, rest = (E @ self.values[f"attention.{layer}.{part}"] for part in ("queries", "keys", "values", "rest"))
            E = rest
            for begin in range(0, width, width // heads):
                at = np.s_[:, :, begin : begin + width // heads]
                shares = np.exp(query[at] @ key[at].transpose(0, 2, 1))
                E[at] += shares / shares.sum(axis=2, keepdims=True) @ value[at]
            E = E * (E.real > 0)
        return E.reshape(len(E), -1) @ self.values["attention.out.weights"][:, 0] + self.net("deep", inputs.x0())

    def _din(self, inputs):
        E = inputs.embeddings()
        for number, (sequence, target) in enumerate(self.options["attended"]):
            e = inputs.values[:, sequence] @ self.rows[:, 1:]  # (n, L, k), zeros behind the last
            t, there = np.broadcast_to(E[:, target, None], e.shape), np.arange(e.shape[1]) < inputs.lengths[:, sequence, None]
            a = self.net(f"attention.{number}", np.concatenate([e, t, e - t, e * t], axis=2))
            if self.options["attention_weights"] == "softmax":
                a = np.exp(a) * there
                a = a / np.where(there.any(axis=1), a.sum(axis=1), 1)[:, None]
            else:
                a = a + self.values[f"attention.{number}.out.bias"]
            E[:, sequence] = (a[:, :, None] * e).sum(axis=1)
        return self.net("deep", np.hstack([E.reshape(len(E), -1), inputs.dense]))

    def _fields(self, inputs, factors):
        """E (n, F + n_dense, k), dense features behind the others."""
        return np.concatenate([inputs.embeddings(), inputs.dense[:, :, None] * self.values[factors]], axis=1)

    def _linear(self, inputs):
        return inputs.wide() + inputs.dense @ self.values["linear.weights"].ravel()
