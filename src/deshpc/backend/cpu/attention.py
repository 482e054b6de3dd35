"""Values of sequences, of which each sample has any number, CPU, but for matrix products.  See `nn.attention`.

seats (n, L k) : the embeddings of a sample's values, of which the first lengths[i] are there
values (M, k) : those that are there, sample by sample, M = lengths.sum()
A sample's numbers are added up in an order that depends on its length alone, so their bits do not depend on its place.
"""

import numpy as np


def of_sequence(lengths, column):
    """(n) int32: how many values each sample has of one sequence, of lengths (n, S)."""
    return lengths[:, column]


def samples(lengths):
    """n."""
    return len(lengths)


def count(lengths):
    """M."""
    return int(lengths.sum())


def take(seats, lengths, values):
    """values = those that are there."""
    values[...] = _by_value(seats, values.shape[1])[_there(seats, lengths, values.shape[1])]


def give_back(gradient, lengths, seats):
    """seats += gradient (M, k): the adjoint of `take`."""
    dim = gradient.shape[1]
    _by_value(seats, dim)[_there(seats, lengths, dim)] += gradient


def pair(values, targets, lengths, pairs):
    """pairs (M, 4 k) = e, t, e - t, e * t of each value e and its sample's target t; targets (n, k)."""
    dim = values.shape[1]
    e, t, difference, product = (pairs[:, i * dim : (i + 1) * dim] for i in range(4))
    e[...], t[...] = values, np.repeat(targets, lengths, axis=0)
    np.subtract(e, t, out=difference)
    np.multiply(e, t, out=product)


def pair_adjoint(gradient, pairs, lengths, of_values, of_targets):
    """of_values (M, k), of_targets (n, k) += those of `pair`, from that of the pairs (M, 4 k)."""
    dim = of_values.shape[1]
    e, t = pairs[:, :dim], pairs[:, dim : 2 * dim]
    of_e, of_t, of_difference, of_product = (gradient[:, i * dim : (i + 1) * dim] for i in range(4))
    of_values += of_e + of_difference + of_product * t
    _add_sums(of_t - of_difference + of_product * e, lengths, of_targets)


def softmax(numbers, lengths, weights):
    """weights (M, 1) = exp(number) over the sum of a sample's; numbers (M, 1)."""
    largest = np.full((len(lengths), 1), -np.inf, numbers.dtype)
    filled, begins = _filled(lengths)
    if len(filled):
        largest[filled] = np.maximum.reduceat(numbers, begins, axis=0)
    np.exp(numbers - np.repeat(largest, lengths, axis=0), out=weights)
    totals = np.zeros((len(lengths), 1), numbers.dtype)
    _add_sums(weights, lengths, totals)
    weights /= np.repeat(totals, lengths, axis=0)


def weighted_sum(weights, values, lengths, result):
    """result (n, k) = sum of a sample's weight times value; weights (M, 1)."""
    result[...] = 0
    _add_sums(weights * values, lengths, result)


def weighted_sum_adjoint(gradient, weights, values, lengths, through_softmax, of_numbers, of_values):
    """of_values (M, k), of_numbers (M, 1) += those of `weighted_sum`, and of `softmax` if weights are its; gradient (n, k)."""
    upstream = np.repeat(gradient, lengths, axis=0)
    of_values += weights * upstream
    of_weights = (upstream * values).sum(axis=1, keepdims=True)
    if through_softmax:
        means = np.zeros((len(lengths), 1), of_weights.dtype)
        _add_sums(weights * of_weights, lengths, means)
        of_weights = weights * (of_weights - np.repeat(means, lengths, axis=0))
    of_numbers += of_weights


def _by_value(seats, dim):
    """(n, L, k) of (n, L k), nothing copied."""
    rows, columns = seats.strides
    return np.lib.stride_tricks.as_strided(seats, (len(seats), seats.shape[1] // dim, dim), (rows, dim * columns, columns))


def _there(seats, lengths, dim):
    """(n, L) bool: places of values that are there."""
    return np.arange(seats.shape[1] // dim) < lengths[:, None]


def _filled(lengths):
    """(numbers of the samples that have values, where the values of each begin)."""
    filled = np.flatnonzero(lengths)
    return filled, (np.cumsum(lengths) - lengths)[filled]


def _add_sums(terms, lengths, sums):
    """sums (n, h) += the sum of each sample's terms (M, h)."""
    filled, begins = _filled(lengths)
    if len(filled):
        sums[filled] += np.add.reduceat(terms, begins, axis=0)
