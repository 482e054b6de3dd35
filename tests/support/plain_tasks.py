"""Models of several tasks in float64 from their definitions, whole batches at a time, and their gradients by complex steps.

    shared_bottom   z_t = b_t + net_t(net(x_0))
    mmoe            z_t = b_t + net_t(sum_i softmax(x_0 G_t)_i expert_i(x_0))
    ple             levels: way t = sum by softmax(way_t G_t) over own and shared experts, shared way over all; z_t = b_t + net_t(way_t)
    esmm            z_1 = a, and z_2 is the logit of p q, p = 1 / (1 + exp(-a)), q = 1 / (1 + exp(-b));  a, b = b_t + net_t(x_0)

A sample's loss is sum_t weight_t log-loss(z_t, y_t) over the tasks whose y_t is known.  Gradients are those of `plain_trained`.
"""

import numpy as np
from plain_trained import PlainTrained, log_losses


class PlainTasks(PlainTrained):
    """options : of [model];  weights : of the tasks;  others : of PlainTrained"""

    def __init__(self, options, weights, *arguments):
        super().__init__(*arguments)
        self.options, self.weights = options, weights

    def logits_of(self, inputs):
        """(n, T)."""
        return getattr(self, f"_{self.options['name']}")(inputs.x0())

    def losses(self, logits, labels):
        return sum(weight * log_losses(logits[:, t], labels[:, t]) for t, weight in enumerate(self.weights))

    def _towers(self, ways):
        columns = [self.layers(f"task.{t}", x) @ self.values[f"task.{t}.out.weights"][:, 0] for t, x in enumerate(ways)]
        return np.stack(columns, axis=1) + self.values["bias"]

    def _mixed(self, gate, x, experts):
        e = np.exp(x @ self.values[f"{gate}.weights"])
        return sum((e[:, i] / e.sum(axis=1))[:, None] * one for i, one in enumerate(experts))

    def _shared_bottom(self, x):
        return self._towers([self.layers("bottom", x)] * len(self.weights))

    def _mmoe(self, x):
        experts = [self.layers(f"experts.{i}", x) for i in range(self.options["experts"])]
        return self._towers([self._mixed(f"gate.{t}", x, experts) for t in range(len(self.weights))])

    def _ple(self, x):
        tasks, own_count, shared_count = len(self.weights), self.options["task_experts"], self.options["experts"]
        ways, shared = [x] * tasks, x
        for level in range(self.options["expert_levels"]):
            at = f"level.{level}"
            own = [[self.layers(f"{at}.task.{t}.{i}", ways[t]) for i in range(own_count)] for t in range(tasks)]
            common = [self.layers(f"{at}.shared.{i}", shared) for i in range(shared_count)]
            made = [self._mixed(f"{at}.gate.{t}", ways[t], own[t] + common) for t in range(tasks)]
            if level + 1 < self.options["expert_levels"]:
                shared = self._mixed(f"{at}.gate.shared", shared, sum(own, []) + common)
            ways = made
        return self._towers(ways)

    def _esmm(self, x):
        a, b = self._towers([x, x]).T
        both = 1 / (1 + np.exp(-a)) / (1 + np.exp(-b))
        return np.stack([a, np.log(both / (1 - both))], axis=1)
