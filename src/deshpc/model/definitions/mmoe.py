"""Multi-gate mixture of experts (Ma et al. 2018): tasks share experts, and each weighs them by a gate of its own.

logit_t = bias_t + w_t . MLP_t(sum_i softmax(x_0 G_t)_i expert_i(x_0)), every expert a network of x_0
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.experts import Experts, Gate
from deshpc.nn.task_towers import TaskTowers


class MMoE(Definition):
    field_dims = True

    def __init__(self, setting):
        model = setting.model
        self._experts = Experts(setting, "experts", setting.inputs, model.experts)
        self._gates = [Gate(setting, f"gate.{t}", setting.inputs, model.experts) for t in range(setting.tasks)]
        self._towers = TaskTowers(setting, self._experts.outputs, model.task_hidden)

    def logit(self, tape, inputs):
        experts = yield from self._experts(tape, inputs.x0)
        return (yield from self._towers(tape, [gate(tape, inputs.x0, experts) for gate in self._gates]))
