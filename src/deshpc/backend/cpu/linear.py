"""Linear term, CPU: partial sum_j w_j x_j; adjoint dw_j = g x_j, x the `linear_value`.  See `ops.linear`.

Arguments that go together are those of `backend.arguments`.
"""

import numpy as np

from deshpc.backend.cpu.ahead import ROWS
from deshpc.backend.cpu.memory import at, cast, load, prefetch, put, size_of
from deshpc.backend.cpu.sums import accumulate_product, add_product
from deshpc.backend.cpu.values import linear_value
from deshpc.backend.record import EMBEDDING
from deshpc.jit import kernel


@kernel
def partial(form, occurrences, weights, state, column, scale):
    """state[i, column] = sum over sample i's own occurrences of w x.

    weights : (distinct) of the compute type, scratch: the distinct rows' weights side by side stay in the nearest caches
    state : (n, width) of the accumulation type
    scale : float64, of fixed-point sums
    """
    number, zero, width = form.number, form.zero, state.shape[1]
    offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
    last, place = len(addresses) - 1, EMBEDDING - size_of(number)
    for c in range(last + 1):
        prefetch(at(addresses, min(c + ROWS, last)) + place)
        put(weights, c, cast(load(at(addresses, c) + place, number), zero))
    for i in range(len(offsets) - 1):
        total = cast(0, at(state, 0))
        for j in range(at(offsets, i), at(offsets, i + 1)):
            weight = at(weights, np.int64(at(local, j)))
            total = accumulate_product(total, weight, linear_value(values, j, zero), scale)
        put(state, i * width + column, total)


@kernel
def finish(form, state, column, dense, weights, logit, begin, end):
    """logit[i] += state[i, column] + dense_i . weights for samples begin .. end.  weights : (n_dense)."""
    zero, width, n_dense = form.zero, state.shape[1], len(weights)
    for i in range(begin, end):
        total = at(state, i * width + column)
        for f in range(n_dense):
            total += cast(at(dense, i * n_dense + f), zero) * at(weights, f)
        put(logit, i, at(logit, i) + total)


@kernel
def finish_adjoint(form, state, column, dense, gradient, weight_sums, scale, parts):
    """state[i, column] = gradient[i]; weight_sums[p] (n_dense) += sum of gradient[i] dense_i, for some Parts of the samples.

    weight_sums : (parts, n_dense) of the accumulation type, with `scale` in fixed point
    """
    zero, width, edges, n_dense = form.zero, state.shape[1], parts.edges, weight_sums.shape[1]
    for p in range(parts.begin, parts.end):
        for i in range(at(edges, p), at(edges, p + 1)):
            g = at(gradient, i)
            put(state, i * width + column, g)
            for f in range(n_dense):
                x, slot = cast(at(dense, i * n_dense + f), zero), p * n_dense + f
                put(weight_sums, slot, accumulate_product(at(weight_sums, slot), g, x, scale))


@kernel
def partial_adjoint(form, occurrences, state, column, sums, scale):
    """scalar[c] += x g of the Sums for every own occurrence of distinct key c.

    state : (n, width) of the compute type holds g at `column`
    """
    offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
    zero, width = form.zero, state.shape[1]
    for i in range(len(offsets) - 1):
        g = at(state, i * width + column)
        for j in range(at(offsets, i), at(offsets, i + 1)):
            c = np.int64(at(local, j))
            add_product(sums.scalar, c, g, linear_value(values, j, zero), scale)


@kernel
def magnitude(form, occurrences):
    """(largest sum of |w x| over the own occurrences of a sample, that sample); the first NaN wins."""
    offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
    number, worst, where = form.number, 0.0, 0
    for i in range(len(offsets) - 1):
        total = 0.0
        for j in range(at(offsets, i), at(offsets, i + 1)):
            weight = np.float64(load(at(addresses, np.int64(at(local, j))) + EMBEDDING - size_of(number), number))
            total += abs(weight * linear_value(values, j, weight))
        if not total <= worst:
            worst, where = total, i
            if worst != worst:
                break
    return worst, where


@kernel
def largest_term(gradient, largest_values, begin, end):
    """(largest |term| of the sums of gradients over samples begin .. end, that sample); the first NaN wins.

    gradient : (n)
    largest_values : (end - begin) float64, the largest |value| of each sample
    """
    worst, where = 0.0, begin
    for i in range(begin, end):
        term = abs(float(at(gradient, i))) * max(1.0, at(largest_values, i - begin))
        if not term <= worst:
            worst, where = term, i
            if worst != worst:
                break
    return worst, where
