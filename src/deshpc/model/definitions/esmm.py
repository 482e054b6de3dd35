"""Entire space multi-task model (Ma et al. 2018): a click, and a conversion that needs one, over all samples.

Two networks of x_0 give the logits of a click and of a conversion after a click.  What is predicted, and learnt from, is the chance of a click, and
that of both, their product: so a conversion is learnt without choosing the samples that were clicked.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.task_logits import BothHappen
from deshpc.nn.task_towers import TaskTowers


class ESMM(Definition):
    field_dims = True

    def __init__(self, setting):
        self._towers, self._both = TaskTowers(setting, setting.inputs, setting.model.hidden), BothHappen(setting.backend)

    def logit(self, tape, inputs):
        logits = yield from self._towers(tape, [inputs.x0] * self._towers.tasks)
        return tape.apply(self._both, logits)
