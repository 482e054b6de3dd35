"""Dropout: each unit of each sample is zero with probability p, else divided by 1 - p; nothing is dropped in evaluation.

The mask is a function of (seed, layer, step, number of the sample in the global batch, unit), so it is the same on any number
of ranks, and the adjoint computes it anew.
"""

import zlib

import numpy as np

from deshpc.hashing.splitmix import fold_words
from deshpc.nn.tape import Operator

_STEPS = 1 << 16  # of the chance: 16 random bits a unit


class Dropout(Operator):
    """x (n, h) -> x mask / (1 - p); in evaluation x itself."""

    skips_unwanted = True

    def __init__(self, backend, seed, name, probability):
        self._kernels, self._seed, self._layer = backend.dense, seed, zlib.crc32(name.encode())
        self._threshold = np.uint64(min(round(probability * _STEPS), _STEPS - 1))
        self._scale = 1.0 / (1.0 - float(self._threshold) / _STEPS)

    def forward(self, tape, x):
        if not tape.train:
            return x, None
        y = tape.array(x.shape, x.dtype)
        tape.arrays.put(x, y)
        self._drop(tape, y)
        return y, None

    def backward(self, tape, saved, gradient, into):
        self._drop(tape, gradient)
        if into is not None:
            into.add(tape, gradient)

    def _drop(self, tape, numbers):
        seed = np.uint64(fold_words(self._seed, self._layer, tape.step))
        self._kernels.drop(numbers, seed, tape.first_sample, self._threshold, numbers.dtype.type(self._scale))
