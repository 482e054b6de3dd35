"""Progressive layered extraction (Tang et al. 2020): levels of experts, some of which are a task's own, and some are shared.

On each level task t has a gate over its own experts and the shared ones; the shared way, which the last level does not have, one over all.
Experts and gate of a way see what the level below has made of it, at first x_0.  logit_t = bias_t + w_t . MLP_t(last level of t)
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.experts import Experts, Gate
from deshpc.nn.task_towers import TaskTowers


class PLE(Definition):
    field_dims = True

    def __init__(self, setting):
        model, inputs, self._levels = setting.model, setting.inputs, []
        for i in range(model.expert_levels):
            self._levels.append(_Level(setting, f"level.{i}", inputs, last=i == model.expert_levels - 1))
            inputs = self._levels[-1].outputs
        self._towers = TaskTowers(setting, inputs, model.task_hidden)

    def logit(self, tape, inputs):
        ways, shared = [inputs.x0] * self._towers.tasks, inputs.x0
        for level in self._levels:
            ways, shared = yield from level(tape, ways, shared)
        return (yield from self._towers(tape, ways))


class _Level:
    def __init__(self, setting, name, inputs, last):
        model, tasks = setting.model, setting.tasks
        self._own = [Experts(setting, f"{name}.task.{t}", inputs, model.task_experts) for t in range(tasks)]
        self._shared = Experts(setting, f"{name}.shared", inputs, model.experts)
        self._gates = [Gate(setting, f"{name}.gate.{t}", inputs, model.task_experts + model.experts) for t in range(tasks)]
        self._shared_gate = None if last else Gate(setting, f"{name}.gate.shared", inputs, tasks * model.task_experts + model.experts)
        self.outputs = self._shared.outputs

    def __call__(self, tape, ways, shared):
        """(the tasks' Nodes, that of the shared way, None behind the last level) of those of the level below; a generator."""
        of_all = yield from self._shared(tape, shared)
        own = []
        for experts, way in zip(self._own, ways, strict=True):
            own.append((yield from experts(tape, way)))
        made = [gate(tape, way, some + of_all) for gate, way, some in zip(self._gates, ways, own, strict=True)]
        every = [expert for some in own for expert in some] + of_all
        return made, self._shared_gate and self._shared_gate(tape, shared, every)
