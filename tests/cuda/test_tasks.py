"""Several labels on a device: the kernels beside NumPy, and whole steps of every such model beside the CPU backend on one rank."""

from functools import cache

import numpy as np
import pytest
from device_rows import EPS, assert_same_bits, assert_within
from mpi4py import MPI
from small_training import all_rows, all_samples, reads, score, small_model
from task_training import task_batches, task_config

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns(3)]

TOLERANCE = 1e-11  # float64, of each array's largest number


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_what_each_task_needs(few, compute):
    backend, rng, n = CudaBackend(few), np.random.default_rng(3), 300
    logit, labels = rng.standard_normal((n, 3)).astype(compute), (rng.random((n, 3)) < 0.5).astype(np.float32)
    labels[::4, 1], weights = np.nan, rng.random(n).astype(np.float32)
    unknown = np.isnan(labels[:, 1])
    for given in (None, weights):
        of_weights = None if given is None else backend.array(given)
        own, known, counts, slope = backend.tasks.of_task(backend.array(logit), backend.array(labels), 1, 0.3, of_weights)
        assert_same_bits(backend.host(own), logit[:, 1])
        assert_same_bits(backend.host(known), np.where(unknown, 0, labels[:, 1]).astype(np.float32))
        assert_same_bits(backend.host(counts), np.where(unknown, 0, np.float32(0.3) * (1 if given is None else given)).astype(np.float32))
        assert slope.shape == (n,) and slope.dtype == compute
    counted = backend.zeros((2, 1024), np.int64)
    backend.loss.count_scores(backend.array(logit[:, 1].copy()), backend.array(labels[:, 1].copy()), counted)
    assert backend.host(counted).sum(axis=1).tolist() == [(labels[:, 1] == 0).sum(), (labels[:, 1] == 1).sum()]


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_gates_and_the_chance_of_both(few, compute):
    backend, rng, eps = CudaBackend(few), np.random.default_rng(4), EPS[compute]
    gate = (40 * rng.standard_normal((270, 5))).astype(compute)
    p = backend.zeros(gate.shape, compute)
    backend.tasks.softmax(backend.array(gate), p)
    exact = np.exp(gate.astype(float) - gate.max(axis=1, keepdims=True).astype(float))
    exact /= exact.sum(axis=1, keepdims=True)
    # a difference of numbers up to 200 is rounded, and its exponential has as many units of error as it is large
    assert_within(backend.host(p), exact, 300 * eps * exact + np.finfo(compute).tiny)  # what is smaller is no full number

    logits = np.vstack([rng.standard_normal((270, 2)), [[800, -3], [-3, 800], [-800, -800], [0, 0]]]).astype(compute)
    a, b = logits.astype(float).T
    both, parts, slopes = (backend.zeros((len(a), width), compute) for width in (2, 3, 2))
    backend.tasks.both_happen(backend.array(logits), both, parts)
    found, terms = backend.host(both), np.stack([-a, -b, -a - b], axis=1)
    assert_same_bits(found[:, 0], logits[:, 0])
    exact = -(terms.max(axis=1) + np.log(np.exp(terms - terms.max(axis=1, keepdims=True)).sum(axis=1)))
    assert_within(found[:, 1], exact, 8 * eps * (1 + np.abs(a) + np.abs(b)))
    g = rng.standard_normal(logits.shape).astype(compute)
    backend.tasks.both_happen_adjoint(backend.array(g), parts, slopes)
    p, q = 1 / (1 + np.exp(-np.clip(a, -700, 700))), 1 / (1 + np.exp(-np.clip(b, -700, 700)))
    of_a, of_b = (1 - p) / (1 - p * q + (p * q == 1)), (1 - q) / (1 - p * q + (p * q == 1))  # d log(pq / (1 - pq)) of p = 1 / (1 + exp(-a))
    near = (np.abs(a) < 10) & (np.abs(b) < 10)  # 1 - p q is a number there
    expected = np.stack([g[:, 0] + g[:, 1] * of_a, g[:, 1] * of_b], axis=1)
    assert_within(backend.host(slopes)[near], expected[near], 3000 * eps * (np.abs(g[near]).sum(axis=1, keepdims=True)))
    assert np.isfinite(backend.host(slopes)).all()


WAYS = {
    "mmoe": {"exchange": "allreduce", "routing": "routed"}, "ple": {"exchange": "rows", "routing": "broadcast"},
    "esmm": {"exchange": "reduce_scatter", "routing": "broadcast"}, "shared_bottom": {"split": "field", "exchange": "pooled"},
}  # fmt: skip


def trained(comm, name, backend=None, **ways):
    """(losses, rows, dense parameters, logits, AUC of the samples that were learnt from)."""
    batches = task_batches(4, 70, 30)
    with small_model(comm, task_config(name, **ways), n_dense=1, backend=backend) as model:
        losses = [step(model, reads(model, batch)) for batch in batches]
        auc = model.take_auc()
        logits = all_samples(model, score(model, reads(model, batches[0])))
        return losses, all_rows(model), model.parameters.arrays()["values"], logits, auc


@cache
def on_cpu(name):
    return trained(MPI.COMM_SELF, name)


@pytest.mark.parametrize("name", WAYS)
def test_ranks_on_a_device_train_what_one_cpu_trains(world, few, name):
    found, expected = trained(world, name, CudaBackend(few), **WAYS[name]), on_cpu(name)
    assert np.array_equal(found[1].keys, expected[1].keys) and np.array_equal(found[1].counts, expected[1].counts)
    for one, other in ((found[0], expected[0]), (found[1].numbers, expected[1].numbers), (found[2], expected[2]), (found[3], expected[3])):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape and np.abs(one - other).max() <= TOLERANCE * np.abs(other).max()
    assert found[4] == pytest.approx(expected[4], abs=1e-12)
