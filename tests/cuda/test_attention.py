"""Attention on a device: the kernels beside NumPy in float64, and whole steps beside the CPU backend on one rank."""

from functools import cache

import numpy as np
import pytest
from device_rows import EPS, assert_same_bits, assert_within, devices
from models.test_attention import KEY_FIELDS, batches_of, config_of
from mpi4py import MPI
from small_training import all_rows, all_samples, reads, score, small_model

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.training.step import step

TOLERANCE = 1e-11  # float64, of each array's largest number


@pytest.mark.parametrize("compute, samples, fields, heads, width", [("float32", 9, 5, 2, 3), ("float64", 3, 40, 1, 4), ("float32", 0, 3, 1, 2)])
def test_attention_between_fields(few, compute, samples, fields, heads, width):
    rng, eps, found = np.random.default_rng(7), EPS[compute], []
    queries, keys, values, gradient = (rng.standard_normal((samples * fields, heads * width)).astype(compute) for _ in range(4))
    for one in devices(few):
        backend = CudaBackend(one)
        *given, upstream = (backend.array(array) for array in (queries, keys, values, gradient))
        shares, (result, *into) = backend.zeros((samples, heads, fields, fields), compute), (backend.zeros(queries.shape, compute) for _ in range(4))
        backend.self_attention.attend(*given, heads, shares, result)
        backend.self_attention.attend_adjoint(upstream, *given, heads, shares, *into)
        found.append([backend.host(array) for array in (shares, result, *into)])
        for array, first in zip(found[-1], found[0], strict=True):
            assert_same_bits(array, first)

    def by_head(array):
        return array.astype(float).reshape(samples, fields, heads, width).transpose(0, 2, 1, 3)

    q, k, v, g = (by_head(array) for array in (queries, keys, values, gradient))
    weights = np.exp(q @ k.swapaxes(2, 3))
    weights /= weights.sum(axis=3, keepdims=True)
    of_weights = g @ v.swapaxes(2, 3)
    slopes = weights * (of_weights - (weights * of_weights).sum(axis=3, keepdims=True))
    # |<q, k>| up to 20 is rounded some times before its exponential is taken; what follows are sums of products
    size = (20 + fields * width) * 40 * eps
    assert_within(found[0][0], weights, size * weights)
    for array, exact in zip(found[0][1:], (weights @ v, slopes @ k, slopes.swapaxes(2, 3) @ q, weights.swapaxes(2, 3) @ g), strict=True):
        assert_within(by_head(array), exact, np.full(exact.shape, size * np.abs(exact).max(initial=1)))


@pytest.mark.parametrize("compute, softmax", [("float32", True), ("float64", False)])
def test_attention_to_a_target(few, compute, softmax):
    """Samples of 0 to 5 values of 35 numbers: more than a warp has lanes."""
    rng, eps, places, dim, behind = np.random.default_rng(8), EPS[compute], 5, 35, 2
    lengths = np.array([[3, 9], [0, 9], [5, 9], [1, 9], [0, 9], [2, 9]], np.int32)
    n, own = len(lengths), lengths[:, 0]
    there, sample = np.arange(places) < own[:, None], np.repeat(np.arange(n), own)
    x0 = rng.standard_normal((n, 1 + places * dim + dim + behind)).astype(compute)
    at_seats, at_target = slice(1, 1 + places * dim), slice(1 + places * dim, 1 + places * dim + dim)
    values, t = x0[:, at_seats].reshape(n, places, dim)[there], x0[sample, at_target]
    numbers, held = (3 * rng.standard_normal((len(values), 1))).astype(compute), rng.standard_normal(x0.shape).astype(compute)
    of_pairs, of_sums = rng.standard_normal((len(values), 4 * dim)).astype(compute), rng.standard_normal((n, dim)).astype(compute)
    backend = CudaBackend(few)
    kernels, arrays = backend.attention, [backend.array(one) for one in (x0, numbers, of_pairs, of_sums, held)]
    given, of_numbers, upstream, of_result, gradient = arrays
    sequence = kernels.of_sequence(lengths, 0)
    assert (kernels.count(sequence), kernels.samples(sequence)) == (len(values), n)
    taken, pairs, weights, result = (backend.zeros(shape, compute) for shape in (values.shape, of_pairs.shape, numbers.shape, of_sums.shape))
    kernels.take(given[:, at_seats], sequence, taken)
    assert_same_bits(backend.host(taken), values)
    kernels.pair(taken, given[:, at_target], sequence, pairs)
    assert_same_bits(backend.host(pairs), np.hstack([values, t, values - t, values * t]))
    if softmax:
        kernels.softmax(of_numbers, sequence, weights)
    else:
        backend.arrays.put(of_numbers, weights)
    kernels.weighted_sum(weights, taken, sequence, result)
    p = numbers.astype(float)
    if softmax:
        p = np.exp(p - 9)
        p /= np.array([p[sample == i].sum() for i in sample])[:, None]
    assert_within(backend.host(weights), p, 60 * eps * np.abs(p))
    exact, sizes = np.zeros((2, n, dim))
    np.add.at(exact, sample, p * values)
    np.add.at(sizes, sample, np.abs(p * values))
    assert_within(backend.host(result), exact, 80 * eps * sizes)

    of_values, into = backend.array(values), backend.array(numbers)  # which are added to
    kernels.pair_adjoint(upstream, pairs, sequence, of_values, gradient[:, at_target])
    kernels.weighted_sum_adjoint(of_result, weights, taken, sequence, softmax, into, of_values)
    kernels.give_back(of_values, sequence, gradient[:, at_seats])
    e, of_e, of_t, of_difference, of_product = (one.astype(float) for one in (values, *np.split(of_pairs, 4, axis=1)))
    slope = of_sums.astype(float)[sample]
    of_weights = (slope * e).sum(axis=1, keepdims=True)
    expected, size = held.astype(float), 200 * eps * 40
    expected[:, at_seats].reshape(n, places, dim)[there] += e + of_e + of_difference + of_product * t + p * slope
    np.add.at(expected[:, at_target], sample, of_t - of_difference + of_product * e)
    assert_within(backend.host(gradient), expected, np.full(expected.shape, size))
    if softmax:
        means = np.array([(p * of_weights)[sample == i].sum() for i in sample])[:, None]
        of_weights = p * (of_weights - means)
    assert_within(backend.host(into), numbers + of_weights, np.full(numbers.shape, size))


WAYS = [  # of models.test_attention: rows that fields share, and two sequences
    ("din", "key", "pooled", "rows", "routed"), ("din, softmax", "field", "pooled", "rows", "broadcast"),
    ("wide_deep", "key", "pooled", "reduce_scatter", "broadcast"), ("autoint", "key", "pooled", "allreduce", "broadcast"),
    ("autoint", "field", "pooled", "rows", "routed"), ("din", "key", "pooled", "rows", "broadcast"),
]  # fmt: skip


def trained(comm, config, batches, later, backend=None):
    """(keys, fields of rows), [losses, numbers of rows, dense parameters, logits of `later`].  Collective."""
    with small_model(comm, config, backend=backend, key_fields=KEY_FIELDS) as model:
        losses = [step(model, reads(model, batch)) for batch in batches]
        logits, rows = all_samples(model, score(model, reads(model, later))), all_rows(model)
        return (rows.keys, rows.fields), [np.array(losses), rows.numbers, model.dense_sums.whole_arrays()["values"], logits]


@cache
def on_cpu(kind):
    *batches, later = batches_of(23, 5)
    return batches, later, *trained(MPI.COMM_SELF, config_of(kind), batches, later)


@pytest.mark.thorough(2)
@pytest.mark.mpi
@pytest.mark.in_turns(3)
@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_ranks_on_a_device_train_what_one_cpu_trains(world, few, way):
    batches, later, rows, expected = on_cpu(way[0])
    of_rows, found = trained(world, config_of(*way), batches, later, CudaBackend(few))
    for one, other in zip(of_rows, rows, strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() <= TOLERANCE * np.abs(other).max()


def test_fixed_point_of_values_that_stay_apart(few):
    """Bounds and sums of occurrences that have seats."""
    config = config_of("din", accumulate="int64")
    *batches, later = batches_of(24, 3)
    (rows, found), (of_cpu, expected) = (trained(MPI.COMM_SELF, config, batches, later, backend) for backend in (CudaBackend(few), None))
    assert np.array_equal(rows[0], of_cpu[0])
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1e-8 * np.abs(other).max()
