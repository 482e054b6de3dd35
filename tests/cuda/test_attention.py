"""Attention on a device: the kernels beside NumPy in float64, and whole steps beside the CPU backend on one rank."""

from functools import cache

import numpy as np
import pytest
from deep_training import deep_config
from device_rows import EPS, assert_same_bits, assert_within, devices
from mpi4py import MPI
from small_training import all_rows, all_samples, reads, score, small_model
from synthetic_batches import awkward_batches

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


WAYS = [{"exchange": "allreduce", "routing": "broadcast"}, {"exchange": "rows", "routing": "routed"}, {"split": "field", "exchange": "pooled"}]


def trained(comm, kind, batches, later, backend=None, **ways):
    """[losses, numbers of rows, dense parameters, logits of `later`].  Collective."""
    with small_model(comm, deep_config(kind, **ways), backend=backend) as model:
        losses = [step(model, reads(model, batch)) for batch in batches]
        logits = all_samples(model, score(model, reads(model, later)))
        return [np.array(losses), all_rows(model).numbers, model.dense_sums.whole_arrays()["values"], logits]


@cache
def on_cpu(kind):
    *batches, later = awkward_batches(23, 5, 1)
    return batches, later, trained(MPI.COMM_SELF, kind, batches, later)


@pytest.mark.mpi
@pytest.mark.in_turns(3)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_ranks_on_a_device_train_what_one_cpu_trains(world, few, way):
    batches, later, expected = on_cpu("autoint")
    for found, wanted in zip(trained(world, "autoint", batches, later, CudaBackend(few), **way), expected, strict=True):
        assert found.shape == wanted.shape and np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()
