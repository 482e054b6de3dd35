"""Whole steps of a field-aware factorization machine on a device, against its definition (`plain_ffm`).

Each way ranks can share the work on a device: whole samples from rows where they lie, or that have travelled; sums of fields, added up or complete.
"""

from functools import cache

import numpy as np
import pytest
from plain_ffm import PlainFFM
from small_training import INIT_STD, RULES, all_rows, all_samples, reads, score, small_model
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.config.load import build
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns(3)]

K, STEPS, TOLERANCE = 4, 6, 1e-10  # float64, of the largest number
KINDS = {"weighted": (1, 2, True), "plain": (0, 2, False), "no dense": (2, 0, True)}  # values beside a key, dense features, linear weights
CASES = [  # split, exchange, routing, rule, kind
    ("key", "rows", "routed", "adagrad, clipped", "weighted"),
    ("key", "rows", "broadcast", "rowwise_adagrad", "plain"),
    ("field", "rows", "routed", "adam", "no dense"),
    ("key", "allreduce", "routed", "adagrad", "weighted"),
    ("key", "reduce_scatter", "broadcast", "adagrad", "no dense"),
    ("field", "pooled", "routed", "adagrad, clipped", "plain"),
]


@cache
def plain(rule, kind):
    """(batches, vectors of dense features, the trained plain model, its losses, a later batch, its logits of it)."""
    weighted, n_dense, linear = KINDS[kind]
    *batches, later = awkward_batches(9, STEPS + 1, weighted, n_dense)
    rng = np.random.default_rng(5)
    dense = np.column_stack([np.zeros(n_dense), 0.2 * rng.standard_normal((n_dense, (N_FIELDS + n_dense) * K))])
    reduction = "mean" if RULES[rule]["name"] in ("sgd", "adam") else "sum"
    model = PlainFFM(K, N_FIELDS, linear, RULES[rule], reduction, 0, INIT_STD, dense.copy())
    losses = [model.step(batch) for batch in batches]
    return batches, dense, model, losses, later, model.logits(later)


def config_of(split, exchange, routing, rule, linear):
    return build(
        {
            "data": {"format": "synthetic"}, "model": {"name": "ffm", "dim": K, "init_std": INIT_STD, "linear": linear}, "optimizer": RULES[rule],
            "train": {"precision": "float64", "split": split, "exchange": exchange, "routing": routing, "seed": 0},
        }
    )  # fmt: skip


def assert_close(actual, expected, what):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    error = np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)
    assert error <= TOLERANCE, f"{what}: {error:.1e}"


@pytest.mark.parametrize("split, exchange, routing, rule, kind", CASES)
def test_ranks_on_a_device_train_what_the_definition_says(world, few, split, exchange, routing, rule, kind):
    batches, dense, expected, losses, later, logits = plain(rule, kind)
    _, n_dense, linear = KINDS[kind]
    atomic = rule == "adam"
    with small_model(world, config_of(split, exchange, routing, rule, linear), 1, n_dense, backend=CudaBackend(few, atomic)) as model:
        if n_dense:
            model.parameters.set("ffm.factors", dense[:, 1:])
            model.parameters.begin_state()
        assert_close([step(model, reads(model, batch)) for batch in batches], losses, "losses")
        rows, keys = all_rows(model), sorted(expected.weights)
        assert rows.keys.tolist() == keys
        assert rows.counts.tolist() == [expected.counts[key] for key in keys]
        weights = np.array([expected.weights[key] for key in keys])[:, not linear :]
        assert_close(rows.numbers[:, : weights.shape[1]], weights, "rows")
        values, of_dense = model.parameters.arrays()["values"], expected.dense
        of_factors = of_dense[:, 1:].ravel()
        assert_close(values[0], expected.bias[0], "bias")
        assert_close(values[1:], np.concatenate([of_dense[:, 0], of_factors]) if linear else of_factors, "dense parameters")
        assert_close(all_samples(model, score(model, reads(model, later))), logits, "logits")
