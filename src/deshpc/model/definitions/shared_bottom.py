"""Shared bottom: one network of x_0, above which each task has a network of its own.

logit_t = bias_t + w_t . MLP_t(MLP(x_0))
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.mlp import MLP
from deshpc.nn.task_towers import TaskTowers


class SharedBottom(Definition):
    field_dims = True

    def __init__(self, setting):
        model = setting.model
        self._bottom = MLP(setting.backend, setting.values, "bottom", setting.inputs, model.hidden, model, setting.seed)
        self._towers = TaskTowers(setting, self._bottom.outputs, model.task_hidden)

    def logit(self, tape, inputs):
        bottom = yield from self._bottom(tape, inputs.x0)
        return (yield from self._towers(tape, [bottom] * self._towers.tasks))
