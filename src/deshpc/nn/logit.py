"""The end of a tower: a bias and the parts of the logit."""

from deshpc.nn.tape import Operator


class Logit(Operator):
    """Parts (n) or (n, 1) -> their sum and the bias (n)."""

    learns = True

    def __init__(self, values, name="bias"):
        self._bias = values.zeros(name)

    def forward(self, tape, *parts):
        bias = tape.parameters[self._bias]
        logit = tape.array((len(parts[0]),), bias.dtype)
        logit[...] = bias
        for part in parts:
            logit += part.reshape(-1)
        return logit, None

    def backward(self, tape, saved, gradient, *into):
        tape.add(self._bias, lambda out: gradient.sum(out=out))
        for one in into:
            if one is not None:
                one.add(gradient.reshape(one.array.shape))
