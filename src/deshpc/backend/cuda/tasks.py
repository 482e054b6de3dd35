"""Several labels of a sample, on a device: the operations of `backend.cpu.tasks`.  See kernels/tasks.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind


class TaskOperations:
    """What `of_task` gives is scratch, until the next call."""

    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)

    def of_task(self, logit, labels, task, weight, weights):
        n, array = len(logit), self._scratch.array
        own = array("logit", n, logit.dtype), array("labels", n, np.float32), array("counts", n, np.float32)
        column = slice(task, task + 1)
        self._of(logit).of_task(n, logit[:, column], labels[:, column], n, float(weight), weights, *own)
        return *own, array("slope", n, logit.dtype)

    def softmax(self, gate, p):
        self._of(gate).softmax(len(gate), gate, *gate.shape, p)

    def both_happen(self, logits, both, parts):
        self._of(logits).both_happen(len(logits), logits, len(logits), both, parts)

    def both_happen_adjoint(self, gradient, parts, slopes):
        self._of(gradient).both_happen_adjoint(len(gradient), gradient, parts, len(gradient), slopes)

    def _of(self, numbers):
        return self._kernels("tasks.cu", COMPUTE=kind(numbers))
