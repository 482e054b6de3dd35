"""Layer normalisation, over a sample's units, and batch normalisation, with statistics of the global batch."""

import numpy as np

from deshpc.nn.tape import Operator

_EPSILON = 1e-5
_MOMENTUM = 0.1  # of a batch in what evaluation uses


class LayerNormalisation(Operator):
    """x (n, h) -> gain (x - mean) / sqrt(variance + 1e-5) + shift, with mean and variance of each sample."""

    learns = True

    def __init__(self, values, name, width):
        self._gain, self._shift = values.ones(f"{name}.gain", width), values.zeros(f"{name}.shift", width)

    def forward(self, tape, x):
        parameters = tape.parameters
        centred = tape.array(x.shape, x.dtype)
        np.subtract(x, x.mean(axis=1, keepdims=True), out=centred)
        inverse = 1 / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + x.dtype.type(_EPSILON))
        centred *= inverse
        y = tape.array(x.shape, x.dtype)
        np.multiply(centred, parameters[self._gain], out=y)
        y += parameters[self._shift]
        return y, (centred, inverse)

    def backward(self, tape, saved, gradient, into):
        normal, inverse = saved
        tape.add(self._shift, lambda out: gradient.sum(axis=0, out=out))
        tape.add(self._gain, lambda out: np.einsum("nh,nh->h", gradient, normal, out=out))
        gradient *= tape.parameters[self._gain]
        own = np.einsum("nh,nh->n", gradient, normal)[:, None] / gradient.shape[1]
        gradient -= gradient.mean(axis=1, keepdims=True)
        gradient -= normal * own
        gradient *= inverse
        into.add(gradient)


class BatchNormalisation(Operator):
    """x (n, h) -> gain (x - mean) / sqrt(variance + 1e-5) + shift, with mean and variance of the global batch.

    Evaluation uses running statistics, which training keeps as `statistics` of the parameters: a tenth of each batch's.
    forward and backward are generators: they yield sums over a block's samples and get those over all (`nn.lockstep`).
    Moments are added up in float64: 16 (h + 1) bytes a rank and direction.
    """

    learns = True

    def __init__(self, values, name, width):
        self._gain, self._shift = values.ones(f"{name}.gain", width), values.zeros(f"{name}.shift", width)
        self._mean = values.statistic(f"{name}.mean", np.zeros(width))
        self._variance = values.statistic(f"{name}.variance", np.ones(width))

    def forward(self, tape, x):
        """A generator; see `Tape.apply_in_step`."""
        parameters = tape.parameters
        if tape.train:
            own = x.sum(axis=0, dtype=np.float64), np.square(x, dtype=np.float64).sum(axis=0)
            count, total, squares = yield from _sums(len(x), *own)
            mean = total / max(1.0, count)
            variance = np.maximum(0.0, squares / max(1.0, count) - mean * mean)
            if count and tape.is_first:
                parameters.keep(self._mean, mean, _MOMENTUM)
                parameters.keep(self._variance, variance * count / max(1.0, count - 1), _MOMENTUM)
        else:
            count, mean, variance = 0, parameters[self._mean], parameters[self._variance]
        inverse = (1 / np.sqrt(variance + _EPSILON)).astype(x.dtype)
        normal, y = tape.array(x.shape, x.dtype), tape.array(x.shape, x.dtype)
        np.subtract(x, mean.astype(x.dtype), out=normal)
        normal *= inverse
        np.multiply(normal, parameters[self._gain], out=y)
        y += parameters[self._shift]
        return y, (normal, inverse, count)

    def backward(self, tape, saved, gradient, into):
        normal, inverse, count = saved
        of_shift, of_gain = gradient.sum(axis=0), np.einsum("nh,nh->h", gradient, normal)
        tape.add(self._shift, lambda out: np.copyto(out, of_shift))
        tape.add(self._gain, lambda out: np.copyto(out, of_gain))
        _, by_shift, by_gain = yield from _sums(len(gradient), of_shift.astype(np.float64), of_gain.astype(np.float64))
        kind = gradient.dtype
        gradient -= (by_shift / max(1.0, count)).astype(kind)
        gradient -= normal * (by_gain / max(1.0, count)).astype(kind)
        gradient *= inverse * tape.parameters[self._gain]
        into.add(gradient)


def _sums(count, first, second):
    """(count, first, second), added up over all blocks and ranks."""
    total = yield np.concatenate([[float(count)], first, second])
    width = len(first)
    return total[0], total[1 : 1 + width], total[1 + width :]
