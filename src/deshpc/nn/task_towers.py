"""A network for each of several tasks, up to its logit."""

from deshpc.nn.mlp import MLP
from deshpc.nn.task_logits import TaskLogits


class TaskTowers:
    """T Nodes (n, inputs) -> logits (n, T), each by layers of its own and a unit without activation, and a bias."""

    def __init__(self, setting, inputs, hidden):
        """setting : `definitions.Setting`;  hidden : widths of the layers"""
        self.tasks = setting.tasks
        self._towers = [
            MLP(setting.backend, setting.values, f"task.{t}", inputs, hidden, setting.model, setting.seed, out=True) for t in range(setting.tasks)
        ]
        self._logits = TaskLogits(setting.backend, setting.values, setting.tasks)

    def __call__(self, tape, nodes):
        """The logits' Node; a generator."""
        parts = []
        for tower, node in zip(self._towers, nodes, strict=True):
            parts.append((yield from tower(tape, node)))
        return tape.apply(self._logits, *parts)
