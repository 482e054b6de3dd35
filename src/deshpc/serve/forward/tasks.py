"""Models of several tasks, whose logits are (n, T): shared bottom, MMoE, PLE, ESMM."""

import numpy as np

from deshpc.serve.forward.deep import Deep
from deshpc.serve.forward.layers import joined, network, network_shapes, outputs


class Tasks(Deep):
    """What they share: each task has a network of its own, up to its logit."""

    own_dims = True

    @staticmethod
    def _tower_shapes(top, inputs, hidden):
        yield "bias", (top.tasks,)
        for t in range(top.tasks):
            yield from network_shapes(top, f"task.{t}", inputs, hidden)
            yield f"task.{t}.out.weights", (outputs(inputs, hidden), 1)

    def _towers(self, ways, hidden):
        """(n, T) of T arrays (n, inputs)."""
        made = [network(self._top, f"task.{t}", x, hidden) @ self._parameters[f"task.{t}.out.weights"] for t, x in enumerate(ways)]
        return joined(*made) + self._parameters["bias"]

    def _experts(self, name, x, count):
        return [network(self._top, f"{name}.{i}", x, self._top.options["hidden"]) for i in range(count)]

    def _mixed(self, name, x, experts):
        """The experts' sum by softmax(x G)."""
        gate = x @ self._parameters[f"{name}.weights"]
        p = np.exp(gate - gate.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return sum(p[:, i : i + 1] * expert for i, expert in enumerate(experts))


class SharedBottom(Tasks):
    """logit_t = bias_t + w_t . MLP_t(MLP(x_0))"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        hidden = top.options["hidden"]
        yield from network_shapes(top, "bottom", cls.inputs(top), hidden)
        yield from cls._tower_shapes(top, outputs(cls.inputs(top), hidden), top.options["task_hidden"])

    def logit(self, E, dense):
        """(n, T) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        bottom = network(self._top, "bottom", joined(E, dense), self._top.options["hidden"])
        return self._towers([bottom] * self._top.tasks, self._top.options["task_hidden"])


class MMoE(Tasks):
    """logit_t = bias_t + w_t . MLP_t(sum_i softmax(x_0 G_t)_i expert_i(x_0))"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        options, inputs = top.options, cls.inputs(top)
        for i in range(options["experts"]):
            yield from network_shapes(top, f"experts.{i}", inputs, options["hidden"])
        for t in range(top.tasks):
            yield f"gate.{t}.weights", (inputs, options["experts"])
        yield from cls._tower_shapes(top, outputs(inputs, options["hidden"]), options["task_hidden"])

    def logit(self, E, dense):
        """(n, T) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        x, options = joined(E, dense), self._top.options
        experts = self._experts("experts", x, options["experts"])
        return self._towers([self._mixed(f"gate.{t}", x, experts) for t in range(self._top.tasks)], options["task_hidden"])


class PLE(Tasks):
    """Levels of experts, a task's own and shared ones, which gates weigh; see `model.definitions.ple`."""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        options, inputs, tasks = top.options, cls.inputs(top), top.tasks
        own, shared, hidden, levels = (options[name] for name in ("task_experts", "experts", "hidden", "expert_levels"))
        for level in range(levels):
            groups = [(f"task.{t}", own) for t in range(tasks)] + [("shared", shared)]
            for name, count in groups:
                for i in range(count):
                    yield from network_shapes(top, f"level.{level}.{name}.{i}", inputs, hidden)
            for t in range(tasks):
                yield f"level.{level}.gate.{t}.weights", (inputs, own + shared)
            if level < levels - 1:
                yield f"level.{level}.gate.shared.weights", (inputs, tasks * own + shared)
            inputs = outputs(inputs, hidden)
        yield from cls._tower_shapes(top, inputs, options["task_hidden"])

    def logit(self, E, dense):
        """(n, T) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        options, tasks = self._top.options, self._top.tasks
        shared = joined(E, dense)
        ways = [shared] * tasks
        for level in range(options["expert_levels"]):
            name = f"level.{level}"
            own = [self._experts(f"{name}.task.{t}", x, options["task_experts"]) for t, x in enumerate(ways)]
            of_all = self._experts(f"{name}.shared", shared, options["experts"])
            ways = [self._mixed(f"{name}.gate.{t}", x, own[t] + of_all) for t, x in enumerate(ways)]
            if level < options["expert_levels"] - 1:
                shared = self._mixed(f"{name}.gate.shared", shared, [expert for some in own for expert in some] + of_all)
        return self._towers(ways, options["task_hidden"])


class ESMM(Tasks):
    """Logits of a click and of a click with a conversion: the chance of both is the product of the towers' chances."""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from cls._tower_shapes(top, cls.inputs(top), top.options["hidden"])

    def logit(self, E, dense):
        """(n, 2) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        a, b = self._towers([joined(E, dense)] * 2, self._top.options["hidden"]).T
        return np.stack([a, -np.logaddexp(np.logaddexp(-a, -b), -a - b)], axis=1)
