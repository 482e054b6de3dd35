"""LR and FM in float64 from their definitions: dictionaries for tables, every pair of features, one sample at a time.

    logit = bias + sum_j w_j xl_j + sum_{i<j} <v_i, v_j> x_i x_j      over all keys and all dense features of a sample
    dw_j = g xl_j,  dv_j = g x_j (sum_i v_i x_i - v_j x_j)            g = p - y, divided by B for the mean; p by the loss, see LOSSES
    x, xl : the two values of a key where it has two, its value where it has one, else 1; of a dense feature itself
    clipping: all gradients of a step, of rows and dense weights, times min(1, clip_norm / their norm)
    rows only: g += l2 w, but for ftrl;  dense weights have neither l1 nor l2, and a sum of their own each

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


def values_of(batch):
    """(x of the embeddings, x of the linear weights), each (nnz) float64."""
    if batch.values is None:
        return np.ones(len(batch.keys)), np.ones(len(batch.keys))
    values = batch.values.astype(np.float64)
    return (values, values) if values.ndim == 1 else (values[:, 0], values[:, 1])


def pairwise_logit(x, xl, weights):
    """Logit without bias of one sample: x, xl (m), weights (m, 1 + dim) = [w, v]."""
    products = (weights[:, 1:] * x[:, None]) @ (weights[:, 1:] * x[:, None]).T
    return weights[:, 0] @ xl + products[np.triu_indices(len(x), 1)].sum()


DEFAULTS = {
    "l1": 0.0, "l2": 0.0, "clip_norm": 0.0, "warmup_steps": 0, "initial_accumulator": 1.0, "epsilon": 1e-8, "beta": 1.0,
    "beta1": 0.9, "beta2": 0.999,
}  # fmt: skip


LOSSES = {  # of a logit z and a label y: (the loss, its slope)
    "log": lambda z, y: (np.logaddexp(0.0, z) - y * z, 1.0 / (1.0 + math.exp(-z)) - y),
    "squared": lambda z, y: ((z - y) ** 2 / 2, z - y),
    "poisson": lambda z, y: (math.exp(z) - y * z + (y * math.log(y) - y if y else 0.0), math.exp(z) - y),
}


class PlainModel:
    """Rows in dictionaries by key: fields, counts, steps, weights (1 + dim), and states: one such array for each number
    that the rule keeps for a weight, for rowwise_adagrad one of two numbers, of w and of v."""

    def __init__(self, dim, optimizer, reduction, seed, std, dense, loss="log"):
        """loss : of LOSSES
        optimizer : options of [optimizer];  dense : (n_dense, 1 + dim), the first weights of the dense features,
        which are features like any key."""
        self.dim, self.reduction, self.seed, self.std, self.loss = dim, reduction, seed, std, LOSSES[loss]
        self.options = {**DEFAULTS, **optimizer}
        self.fields, self.counts, self.steps, self.weights, self.states = {}, {}, {}, {}, {}
        self.dense, self.bias = dense.astype(np.float64), np.zeros(1)
        self.dense_states, self.bias_states = self._first_states(self.dense, False), self._first_states(self.bias, False)

    def logits(self, batch):
        """Logits (B); keys without a row contribute nothing."""
        unseen = np.zeros(1 + self.dim)
        return np.array([self._logit(*self._features(batch, i, unseen)[1:]) for i in range(len(batch))])

    def step(self, batch):
        """One update by a global batch; returns the summed loss."""
        for key, field in zip(batch.keys.tolist(), batch.fields.tolist(), strict=True):
            if key not in self.weights and self.admits(key, batch.step):
                self.fields[key], self.counts[key] = field, 0
                self.weights[key] = first_weights(self.seed, key, self.dim, self.std)
                self.states[key] = self._first_states(self.weights[key], True)
        loss, gradients, unseen = 0.0, {}, np.zeros(1 + self.dim)
        dense_gradient, bias_gradient = np.zeros_like(self.dense), np.zeros(1)
        for i in range(len(batch)):
            keys, x, xl, weights = self._features(batch, i, unseen)
            logit, label = self._logit(x, xl, weights), float(batch.labels[i])
            one, g = self.loss(logit, label)
            loss += one
            if self.reduction == "mean":
                g /= len(batch)
            v = weights[:, 1:]
            own = np.column_stack([g * xl, (g * x)[:, None] * (x @ v - v * x[:, None])])
            for key, one in zip(keys, own, strict=False):  # keys first, then dense features
                if key in self.weights:
                    gradients[key] = gradients.get(key, 0.0) + one
            dense_gradient += own[len(keys) :]
            bias_gradient += g
        self._update_all(gradients, dense_gradient, bias_gradient, batch.step)
        return loss

    def _update_all(self, gradients, dense_gradient, bias_gradient, step):
        """Clip all gradients by their norm, and update what each is of once.  gradients : {key: (1 + dim)}"""
        clip = self._clip([*gradients.values(), dense_gradient, bias_gradient])
        for key, gradient in gradients.items():
            self._update(self.weights[key], self.states[key], clip * gradient, step, True)
            self.counts[key] += 1
            self.steps[key] = step
        self._update(self.dense, self.dense_states, clip * dense_gradient, step, False)
        self._update(self.bias, self.bias_states, clip * bias_gradient, step, False)

    def admits(self, key, step):
        """Whether a key without a row gets one at a step."""
        return True

    def _features(self, batch, i, unseen=None):
        """Keys of sample i, and x, xl (m + n_dense), weights (m + n_dense, 1 + dim) of its keys and dense features."""
        begin, end = int(batch.begins[i]), int(batch.ends[i])
        keys = batch.keys[begin:end].tolist()
        dense = batch.dense[i].astype(np.float64)
        x, xl = (np.concatenate([one[begin:end], dense]) for one in values_of(batch))
        rows = [self.weights.get(key, unseen) for key in keys]
        weights = np.array([*rows, *self.dense]).reshape(-1, 1 + self.dim)
        return keys, x, xl, weights

    def _logit(self, x, xl, weights):
        return float(self.bias[0] + pairwise_logit(x, xl, weights))

    def _clip(self, gradients):
        norm, limit = math.sqrt(sum((one**2).sum() for one in gradients)), self.options["clip_norm"]
        return limit / norm if limit and norm > limit else 1.0

    def _first_states(self, weights, of_row):
        o = self.options
        start = np.full(weights.shape, o["initial_accumulator"])
        if o["name"] == "rowwise_adagrad" and of_row:
            start = np.full(2, o["initial_accumulator"])
        if o["name"] == "ftrl":  # the z of which the closed form makes these weights
            l1, l2 = (o["l1"], o["l2"]) if of_row else (0.0, 0.0)
            return [-weights * ((o["beta"] + np.sqrt(start)) / o["learning_rate"] + l2) - np.sign(weights) * l1, start]
        return {"sgd": [], "adam": [np.zeros(weights.shape), np.zeros(weights.shape)]}.get(o["name"], [start])

    def _update(self, weights, states, gradient, step, of_row):
        o = self.options
        l1, l2 = (o["l1"], o["l2"]) if of_row else (0.0, 0.0)
        rate = o["learning_rate"] * min(1.0, (step + 1) / max(1, o["warmup_steps"]))
        if o["name"] != "ftrl":
            gradient = gradient + l2 * weights
        if o["name"] == "sgd":
            weights -= rate * gradient
        elif o["name"] == "rowwise_adagrad" and of_row:
            states[0] += [gradient[0] ** 2, (gradient[1:] ** 2).mean() if self.dim else 0.0]
            weights -= rate * gradient / (np.sqrt(states[0][np.minimum(1, np.arange(len(weights)))]) + o["epsilon"])
        elif o["name"] in ("adagrad", "rowwise_adagrad"):
            states[0] += gradient**2
            weights -= rate * gradient / (np.sqrt(states[0]) + o["epsilon"])
        elif o["name"] == "adam":
            for state, beta, power in zip(states, (o["beta1"], o["beta2"]), (1, 2), strict=True):
                state *= beta
                state += (1 - beta) * gradient**power
            mean, square = (state / (1 - o[beta] ** (step + 1)) for state, beta in zip(states, ("beta1", "beta2"), strict=True))
            weights -= rate * mean / (np.sqrt(square) + o["epsilon"])
        else:
            z, total = states
            z += gradient - (np.sqrt(total + gradient**2) - np.sqrt(total)) / rate * weights
            total += gradient**2
            weights[...] = -(z - np.sign(z) * l1) / ((o["beta"] + np.sqrt(total)) / rate + l2)
            weights[np.abs(z) <= l1] = 0
