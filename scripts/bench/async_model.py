"""A factorization machine and DeepFM in NumPy, as workers of a parameter server compute them: gradients from pulled weights.

    logit = b + sum y w + 1/2 (|A|^2 - sum x^2 |v|^2) [+ MLP(E_1 .. E_F)],    A = sum x v,  E_f = sum over the field's x v

x and y are the values beside a key for its embedding and for its linear weight.  Losses are summed over a batch, as deshpc sums them
for Adagrad; layers start as its layers do (Glorot's uniform numbers), embeddings normal, all else 0.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import expit


class Weights(NamedTuple):
    """linear (n) and embeddings (n, k) of n rows;  dense : [bias (1), then weights (inputs, outputs) and bias (outputs) of each layer]

    Gradients and Adagrad's accumulators have the same form.
    """

    linear: np.ndarray
    embeddings: np.ndarray
    dense: list


class LocalBatch(NamedTuple):
    """Samples as matrices over their distinct rows.

    rows (n) : their numbers in the tables
    linear, embedding (B, n) : y and x;  by_field (B F, n) : x, a line for each field of each sample
    labels (B)
    """

    rows: np.ndarray
    linear: csr_matrix
    embedding: csr_matrix
    by_field: csr_matrix
    labels: np.ndarray


class Samples:
    """A deshpc Dataset without dense features, whose keys are numbers of rows: places in `known`, (R) sorted keys."""

    def __init__(self, dataset, known, fields):
        self.labels, self._offsets, self._fields, self._n_fields = dataset.labels, dataset.offsets, dataset.fields, fields
        self._rows = np.searchsorted(known, dataset.keys)
        values = np.ones(len(dataset.keys), np.float32) if dataset.values is None else dataset.values
        self._x, self._y = values.T if values.ndim == 2 else (values, values)

    def __len__(self):
        return len(self.labels)

    def batch(self, samples):
        """The LocalBatch of samples (B) by their numbers."""
        begins, lengths = self._offsets[samples], self._offsets[samples + 1] - self._offsets[samples]
        occurrences = np.arange(lengths.sum()) + np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
        rows, columns = np.unique(self._rows[occurrences], return_inverse=True)
        owners = np.repeat(np.arange(len(samples)), lengths)

        def matrix(values, lines, count):
            return csr_matrix((values[occurrences], (lines, columns)), (count, len(rows)))

        lines = owners * self._n_fields + self._fields[occurrences]
        return LocalBatch(
            rows, matrix(self._y, owners, len(samples)), matrix(self._x, owners, len(samples)),
            matrix(self._x, lines, len(samples) * self._n_fields), self.labels[samples],
        )  # fmt: skip


class Model:
    """fields : F;  dim : k;  hidden : widths of the hidden layers, none for a factorization machine"""

    def __init__(self, fields, dim, hidden=()):
        self.dim = dim
        self._widths = [(before, after) for before, after in zip((fields * dim, *hidden), (*hidden, 1), strict=True)] if hidden else []

    def first_weights(self, rows, std, bias, generator):
        """Weights of `rows` rows in float32, as training begins: embeddings of standard deviation `std`."""
        dense = [np.full(1, bias, np.float32)]
        for before, after in self._widths:
            bound = np.sqrt(6 / (before + after))
            dense += [generator.uniform(-bound, bound, (before, after)).astype(np.float32), np.zeros(after, np.float32)]
        return Weights(np.zeros(rows, np.float32), std * generator.standard_normal((rows, self.dim), np.float32), dense)

    def logits(self, batch, weights):
        """(B) of a LocalBatch by the Weights of its rows."""
        return self._forward(batch, weights)[0]

    def gradients(self, batch, weights):
        """Weights of the gradients of the batch's summed loss."""
        logits, sums, layers = self._forward(batch, weights)
        slopes = (expit(logits) - batch.labels).astype(weights.linear.dtype)
        squares = batch.embedding.multiply(batch.embedding).T @ slopes
        embeddings = batch.embedding.T @ (slopes[:, None] * sums) - squares[:, None] * weights.embeddings
        dense, slope = [], slopes[:, None]
        for number in reversed(range(len(layers))):
            dense = [layers[number].T @ slope, slope.sum(0), *dense]
            slope = slope @ weights.dense[1 + 2 * number].T
            if number:
                slope *= layers[number] > 0
        if layers:
            embeddings += batch.by_field.T @ slope.reshape(-1, self.dim)
        return Weights(batch.linear.T @ slopes, embeddings, [slopes.sum(keepdims=True), *dense])

    def _forward(self, batch, weights):
        """logits (B), A (B, k), and the inputs of each layer (B, inputs)."""
        sums = batch.embedding @ weights.embeddings
        squares = batch.embedding.multiply(batch.embedding) @ np.square(weights.embeddings).sum(1)
        logits = weights.dense[0] + batch.linear @ weights.linear + 0.5 * (np.square(sums).sum(1) - squares)
        if not self._widths:
            return logits, sums, []
        layers = [(batch.by_field @ weights.embeddings).reshape(len(batch.labels), -1)]
        for number in range(len(self._widths)):
            outputs = layers[-1] @ weights.dense[1 + 2 * number] + weights.dense[2 + 2 * number]
            layers.append(np.maximum(outputs, 0) if number + 1 < len(self._widths) else outputs)
        return logits + layers.pop()[:, 0], sums, layers
