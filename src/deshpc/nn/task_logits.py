"""The ends of towers of several tasks: one logit for each."""

from deshpc.nn.dense import ACTIVATIONS
from deshpc.nn.tape import Operator


class TaskLogits(Operator):
    """T parts (n, 1) -> logits (n, T): side by side, with a bias for each task."""

    learns = True

    def __init__(self, backend, values, tasks):
        self._add_bias, self._bias = backend.dense.bias_activation, values.zeros("bias", tasks)

    def forward(self, tape, *parts):
        bias = tape.parameters[self._bias]
        logits = tape.array((len(parts[0]), len(parts)), bias.dtype)
        for t, part in enumerate(parts):
            tape.arrays.put(part, logits[:, t : t + 1])
        self._add_bias(logits, bias, ACTIVATIONS.index("identity"))
        return logits, None

    def backward(self, tape, saved, gradient, *into):
        tape.add(self._bias, lambda out: tape.arrays.column_sums(gradient, out))
        for t, one in enumerate(into):
            one.add(tape, gradient[:, t : t + 1])


class BothHappen(Operator):
    """Logits (n, 2) of a first event, and of a second one where the first has happened -> (n, 2) of the first, and of both."""

    def __init__(self, backend):
        self._kernels = backend.tasks

    def forward(self, tape, logits):
        both, parts = tape.array(logits.shape, logits.dtype), tape.array((len(logits), 3), logits.dtype)
        self._kernels.both_happen(logits, both, parts)
        return both, parts

    def backward(self, tape, parts, gradient, into):
        slopes = tape.scratch.array("slopes", gradient.shape, gradient.dtype)
        self._kernels.both_happen_adjoint(gradient, parts, slopes)
        into.add(tape, slopes)
