"""Models that learn, in float64: whole batches at a time, gradients by complex steps, adagrad.

The derivative of an analytic f is Im f(w + ih) / h for h so small that nothing is lost: activations are tanh.  So a formula is written once, and no
gradient at all.  Shares no code with deshpc.
"""

import numpy as np
from plain_model import first_weights, values_of

STEP = 1e-40


class PlainTrained:
    """A subclass has `logits_of(inputs)`, complex, and `losses(logits, labels)`, their complex sum."""

    def __init__(self, values, n_fields, used_fields, dim, seed, std):
        """values : {name: array}, dense parameters
        used_fields : numbers of those that have keys; weights of the others' inputs have no gradient
        """
        self.values = {name: np.array(one, complex) for name, one in values.items()}
        self.n_fields, self.dim, self.seed, self.std = n_fields, dim, seed, std
        self.unused = [f for f in range(n_fields) if f not in used_fields]
        self.places, self.rows = {}, np.zeros((0, 1 + dim), complex)  # [w, v] of each key
        self.sums = {name: np.ones(one.shape) for name, one in self.values.items()}
        self.sums_of_rows = np.zeros((0, 1 + dim))

    def logits(self, batch):
        """Keys without a row contribute nothing."""
        return self.logits_of(Inputs(self, batch)).real

    def step(self, batch, rate):
        """One step of adagrad on the summed loss, sums beginning at 1; the loss before it."""
        for key in batch.keys.tolist():
            if key not in self.places:
                self.places[key] = len(self.places)
                self.rows = np.vstack([self.rows, first_weights(self.seed, key, self.dim, self.std)])
                self.sums_of_rows = np.vstack([self.sums_of_rows, np.ones(1 + self.dim)])
        inputs = Inputs(self, batch)

        def loss():
            return self.losses(self.logits_of(inputs), batch.labels)

        width, touched = self.rows.shape[1], sorted({self.places[key] for key in batch.keys.tolist()})
        before = loss().real
        of_rows = slopes(loss, self.rows, [place * width + c for place in touched for c in range(width)])
        gradients = {name: slopes(loss, one, self._learnt(one, inputs.x0().shape[1])) for name, one in self.values.items()}
        for array, sums, gradient in (
            (self.rows, self.sums_of_rows, of_rows), *((self.values[name], self.sums[name], one) for name, one in gradients.items())
        ):  # fmt: skip
            sums += gradient**2
            array -= rate * gradient / (np.sqrt(sums) + 1e-8)
        return before

    def _learnt(self, array, width):
        """Places of the elements that have a gradient.  width : of x_0"""
        if array.ndim < 2 or len(array) != width:
            return range(array.size)
        unused = {row for f in self.unused for row in range(f * self.dim, (f + 1) * self.dim)}
        return [i for i in range(array.size) if i // array.shape[1] not in unused]

    def layers(self, name, x):
        """The last of the layers tanh(x W + b) of that name."""
        layer = 0
        while f"{name}.{layer}.weights" in self.values:
            x = np.tanh(x @ self.values[f"{name}.{layer}.weights"] + self.values[f"{name}.{layer}.bias"])
            layer += 1
        return x

    def net(self, name, x):
        """Layers, and an output without bias."""
        return self.layers(name, x) @ self.values[f"{name}.out.weights"][:, 0]


class Inputs:
    """A batch, by a model's rows: x of each key's in each field and sample, and one by one.

    sums (n, F, rows);  linear (n, rows), of the weights;  values (n, F, L, rows), lengths (n, F);  dense (n, n_dense)
    """

    def __init__(self, model, batch):
        self.model, self.dense, (x, xl) = model, batch.dense.astype(float), values_of(batch)
        shape, self.lengths = (len(batch), model.n_fields), np.zeros((len(batch), model.n_fields), int)
        self.linear, self.values = np.zeros((len(batch), len(model.places))), np.zeros((*shape, 8, len(model.places)))
        for i in range(len(batch)):
            for j in range(batch.begins[i], batch.ends[i]):
                f, place = int(batch.fields[j]), model.places.get(int(batch.keys[j]))
                if place is not None:
                    self.values[i, f, self.lengths[i, f], place] = x[j]
                    self.linear[i, place] += xl[j]
                self.lengths[i, f] += 1
        self.sums = self.values.sum(axis=2)

    def embeddings(self):
        """(n, F, k)."""
        return self.sums @ self.model.rows[:, 1:]

    def x0(self):
        return np.hstack([self.embeddings().reshape(len(self.sums), -1), self.dense])

    def wide(self):
        """(n) sum of w xl."""
        return self.linear @ self.model.rows[:, 0]


def slopes(loss, array, places):
    """The gradient of loss() by an array, which is 0 but at `places`."""
    flat, gradient = array.reshape(-1), np.zeros(array.size)
    for i in places:
        flat[i] += STEP * 1j
        gradient[i] = loss().imag / STEP
        flat[i] = flat[i].real
    return gradient.reshape(array.shape)


def log_losses(logits, labels):
    """Their sum, without those whose label is not known (NaN)."""
    known = ~np.isnan(labels)
    return (np.log(1 + np.exp(logits[known])) - labels[known].astype(float) * logits[known]).sum()
