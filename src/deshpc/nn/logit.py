"""The end of a tower: a bias and the parts of the logit; and their sum without it."""

import numpy as np

from deshpc.nn.tape import Operator


class Logit(Operator):
    """Parts (n) or (n, 1) -> their sum and the bias (n)."""

    learns, skips_unwanted = True, True

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


class Sum(Operator):
    """Parts (n) or (n, 1) -> their sum (n)."""

    skips_unwanted = True

    def forward(self, tape, *parts):
        total = tape.array((len(parts[0]),), parts[0].dtype)
        total[...] = parts[0].reshape(-1)
        for part in parts[1:]:
            total += part.reshape(-1)
        return total, None

    def backward(self, tape, saved, gradient, *into):
        for one in into:
            if one is not None:
                one.add(gradient.reshape(one.array.shape))


class Wide(Operator):
    """dense (n, n_dense) -> dense . w (n), with weights that are one vector."""

    learns = True

    def __init__(self, values, name, inputs):
        self._weights = values.zeros(name, inputs)

    def forward(self, tape, dense):
        weights = tape.parameters[self._weights]
        result = tape.array((len(dense),), weights.dtype)
        tape.products.multiply_rows(dense, weights.reshape(-1, 1), result.reshape(-1, 1))
        return result, dense

    def backward(self, tape, dense, gradient, _):
        tape.add(self._weights, lambda out: np.matmul(dense.T, gradient.reshape(-1), out=out))
