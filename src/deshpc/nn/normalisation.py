"""Layer normalisation, over a sample's units, and batch normalisation, with statistics of the global batch."""

import numpy as np

from deshpc.nn.tape import Operator

_EPSILON = 1e-5
_MOMENTUM = 0.1  # of a batch in what evaluation uses


class LayerNormalisation(Operator):
    """x (n, h) -> gain (x - mean) / sqrt(variance + 1e-5) + shift, with mean and variance of each sample."""

    learns = True

    def __init__(self, backend, values, name, width):
        self._kernels = backend.normalisation
        self._gain, self._shift = values.ones(f"{name}.gain", width), values.zeros(f"{name}.shift", width)

    def forward(self, tape, x):
        gain, shift = tape.parameters[self._gain], tape.parameters[self._shift]
        normal, y, inverse = tape.array(x.shape, x.dtype), tape.array(x.shape, x.dtype), tape.array((len(x), 1), x.dtype)
        self._kernels.layer(x, gain, shift, _EPSILON, inverse, normal, y)
        return y, (normal, inverse)

    def backward(self, tape, saved, gradient, into):
        normal, inverse = saved
        tape.add(self._shift, lambda out: tape.arrays.column_sums(gradient, out))
        tape.add(self._gain, lambda out: tape.arrays.column_sums(gradient, out, normal))
        self._kernels.layer_adjoint(gradient, normal, inverse, tape.parameters[self._gain])
        into.add(tape, gradient)


class BatchNormalisation(Operator):
    """x (n, h) -> gain (x - mean) / sqrt(variance + 1e-5) + shift, with mean and variance of the global batch.

    Evaluation uses running statistics, which training keeps as `statistics` of the parameters: a tenth of each batch's.
    forward and backward are generators: they yield sums over a block's samples and get those over all (`nn.lockstep`).
    Moments are added up in float64: 16 (h + 1) bytes a rank and direction.
    """

    learns = True

    def __init__(self, backend, values, name, width):
        self._kernels = backend.normalisation
        self._gain, self._shift = values.ones(f"{name}.gain", width), values.zeros(f"{name}.shift", width)
        self._mean = values.statistic(f"{name}.mean", np.zeros(width))
        self._variance = values.statistic(f"{name}.variance", np.ones(width))

    def forward(self, tape, x):
        """A generator; see `Tape.apply_in_step`."""
        kernels, (n, h), kind = self._kernels, x.shape, x.dtype
        gain, shift = tape.parameters[self._gain], tape.parameters[self._shift]
        mean, variance = kept = tape.parameters[self._mean], tape.parameters[self._variance]
        if tape.train:
            sums = tape.array((2 * h + 1,), np.float64)
            kernels.moments(x, sums)
            sums = yield sums
            mean, variance = tape.scratch.array("mean", h, np.float64), tape.scratch.array("variance", h, np.float64)
            kernels.statistics(sums, mean, variance)
            if tape.is_first:
                kernels.keep(sums, mean, variance, _MOMENTUM, *kept)
        inverse, normal, y = tape.array((h,), kind), tape.array((n, h), kind), tape.array((n, h), kind)
        kernels.standardise(x, mean, variance, _EPSILON, gain, shift, inverse, normal, y)
        return y, (normal, inverse)

    def backward(self, tape, saved, gradient, into):
        normal, inverse = saved
        h, arrays = gradient.shape[1], tape.arrays
        of_shift, of_gain = tape.scratch.array("of shift", h, gradient.dtype), tape.scratch.array("of gain", h, gradient.dtype)
        sums = tape.array((2 * h + 1,), np.float64)
        self._kernels.adjoint_sums(gradient, normal, of_shift, of_gain, sums)
        tape.add(self._shift, lambda out: arrays.put(of_shift, out))
        tape.add(self._gain, lambda out: arrays.put(of_gain, out))
        sums = yield sums
        self._kernels.batch_adjoint(gradient, normal, inverse, tape.parameters[self._gain], sums)
        into.add(tape, gradient)
