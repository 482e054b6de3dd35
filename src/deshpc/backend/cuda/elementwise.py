"""What small kernels do with one element: plain scalar Python, which Numba compiles for the device (`numba_kernels.py`).

body(i, ...) works on element i of flat arrays and on nothing that another element writes.  Numbers keep the types of the
arrays: literals are converted by the type of an array's element where it matters.
"""

import math

import numpy as np
from numba.extending import register_jitable

RULES = ("Sgd", "Adagrad", "RowwiseAdagrad", "Adam", "Ftrl")
"""Names of `backend.rules` by the number that kernels know them by; kernels/rules.cuh has the same."""


@register_jitable
def product(a, b):
    """a b, rounded before anything is added to it: compilers for devices would fuse the two (`numba_kernels.py`)."""
    return a * b


def log_loss(i, shift, logit, labels, scale, gradient, losses):
    """gradient[i] = (p - y) scale, losses[i] (float64), of the logit and `shift` : see `cpu.loss.slopes`."""
    z, y = logit[i] + shift, logit.dtype.type(labels[i])
    e = math.exp(-abs(z))
    one = logit.dtype.type(1)
    probability = (one if z >= 0 else e) / (one + e)
    gradient[i] = (probability - y) * scale
    slope = one - y if z > 0 else y
    loss = math.log(1.0 + e)
    if slope != 0:  # an infinite logit of the right sign costs nothing
        loss += product(slope, abs(z))
    losses[i] = loss


def squared_loss(i, shift, logit, labels, scale, gradient, losses):
    """gradient[i] = (z - y) scale, losses[i] (float64), of the logit and `shift`."""
    difference = logit[i] + shift - logit.dtype.type(labels[i])
    gradient[i] = difference * scale
    wide = np.float64(difference)
    losses[i] = 0.5 * wide * wide


def poisson_loss(i, shift, logit, labels, scale, gradient, losses):
    """gradient[i] = (exp(z) - y) scale, losses[i] (float64), of the logit and `shift` : see `cpu.loss`."""
    z, y = logit[i] + shift, logit.dtype.type(labels[i])
    gradient[i] = (math.exp(z) - y) * scale
    label = np.float64(y)
    if label == 0.0:
        losses[i] = math.exp(np.float64(z))
    else:
        r = np.float64(z) - math.log(label)
        rest = math.expm1(r) - r
        losses[i] = label * (0.0 if rest < 0.0 else rest)


def weigh(i, weights, gradient, losses):
    """gradient[i] and losses[i] (float64) times the sample's weight (float32)."""
    gradient[i] = gradient[i] * gradient.dtype.type(weights[i])
    losses[i] = losses[i] * np.float64(weights[i])


def begin_logit(i, logit, bias):
    """logit[i] = the bias."""
    logit[i] = bias[0]


def from_fixed_point(i, sums, inverse_scale, numbers):
    """numbers[i] = the value of an int64 fixed-point sum, or the sum itself: inverse_scale is 1 in floating point."""
    numbers[i] = sums[i] * inverse_scale


def add_rounded(i, numbers, scale, sums):
    """sums[i] (int64) += numbers[i] times scale, rounded to the nearest integer."""
    sums[i] = sums[i] + round(np.float64(numbers[i]) * scale)


def sizes(i, numbers, result):
    """result[i] (float64) = |numbers[i]|."""
    result[i] = abs(np.float64(numbers[i]))


def squares(i, numbers, result):
    """result[i] (float64) = numbers[i] squared."""
    number = np.float64(numbers[i])  # Numba's float() leaves a float32 as it is
    result[i] = number * number


def update_dense(i, rule, field, clip, values, state, gradient):
    """Apply rule number `rule`, its fields in `field`, to dense parameter i with gradient  clip gradient.

    state (planes n), plane after plane.  The formulas are those of `backend.rules`, each product rounded by itself; dense
    parameters have no row-wise rule (`table.optimizer`).
    """
    n = len(gradient)  # statistics lie behind the values, and have none
    g, weight = product(clip, gradient[i]), values[i]
    if rule == 0:
        values[i] = product(g, -field[0]) + weight
    elif rule == 1:
        total = product(g, g) + state[i]
        state[i] = total
        values[i] = weight - g * field[0] / (math.sqrt(total) + field[1])
    elif rule == 3:
        mean = product(field[1], state[i]) + product(field[3], g)
        square = product(field[2], state[n + i]) + product(field[4] * g, g)
        state[i] = mean
        state[n + i] = square
        values[i] = weight - field[0] * field[5] * mean / (math.sqrt(field[6] * square) + field[7])
    else:
        total = state[n + i]
        grown = product(g, g) + total
        z = state[i] + (g - product((math.sqrt(grown) - math.sqrt(total)) / field[0], weight))
        state[i] = z
        state[n + i] = grown
        kept = max(min(z, field[2]), -field[2]) - z
        values[i] = kept / ((field[1] + math.sqrt(grown)) / field[0] + field[3])
