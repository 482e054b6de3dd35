"""The ends of towers of several tasks: one logit for each.  Arrays are the host's."""

import numpy as np

from deshpc.nn.tape import Operator


class TaskLogits(Operator):
    """T parts (n, 1) -> logits (n, T): side by side, with a bias for each task."""

    learns = True

    def __init__(self, values, tasks):
        self._bias = values.zeros("bias", tasks)

    def forward(self, tape, *parts):
        bias = tape.parameters[self._bias]
        logits = tape.array((len(parts[0]), len(parts)), bias.dtype)
        for t, part in enumerate(parts):
            np.add(part[:, 0], bias[t], out=logits[:, t])
        return logits, None

    def backward(self, tape, saved, gradient, *into):
        tape.add(self._bias, lambda out: tape.arrays.column_sums(gradient, out))
        for t, one in enumerate(into):
            one.add(tape, np.ascontiguousarray(gradient[:, t : t + 1]))


class BothHappen(Operator):
    """Logits (n, 2) of a first event, and of a second one where the first has happened -> (n, 2) of the first, and of both.

    With p = 1 / (1 + exp(-a)) and q = 1 / (1 + exp(-b)) the logit of p q is -log(exp(-a) + exp(-b) + exp(-a - b)), which overflows nowhere.
    saved : the three terms, as parts of their sum.  Its slope by a is part 1 and part 3, by b part 2 and part 3.
    """

    def forward(self, tape, logits):
        a, b = logits[:, 0], logits[:, 1]
        terms = np.stack([-a, -b, -a - b], axis=1)
        most = terms.max(axis=1)
        parts = np.exp(terms - most[:, None])
        whole = parts[:, 0] + parts[:, 1] + parts[:, 2]
        both = tape.array(logits.shape, logits.dtype)
        both[:, 0] = a
        both[:, 1] = -(most + np.log(whole))
        return both, parts / whole[:, None]

    def backward(self, tape, parts, gradient, into):
        of_a, of_b = parts[:, 0] + parts[:, 2], parts[:, 1] + parts[:, 2]
        into.add(tape, np.stack([gradient[:, 0] + gradient[:, 1] * of_a, gradient[:, 1] * of_b], axis=1))
