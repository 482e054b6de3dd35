"""Experts, networks of one input side by side, and gates that weigh them."""

from deshpc.nn.dense import Dense
from deshpc.nn.mixture import Mixture
from deshpc.nn.mlp import MLP


class Experts:
    """x (n, inputs) -> a list of `count` Nodes (n, outputs), each by a network of the widths `model.hidden`."""

    def __init__(self, setting, name, inputs, count):
        """setting : `definitions.Setting`"""
        model = setting.model
        self._experts = [
            MLP(setting.backend, setting.values, f"{name}.{i}", inputs, model.hidden, model, setting.seed) for i in range(count)
        ]
        self.outputs = self._experts[0].outputs

    def __call__(self, tape, x):
        """The experts' Nodes; a generator."""
        nodes = []
        for expert in self._experts:
            nodes.append((yield from expert(tape, x)))
        return nodes


class Gate:
    """(x (n, inputs), experts) -> their sum by softmax(x G)."""

    def __init__(self, setting, name, inputs, experts):
        self._product = Dense(setting.backend, setting.values, name, inputs, experts, bias=False)
        self._mixture = Mixture(setting.backend)

    def __call__(self, tape, x, experts):
        return tape.apply(self._mixture, tape.apply(self._product, x), *experts)
