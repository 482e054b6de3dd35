"""Deep models in float64 from their definitions: dictionaries for tables, one occurrence and one sample at a time, explicit sums.

    x_0 = E_1, .., E_F (E_f = sum of v_j x_j over the occurrences of field f) and the dense features
    wide = sum of w_j xl_j over all occurrences + w . dense

    wide_deep   bias + wide + net(x_0)
    deepfm      bias + wide + sum over all pairs of occurrences and dense features <v_i, v_j> x_i x_j + net(x_0)
    nfm         bias + wide + net(sum over all pairs of (v_i x_i) * (v_j x_j))
    dcn         bias + w . x_L + net(x_0),   x_{l+1} = x_0 (x_l . w_l) + b_l + x_l
    dcnv2       bias + w . x_L + net(x_0),   x_{l+1} = x_0 * (x_l W_l + b_l) + x_l
    dlrm        bias + net(z and all <e, f> of pairs of E_1, .., E_F, z),   z = bottom net(dense)
    fwfm        bias + wide + sum over f < g of r_fg <E_f, E_g>, E of a dense feature: x_d f_d
    fmfm        bias + wide + sum over f < g of E_f M_fg E_g
    din         bias + net(x_0), where E of a sequence is sum of a(e_i, t) e_i over its values v x, t = E of its target, or of their softmax
    autoint     bias + w . (fields after attention) + net(x_0)
    xdeepfm     bias + wide + w . (sums over c of X^1, X^2, ..) + net(x_0),   X^{l+1}_h = sum_{i, f} W_{i f h} X^l_i * E_f

A net is layers f(normalised x W + b), in that order, and an output without bias.  Nothing is dropped here.
x, xl : the two values of a key where it has two, its value where it has one, else 1.  A key without a row contributes nothing.
Shares no code with deshpc.
"""

import math

import numpy as np
from plain_model import values_of

FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
}
EPSILON = 1e-5  # of the variance in a normalisation


class PlainDeep:
    """options : [model] options, and dims where fields have dimensions of their own; rows : {key: (w, v (k))};  parameters : {name: array}, running statistics among them."""

    def __init__(self, options, n_fields, rows, parameters):
        self.options, self.n_fields, self.rows = options, n_fields, rows
        self.parameters = {name: np.asarray(one, np.float64) for name, one in parameters.items()}

    def logits(self, batch, train):
        """Logits (B).  train : batch normalisation uses the batch's own statistics, otherwise the running ones."""
        samples = [Sample(self, batch, i) for i in range(len(batch))]
        name = self.options["name"]
        parts = getattr(self, f"_{name}")(samples, train)
        wide = [0.0 if name in ("dcn", "dcnv2", "dlrm", "din", "autoint") else self._wide(sample) for sample in samples]
        return np.array([float(self.parameters["bias"]) + w + part for w, part in zip(wide, parts, strict=True)])

    def _wide(self, sample):
        weights = self.parameters["linear.weights" if self.options["name"] in ("fwfm", "fmfm") else "wide.weights"]
        return sample.linear + sum(float(w) * x for w, x in zip(weights.ravel(), sample.dense, strict=True))

    def _wide_deep(self, samples, train):
        return self._net("deep", [sample.x0 for sample in samples], train)

    def _deepfm(self, samples, train):
        deep = self._net("deep", [sample.x0 for sample in samples], train)
        pairs = [sum((np.dot(a, b) for a, b in all_pairs(self._terms(sample))), 0.0) for sample in samples]
        return [one + pair for one, pair in zip(deep, pairs, strict=True)]

    def _nfm(self, samples, train):
        k = self.options["dim"]
        return self._net(
            "deep", [sum((a * b for a, b in all_pairs(self._terms(sample))), np.zeros(k)) for sample in samples], train
        )

    def _dcn(self, samples, train):
        weights, biases = self.parameters["cross.weights"], self.parameters["cross.bias"]
        crossed = []
        for sample in samples:
            x = sample.x0
            for layer in range(self.options["cross_layers"]):
                x = sample.x0 * np.dot(x, weights[:, layer]) + biases[layer] + x
            crossed.append(np.dot(x, weights[:, -1]))
        deep = self._net("deep", [sample.x0 for sample in samples], train)
        return [one + other for one, other in zip(crossed, deep, strict=True)]

    def _dcnv2(self, samples, train):
        crossed, of = [], self.parameters
        for sample in samples:
            x = sample.x0
            for layer in range(self.options["cross_layers"]):
                if self.options["cross_rank"]:
                    product = (x @ of[f"cross.{layer}.narrow"]) @ of[f"cross.{layer}.wide"]
                else:
                    product = x @ of[f"cross.{layer}.weights"]
                x = sample.x0 * (product + of[f"cross.{layer}.bias"]) + x
            crossed.append(np.dot(x, of["cross.out.weights"][:, 0]))
        deep = self._net("deep", [sample.x0 for sample in samples], train)
        return [one + other for one, other in zip(crossed, deep, strict=True)]

    def _dlrm(self, samples, train):
        bottom, inputs = self._layers("bottom", [sample.dense for sample in samples], train), []
        for sample, z in zip(samples, bottom, strict=True):
            vectors = [*sample.embeddings, z]
            dots = [np.dot(vectors[f], vectors[h]) for f in range(len(vectors)) for h in range(f)]
            inputs.append(np.concatenate([z, dots]))
        return self._net("top", inputs, train)

    def _xdeepfm(self, samples, train):
        pooled = []
        for sample in samples:
            maps, outputs = sample.embeddings, []
            for layer, width in enumerate(self.options["cin_layers"]):
                weights = self.parameters[f"cin.{layer}.weights"].reshape(len(maps), self.n_fields, width)
                maps = [
                    sum(weights[i, f, h] * maps[i] * sample.embeddings[f] for i in range(len(maps)) for f in range(self.n_fields))
                    for h in range(width)
                ]
                outputs += [one.sum() for one in maps]
            pooled.append(np.dot(outputs, self.parameters["cin.out.weights"][:, 0]))
        deep = self._net("deep", [sample.x0 for sample in samples], train)
        return [one + other for one, other in zip(pooled, deep, strict=True)]

    def _fwfm(self, samples, train):
        weights, fields = self.parameters["fwfm.weights"], [self._fields(sample, "fwfm") for sample in samples]
        return [sum(weights[f, g] * np.dot(one[f], one[g]) for f in range(len(one)) for g in range(f)) for one in fields]

    def _fmfm(self, samples, train):
        found, k = [], self.options["dim"]
        for sample in samples:
            one, total = self._fields(sample, "fmfm"), 0.0
            for f in range(len(one)):
                for g in range(f + 1, len(one)):
                    matrix = self.parameters[f"fmfm.{f}.matrices"][(g - f - 1) * k : (g - f) * k].T
                    total += one[f] @ matrix @ one[g]
            found.append(total)
        return found

    def _fields(self, sample, name):
        """E_f of all fields, dense features behind them."""
        return [*sample.embeddings, *(x * f for x, f in zip(sample.dense, self.parameters[f"{name}.factors"], strict=True))]

    def _din(self, samples, train):
        inputs = []
        for sample in samples:
            embeddings = list(sample.embeddings)
            for number, (field, target) in enumerate(self.options["attended"]):  # numbers of a sequence and its target
                embeddings[field] = self._attended(f"attention.{number}", sample.values[field], sample.embeddings[target])
            inputs.append(np.concatenate([*embeddings, sample.dense]))
        return self._net("deep", inputs, train)

    def _attended(self, name, values, target):
        weights, of = [], self.parameters
        for e in values:
            x, layer = np.concatenate([e, target, e - target, e * target]), 0
            while f"{name}.{layer}.weights" in of:
                x = FUNCTIONS[self.options["activation"]](x @ of[f"{name}.{layer}.weights"] + of[f"{name}.{layer}.bias"])
                layer += 1
            weights.append(float(np.dot(x, of[f"{name}.out.weights"][:, 0]) + of.get(f"{name}.out.bias", [0.0])[0]))
        if self.options["attention_weights"] == "softmax":
            total = math.fsum(math.exp(a) for a in weights)
            weights = [math.exp(a) / total for a in weights]
        return sum((a * e for a, e in zip(weights, values, strict=True)), np.zeros_like(target))

    def _autoint(self, samples, train):
        attention, of = [], self.parameters
        for sample in samples:
            fields = [*sample.embeddings, *(x * f for x, f in zip(sample.dense, of["attention.factors"], strict=True))]
            for layer, width in enumerate(self.options["attention_layers"]):
                query, key, value, rest = ([e @ of[f"attention.{layer}.{part}"] for e in fields] for part in ("queries", "keys", "values", "rest"))
                own, head_width = [], width // self.options["attention_heads"]
                for m in range(len(fields)):
                    heads = []
                    for head in range(self.options["attention_heads"]):
                        at = slice(head * head_width, (head + 1) * head_width)
                        shares = np.exp([np.dot(query[m][at], one[at]) for one in key])
                        heads.append(sum(share / shares.sum() * one[at] for share, one in zip(shares, value, strict=True)))
                    own.append(np.maximum(np.concatenate(heads) + rest[m], 0))
                fields = own
            attention.append(float(np.concatenate(fields) @ of["attention.out.weights"][:, 0]))
        deep = self._net("deep", [sample.x0 for sample in samples], train)
        return [one + other for one, other in zip(attention, deep, strict=True)]

    def _terms(self, sample):
        """v x of every occurrence and every dense feature."""
        return [*sample.terms, *(x * f for x, f in zip(sample.dense, self.parameters["fm.factors"], strict=True))]

    def _net(self, name, inputs, train):
        return [float(np.dot(x, self.parameters[f"{name}.out.weights"][:, 0])) for x in self._layers(name, inputs, train)]

    def _layers(self, name, inputs, train):
        """The last layer of every sample's input."""
        layer, of = 0, self.parameters
        while (own := f"{name}.{layer}") + ".weights" in of:
            z = [x @ of[f"{own}.weights"] for x in inputs]
            if self.options["normalisation"] == "none":
                z = [one + of[f"{own}.bias"] for one in z]
            elif self.options["normalisation"] == "layer":
                z = [of[f"{own}.gain"] * normalised(one, one.mean(), one.var()) + of[f"{own}.shift"] for one in z]
            elif z:
                mean, variance = of[f"{own}.mean"], of[f"{own}.variance"]
                if train:
                    mean = sum(z) / len(z)
                    variance = sum((one - mean) ** 2 for one in z) / len(z)
                z = [of[f"{own}.gain"] * normalised(one, mean, variance) + of[f"{own}.shift"] for one in z]
            inputs = [FUNCTIONS[self.options["activation"]](one) for one in z]
            layer += 1
        return inputs


class Sample:
    """One sample: embeddings [E_f (k)], values [[v x (k)]] of each field, terms [v x of each occurrence], linear : sum of w xl, dense (n_dense), x0."""

    def __init__(self, model, batch, i):
        x, xl = values_of(batch)
        dims = model.options.get("dims") or [model.options["dim"]] * model.n_fields
        self.embeddings, self.terms, self.linear = [np.zeros(k) for k in dims], [], 0.0
        self.values = [[] for _ in dims]  # of each field, v x one by one, 0 for a key without a row
        for j in range(int(batch.begins[i]), int(batch.ends[i])):
            self.values[batch.fields[j]].append(np.zeros(dims[batch.fields[j]]))
            if (key := int(batch.keys[j])) in model.rows:
                w, v = model.rows[key]
                term = np.asarray(v, np.float64) * x[j]
                self.embeddings[batch.fields[j]] = self.embeddings[batch.fields[j]] + term
                self.terms.append(term)
                self.values[batch.fields[j]][-1] = term
                self.linear += float(w) * xl[j]
        self.dense = batch.dense[i].astype(np.float64)
        self.x0 = np.concatenate([*self.embeddings, self.dense])


def all_pairs(things):
    return [(things[a], things[b]) for a in range(len(things)) for b in range(a)]


def normalised(x, mean, variance):
    return (x - mean) / np.sqrt(variance + EPSILON)


def log_loss(logits, labels):
    """Summed log-loss."""
    return math.fsum(np.logaddexp(0.0, z) - y * z for z, y in zip(logits.tolist(), labels.tolist(), strict=True))
