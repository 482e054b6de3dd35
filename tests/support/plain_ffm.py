"""A field-aware factorization machine in float64 from its definition: dictionaries for tables, every pair of features, one sample at a time.

    logit = bias + sum_j w_j xl_j + sum_{i<j} <v_{i, f_j}, v_{j, f_i}> x_i x_j       over all keys and all dense features of a sample

f_j : the field of feature j; of dense feature d it is n_fields + d.  Rules, values and first weights are those of `plain_model`.
"""

import numpy as np
from plain_model import PlainModel, first_weights


class PlainFFM(PlainModel):
    """Rows are [w, v_0 .. v_{G-1}], G vectors of k numbers each."""

    def __init__(self, k, n_fields, linear, *arguments):
        """linear : whether features have a linear weight;  arguments : of PlainModel after dim"""
        *_, dense = arguments
        self.k, self.n_fields, self.linear, self.fields_of = k, n_fields, linear, {}
        super().__init__((n_fields + len(dense)) * k, *arguments)

    def step(self, batch):
        """One update by a global batch; returns the summed loss."""
        self.fields_of.update(zip(batch.keys.tolist(), batch.fields.tolist(), strict=True))
        loss, gradients = 0.0, {}
        for key, field in self.fields_of.items():
            if key not in self.weights:
                self.fields[key], self.counts[key] = field, 0
                self.weights[key] = first_weights(self.seed, key, self.dim, self.std)
                self.states[key] = self._first_states(self.weights[key], True)
        dense_gradient, bias_gradient = np.zeros_like(self.dense), np.zeros(1)
        for i in range(len(batch)):
            keys, x, xl, weights = self._features(batch, i)
            fields = self._of_features(keys)
            logit, label = self.logit(fields, x, xl, weights), float(batch.labels[i])
            one, g = self.loss(logit, label)
            loss += one
            if self.reduction == "mean":
                g /= len(batch)
            own = np.zeros_like(weights)
            own[:, 0] = g * xl * self.linear
            vectors, slopes = self._vectors(weights), self._vectors(own)
            for a in range(len(x)):
                for b in range(len(x)):
                    if a != b:
                        slopes[a, fields[b]] += g * x[a] * x[b] * vectors[b, fields[a]]
            for key, one in zip(keys, own, strict=False):
                gradients[key] = gradients.get(key, 0.0) + one
            dense_gradient += own[len(keys) :]
            bias_gradient += g
        self._update_all(gradients, dense_gradient, bias_gradient, batch.step)
        return loss

    def logits(self, batch):
        """Logits (B); keys without a row contribute nothing."""
        found = []
        for i in range(len(batch)):
            keys, x, xl, weights = self._features(batch, i, np.zeros(1 + self.dim))
            found.append(self.logit(self._of_features(keys), x, xl, weights))
        return np.array(found)

    def logit(self, fields, x, xl, weights):
        """The logit of one sample: fields, x, xl (m), weights (m, 1 + G k)."""
        vectors, total = self._vectors(weights), float(self.bias[0]) + self.linear * float(weights[:, 0] @ xl)
        for a in range(len(x)):
            for b in range(a):
                total += x[a] * x[b] * float(vectors[a, fields[b]] @ vectors[b, fields[a]])
        return total

    def _of_features(self, keys):
        return [self.fields_of.get(key, 0) for key in keys] + [self.n_fields + d for d in range(len(self.dense))]

    def _vectors(self, weights):
        return weights[:, 1:].reshape(len(weights), self.dim // self.k, self.k)
