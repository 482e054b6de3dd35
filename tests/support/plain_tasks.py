"""Models of several tasks in float64 from their definitions, whole batches at a time, and their gradients by complex steps.

    shared_bottom   z_t = b_t + net_t(net(x_0))
    mmoe            z_t = b_t + net_t(sum_i softmax(x_0 G_t)_i expert_i(x_0))
    ple             levels: way t = sum by softmax(way_t G_t) over own and shared experts, shared way over all; z_t = b_t + net_t(way_t)
    esmm            z_1 = a, and z_2 is the logit of p q, p = 1 / (1 + exp(-a)), q = 1 / (1 + exp(-b));  a, b = b_t + net_t(x_0)

A sample's loss is sum_t weight_t log-loss(z_t, y_t) over the tasks whose y_t is known.  The derivative of an analytic f is Im f(w + ih) / h for h so
small that nothing is lost: activations are tanh.  Shares no code with deshpc.
"""

import numpy as np

STEP = 1e-40


class PlainTasks:
    """options : of [model];  weights : of the tasks;  values : {name: array}, dense parameters;  rows : {key: v (dim)}
    n_fields, used_fields : the first of them have keys: weights of the others' inputs have no gradient
    """

    def __init__(self, options, weights, n_fields, used_fields, values, rows):
        self.options, self.weights, self.n_fields, self.used_fields = options, weights, n_fields, used_fields
        self.values = {name: np.array(one, complex) for name, one in values.items()}
        self.rows = {key: np.array(one, complex) for key, one in rows.items()}
        self.sums = {}  # adagrad's, by the identity of an array

    def logits(self, batch):
        """(n, T) complex."""
        x = np.zeros((len(batch), self.n_fields * self.options["dim"]), complex)
        k = self.options["dim"]
        for i in range(len(batch)):
            for j in range(batch.begins[i], batch.ends[i]):
                if int(batch.keys[j]) in self.rows:
                    f = int(batch.fields[j])
                    x[i, f * k : f * k + k] += self.rows[int(batch.keys[j])]
        x = np.hstack([x, batch.dense])
        return getattr(self, f"_{self.options['name']}")(x)

    def loss(self, batch):
        """Complex sum over the batch."""
        z, total = self.logits(batch), 0.0
        for t, weight in enumerate(self.weights):
            known = ~np.isnan(batch.labels[:, t])
            y = batch.labels[known, t].astype(float)
            total += weight * (np.log(1 + np.exp(z[known, t])) - y * z[known, t]).sum()
        return total

    def step(self, batch, rate):
        """One step of adagrad on the summed loss, sums beginning at 1; the loss before it."""
        arrays = [*self.values.values(), *(self.rows[key] for key in sorted({int(key) for key in batch.keys}))]
        gradients, before = [], self.loss(batch).real
        for array in arrays:
            flat, gradient = array.reshape(-1), np.zeros(array.size)
            for i in self._learnt(array):
                flat[i] += STEP * 1j
                gradient[i] = self.loss(batch).imag / STEP
                flat[i] = flat[i].real
            gradients.append(gradient.reshape(array.shape))
        for array, gradient in zip(arrays, gradients, strict=True):
            sums = self.sums[id(array)] = self.sums.get(id(array), 1.0) + gradient**2
            array -= rate * gradient / (np.sqrt(sums) + 1e-8)
        return before

    def _learnt(self, array):
        """Numbers of the elements that have a gradient."""
        k, width = self.options["dim"], self.n_fields * self.options["dim"]
        if array.ndim < 2 or len(array) <= width:
            return range(array.size)
        unused = range(self.used_fields * k * array.shape[1], width * array.shape[1])
        return [i for i in range(array.size) if i not in unused]

    def _layers(self, name, x):
        layer = 0
        while f"{name}.{layer}.weights" in self.values:
            x = np.tanh(x @ self.values[f"{name}.{layer}.weights"] + self.values[f"{name}.{layer}.bias"])
            layer += 1
        return x

    def _towers(self, ways):
        columns = [self._layers(f"task.{t}", x) @ self.values[f"task.{t}.out.weights"][:, 0] for t, x in enumerate(ways)]
        return np.stack(columns, axis=1) + self.values["bias"]

    def _mixed(self, gate, x, experts):
        e = np.exp(x @ self.values[f"{gate}.weights"])
        return sum((e[:, i] / e.sum(axis=1))[:, None] * one for i, one in enumerate(experts))

    def _shared_bottom(self, x):
        return self._towers([self._layers("bottom", x)] * len(self.weights))

    def _mmoe(self, x):
        experts = [self._layers(f"experts.{i}", x) for i in range(self.options["experts"])]
        return self._towers([self._mixed(f"gate.{t}", x, experts) for t in range(len(self.weights))])

    def _ple(self, x):
        tasks, own_count, shared_count = len(self.weights), self.options["task_experts"], self.options["experts"]
        ways, shared = [x] * tasks, x
        for level in range(self.options["expert_levels"]):
            at = f"level.{level}"
            own = [[self._layers(f"{at}.task.{t}.{i}", ways[t]) for i in range(own_count)] for t in range(tasks)]
            common = [self._layers(f"{at}.shared.{i}", shared) for i in range(shared_count)]
            made = [self._mixed(f"{at}.gate.{t}", ways[t], own[t] + common) for t in range(tasks)]
            if level + 1 < self.options["expert_levels"]:
                shared = self._mixed(f"{at}.gate.shared", shared, sum(own, []) + common)
            ways = made
        return self._towers(ways)

    def _esmm(self, x):
        a, b = self._towers([x, x]).T
        both = 1 / (1 + np.exp(-a)) / (1 + np.exp(-b))
        return np.stack([a, np.log(both / (1 - both))], axis=1)
