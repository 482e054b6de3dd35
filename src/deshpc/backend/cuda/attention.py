"""Values of sequences, of which each sample has any number, on a device: the operations of `backend.cpu.attention`.

See kernels/attention.cu.
"""

from typing import Any, NamedTuple

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.cuda.sending import sent

_WARP = 32


class Stretches(NamedTuple):
    """begins (n + 1) int64 : where each sample's values begin, and end;  values : in all, as the host knows"""

    begins: Any
    values: int


class AttentionOperations:
    """Lengths are the host's, which has counted them, so that nobody waits to learn how many values there are."""

    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)

    def of_sequence(self, lengths, column):
        begins = np.concatenate([[0], np.cumsum(lengths[:, column], dtype=np.int64)])
        return Stretches(sent(self._kernels.device, begins), int(begins[-1]))

    def samples(self, lengths):
        return lengths.begins.size - 1

    def count(self, lengths):
        return lengths.values

    def take(self, seats, lengths, values):
        n, width = seats.shape
        dim = values.shape[1]
        self._of(values).take(n * width, seats, n, width // dim, dim, lengths.begins, values)

    def give_back(self, gradient, lengths, seats):
        n, width = seats.shape
        dim = gradient.shape[1]
        self._of(gradient).give_back(n * width, gradient, n, width // dim, dim, lengths.begins, seats)

    def pair(self, values, targets, lengths, pairs):
        n, dim = targets.shape
        self._of(values).pair(n * dim, values, targets, n, dim, lengths.begins, pairs)

    def pair_adjoint(self, gradient, pairs, lengths, of_values, of_targets):
        n, dim = of_targets.shape
        self._of(pairs).pair_adjoint(n * dim, gradient, pairs, n, dim, lengths.begins, of_values, of_targets)

    def softmax(self, numbers, lengths, weights):
        n = lengths.begins.size - 1
        self._of(weights).softmax(n, numbers, n, lengths.begins, weights)

    def weighted_sum(self, weights, values, lengths, result):
        n, dim = result.shape
        self._of(values).weighted_sum(n * dim, weights, values, n, dim, lengths.begins, result)

    def weighted_sum_adjoint(self, gradient, weights, values, lengths, through_softmax, of_numbers, of_values):
        n, dim = gradient.shape
        scratch = self._scratch.array("of weights", max(1, lengths.values), weights.dtype)
        self._of(values).weighted_sum_adjoint(
            n * _WARP, gradient, weights, values, n, dim, lengths.begins, int(through_softmax), scratch, of_numbers, of_values
        )

    def _of(self, numbers):
        return self._kernels("attention.cu", COMPUTE=kind(numbers))
