"""Linear term, CPU: partial sum_j w_j x_j; adjoint dw_j = g x_j.  See `ops.linear`."""

import numpy as np

from deshpc.backend.cpu.memory import at, cast, load, prefetch, put
from deshpc.backend.record import WEIGHTS
from deshpc.jit import kernel

AHEAD = 16  # occurrences between asking for a record and reading it


@kernel
def partial(number, zero, offsets, local, values, addresses, state, width, column):
    """state[i, column] = sum over sample i's own occurrences of w x.

    number, zero : 0 of the storage and of the compute type;  offsets (B + 1) int64, local (nnz) int32, values (nnz)
    float32 or None, addresses (distinct) int64;  state : (B, width) of the compute type
    """
    last = len(local) - 1
    for i in range(len(offsets) - 1):
        total = zero
        for j in range(at(offsets, i), at(offsets, i + 1)):
            prefetch(at(addresses, np.int64(at(local, min(j + AHEAD, last)))))
            weight = cast(load(at(addresses, np.int64(at(local, j))) + WEIGHTS, number), zero)
            if values is None:
                total += weight
            else:
                total += weight * cast(at(values, j), zero)
        put(state, i * width + column, total)


@kernel
def finish(zero, state, width, column, dense, weights, logit, begin, end):
    """logit[i] += state[i, column] + dense_i . weights for samples begin .. end.  weights : (n_dense)."""
    n_dense = len(weights)
    for i in range(begin, end):
        total = at(state, i * width + column)
        for f in range(n_dense):
            total += cast(at(dense, i * n_dense + f), zero) * at(weights, f)
        put(logit, i, at(logit, i) + total)


@kernel
def finish_adjoint(zero, state, width, column, dense, gradient, weight_sums, begin, end):
    """state[i, column] = gradient[i]; weight_sums (n_dense) += sum of gradient[i] dense_i, samples begin .. end."""
    n_dense = len(weight_sums)
    for i in range(begin, end):
        g = at(gradient, i)
        put(state, i * width + column, g)
        for f in range(n_dense):
            put(weight_sums, f, at(weight_sums, f) + g * cast(at(dense, i * n_dense + f), zero))


@kernel
def partial_adjoint(zero, offsets, local, values, state, width, column, scalar_sums):
    """scalar_sums[c] += x g for every own occurrence of distinct key c.  state : (B, width) holds g at `column`."""
    for i in range(len(offsets) - 1):
        g = at(state, i * width + column)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            if values is None:
                put(scalar_sums, c, at(scalar_sums, c) + g)
            else:
                put(scalar_sums, c, at(scalar_sums, c) + g * cast(at(values, j), zero))
