"""What surrounds the matrix products of dense layers, CPU: bias and activation, and their adjoints.  See `nn.dense`.

Arrays (n, h) are C-contiguous, of the compute type.  A NaN stays one: it must not be hidden by an activation.
"""

import math

import numpy as np

from deshpc.hashing.splitmix import fold
from deshpc.jit import kernel

IDENTITY, RELU, TANH, SIGMOID = range(4)


@kernel
def bias_activation(y, bias, activation):
    """y = f(y + bias), in place; bias (h)."""
    n, h = y.shape
    nothing = y.dtype.type(0)
    for i in range(n):
        if activation == RELU:
            for j in range(h):
                z = y[i, j] + bias[j]
                y[i, j] = nothing if z < nothing else z
        else:
            for j in range(h):
                y[i, j] += bias[j]
    if activation == TANH:
        for i in range(n):
            for j in range(h):
                y[i, j] = math.tanh(y[i, j])
    elif activation == SIGMOID:
        one = y.dtype.type(1)
        for i in range(n):
            for j in range(h):
                e = math.exp(-abs(y[i, j]))
                y[i, j] = (e if y[i, j] < nothing else one) / (one + e)


@kernel
def activation_adjoint(gradient, y, activation, bias_sum):
    """gradient *= f'(z), in place, from y = f(z); bias_sum (h) = the sum of that over samples."""
    n, h = y.shape
    nothing, one = y.dtype.type(0), y.dtype.type(1)
    bias_sum[:] = 0
    for i in range(n):
        if activation == RELU:
            for j in range(h):
                g = gradient[i, j] if y[i, j] > nothing else nothing
                gradient[i, j] = g
                bias_sum[j] += g
        elif activation == IDENTITY:
            for j in range(h):
                bias_sum[j] += gradient[i, j]
        else:
            for j in range(h):
                slope = one - y[i, j] * y[i, j] if activation == TANH else y[i, j] * (one - y[i, j])
                g = gradient[i, j] * slope
                gradient[i, j] = g
                bias_sum[j] += g


@kernel
def drop(numbers, seed, first_sample, threshold, scale):
    """Set each number (n, h) to zero where its 16 random bits are below `threshold`, else multiply it by `scale`.

    The bits are a function of (seed, number of the sample in the global batch, unit): seed holds run, layer and step.
    """
    n, h = numbers.shape
    for i in range(n):
        state = fold(seed, np.uint64(first_sample + i))
        for block in range(0, h, 4):
            bits = fold(state, np.uint64(block))
            for j in range(block, min(block + 4, h)):
                kept = (bits & np.uint64(0xFFFF)) >= threshold
                numbers[i, j] = numbers[i, j] * scale if kept else numbers.dtype.type(0)
                bits >>= np.uint64(16)


@kernel
def outer(column, row, out, add):
    """out (m, n) = column row^T, or += with `add`."""
    for i in range(len(column)):
        for j in range(len(row)):
            out[i, j] = column[i] * row[j] + (out[i, j] if add else out.dtype.type(0))
