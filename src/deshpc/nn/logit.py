"""The end of a tower: a bias and the parts of the logit; and their sum without it."""

from deshpc.nn.tape import Operator


class Logit(Operator):
    """Parts (n) or (n, 1) -> their sum and the bias (n)."""

    learns, skips_unwanted = True, True

    def __init__(self, backend, values, name="bias"):
        self._begin, self._bias = backend.loss.begin_logit, values.zeros(name)

    def forward(self, tape, *parts):
        bias = tape.parameters[self._bias]
        logit = tape.array((len(parts[0]),), bias.dtype)
        self._begin(logit, bias)
        for part in parts:
            tape.arrays.put(_column(part), _column(logit), add=True)
        return logit, None

    def backward(self, tape, saved, gradient, *into):
        tape.add(self._bias, lambda out: tape.arrays.column_sums(_column(gradient), out.reshape(1)))
        for one in into:
            if one is not None:
                one.add(tape, gradient.reshape(one.array.shape))


class Sum(Operator):
    """Parts (n) or (n, 1) -> their sum (n)."""

    skips_unwanted = True

    def forward(self, tape, *parts):
        total = tape.array((len(parts[0]),), parts[0].dtype)
        for i, part in enumerate(parts):
            tape.arrays.put(_column(part), _column(total), add=i > 0)
        return total, None

    def backward(self, tape, saved, gradient, *into):
        for one in into:
            if one is not None:
                one.add(tape, gradient.reshape(one.array.shape))


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
        tape.add(self._weights, lambda out: tape.arrays.column_sums(dense, out, _column(gradient)))


def _column(array):
    """(n, 1) of an array (n) or (n, 1)."""
    return array if array.ndim == 2 else array.reshape(len(array), 1)
