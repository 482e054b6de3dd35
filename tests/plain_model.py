"""LR and FM in float64 from their definitions: dictionaries for tables, every pair of features, one sample at a time.

    logit = bias + sum_j w_j x_j + sum_{i<j} <v_i, v_j> x_i x_j       over all keys and all dense features of a sample
    dw_j = g x_j,  dv_j = g x_j (sum_i v_i x_i - v_j x_j)             g = p - y, divided by B for the mean
    sgd: w -= rate g;  adagrad: s += g^2, w -= rate g / (sqrt(s) + epsilon)

LR is the case of embeddings of no numbers.  Shares no code with deshpc.
"""

import math

import numpy as np

_64 = 2**64


def mix64(z):
    """The output function of SplitMix64, on a Python integer."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % _64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % _64
    return z ^ z >> 31


def fold(state, word):
    """Fold a word into a state: the next output of SplitMix64 whose state is their exclusive or."""
    return mix64(((state ^ word) + 0x9E3779B97F4A7C15) % _64)


def first_weights(seed, key, dim, std):
    """[w, v_1 .. v_dim] of a new row: w = 0, v_c uniform from the top 24 bits of (seed, key, c), in float32 steps."""
    scale = np.float32(math.sqrt(3.0) * std)
    tops = [fold(fold(seed, key), column) >> 40 for column in range(dim)]
    return np.array([0.0] + [float(np.float32((top - 8388607.5) / 8388608) * scale) for top in tops])


def pairwise_logit(x, weights):
    """Logit without bias of one sample: x (m), weights (m, 1 + dim) = [w, v]."""
    products = (weights[:, 1:] * x[:, None]) @ (weights[:, 1:] * x[:, None]).T
    return weights[:, 0] @ x + products[np.triu_indices(len(x), 1)].sum()


class PlainModel:
    """Rows in dictionaries by key: fields, counts, steps, and weights and accumulators (1 + dim)."""

    def __init__(self, dim, optimizer, rate, reduction, seed, std, dense, accumulator=0.1, epsilon=1e-8):
        """dense : (n_dense, 1 + dim), the first weights of the dense features, which are features like any key."""
        self.dim, self.optimizer, self.rate, self.reduction = dim, optimizer, rate, reduction
        self.seed, self.std, self.accumulator, self.epsilon = seed, std, accumulator, epsilon
        self.fields, self.counts, self.steps, self.weights, self.accumulators = {}, {}, {}, {}, {}
        self.dense, self.bias = dense.astype(np.float64), np.zeros(1)
        self.dense_accumulators, self.bias_accumulator = np.full(dense.shape, accumulator), np.full(1, accumulator)

    def logits(self, batch):
        """Logits (B); keys without a row contribute nothing."""
        unseen = np.zeros(1 + self.dim)
        return np.array([self._logit(*self._features(batch, i, unseen)[1:]) for i in range(len(batch))])

    def step(self, batch):
        """One update by a global batch; returns the summed log-loss."""
        for key, field in zip(batch.keys.tolist(), batch.fields.tolist(), strict=True):
            if key not in self.weights:
                self.fields[key], self.counts[key] = field, 0
                self.weights[key] = first_weights(self.seed, key, self.dim, self.std)
                self.accumulators[key] = np.full(1 + self.dim, self.accumulator)
        loss, gradients = 0.0, {}
        dense_gradient, bias_gradient = np.zeros_like(self.dense), np.zeros(1)
        for i in range(len(batch)):
            keys, x, weights = self._features(batch, i)
            logit, label = self._logit(x, weights), float(batch.labels[i])
            loss += np.logaddexp(0.0, logit) - label * logit
            g = 1.0 / (1.0 + math.exp(-logit)) - label
            if self.reduction == "mean":
                g /= len(batch)
            v = weights[:, 1:]
            own = np.column_stack([g * x, (g * x)[:, None] * (x @ v - v * x[:, None])])
            for key, one in zip(keys, own, strict=False):  # keys first, then dense features
                gradients[key] = gradients.get(key, 0.0) + one
            dense_gradient += own[len(keys) :]
            bias_gradient += g
        for key, gradient in gradients.items():
            self._update(self.weights[key], self.accumulators[key], gradient)
            self.counts[key] += 1
            self.steps[key] = batch.step
        self._update(self.dense, self.dense_accumulators, dense_gradient)
        self._update(self.bias, self.bias_accumulator, bias_gradient)
        return loss

    def _features(self, batch, i, unseen=None):
        """Keys of sample i, and x (m + n_dense), weights (m + n_dense, 1 + dim) of its keys and dense features."""
        begin, end = int(batch.begins[i]), int(batch.ends[i])
        keys = batch.keys[begin:end].tolist()
        x = np.ones(end - begin) if batch.values is None else batch.values[begin:end].astype(np.float64)
        rows = [self.weights.get(key, unseen) for key in keys]
        weights = np.array([*rows, *self.dense]).reshape(-1, 1 + self.dim)
        return keys, np.concatenate([x, batch.dense[i].astype(np.float64)]), weights

    def _logit(self, x, weights):
        return float(self.bias[0] + pairwise_logit(x, weights))

    def _update(self, weights, accumulators, gradient):
        if self.optimizer == "sgd":
            weights -= self.rate * gradient
        else:
            accumulators += gradient**2
            weights -= self.rate * gradient / (np.sqrt(accumulators) + self.epsilon)
