"""Whole steps of deep models with the real kernels and the real host code, against the CPU backend on one rank.

As `test_training.py`, of every model, layer, optimizer, split, first layer, exchange and routing that a device has: combinations in
which any two values of two options meet.  Matrix products are NumPy's on the executor, cuBLAS's on a device.
"""

from functools import cache

import numpy as np
import pytest
from deep_training import (
    ACTIVATIONS,
    MODELS,
    NORMALISATIONS,
    all_pairs,
    deep_config,
    joined,
    named,
    pairs_of,
    pairwise,
)
from mpi4py import MPI
from small_training import EXCHANGES, ROUTINGS, RULES, Trained, all_rows, all_samples, reads, score, small_model
from synthetic_batches import awkward_batches

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns(3)]

STEPS = 4
TOLERANCE = {"float64": 1e-11, "float32": 2e-3}  # of each array's largest number
FIRST_LAYER = ("wide_deep", "deepfm", "dcn")
WAYS = {f"{exchange}, {routing}": ({"exchange": exchange, "routing": routing}, {}) for exchange in EXCHANGES for routing in ROUTINGS} | {
    "pushed down, allreduce": ({"exchange": "allreduce", "routing": "routed"}, {"first_layer": "pushed_down"}),
    "pushed down, reduce_scatter": ({"exchange": "reduce_scatter", "routing": "broadcast"}, {"first_layer": "pushed_down"}),
    "by field, pooled": ({"split": "field", "exchange": "pooled", "routing": "routed"}, {}),
    "by field, rows": ({"split": "field", "exchange": "rows", "routing": "broadcast"}, {}),
}  # fmt: skip
OPTIONS = {
    "kind": tuple(MODELS), "way": tuple(WAYS), "rule": ("sgd", "adagrad, clipped", "rowwise_adagrad", "adam", "ftrl"),
    "normalisation": NORMALISATIONS, "activation": ACTIVATIONS, "dropout": (0.0, 0.3), "weighted": (0, 1, 2), "n_dense": (2, 0),
}  # fmt: skip
OF_RULES = {**RULES, "sgd": {"name": "sgd", "learning_rate": 0.05}}
LAYERS = ("normalisation", "activation", "dropout")


def goes(one):
    """Whether a part of a combination is one that exists."""
    way, kind = one.get("way", ""), one.get("kind")
    return kind is None or ((not way.startswith("pushed down") or kind in FIRST_LAYER) and (way != "by field, pooled" or kind != "nfm"))


COMBINATIONS = pairwise(OPTIONS, goes)


def test_every_two_options_meet():
    met = {pair for one in COMBINATIONS for pair in pairs_of(one)}
    assert all(pair in met for pair in all_pairs(OPTIONS) if goes(dict(pair)))


def batches_of(weighted, n_dense):
    """(batches to learn from, one of them of several blocks on a CPU, a batch to evaluate)."""
    *batches, last = awkward_batches(21, STEPS + 1, weighted, n_dense)
    batches[1] = joined(batches[:2], step=1)
    return batches, last


def train(comm, config, batches, later, backend=None):
    """(Trained, logits of `later`) of a new model.  Collective."""
    with small_model(comm, config, n_dense=batches[0].dense.shape[1], backend=backend) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        logits = all_samples(model, score(model, reads(model, later)))
        values = model.dense_sums.whole_arrays()["values"]
        return Trained(losses, all_rows(model), values, model.group.ledger.entries()), logits


def config_of(one, precision="float64", **options):
    ways, of_model = WAYS[one["way"]]
    layers = {name: one[name] for name in LAYERS} | of_model
    return deep_config(one["kind"], precision, OF_RULES[one["rule"]], layers, **ways, **options)


@cache
def on_cpu(name, precision="float64", accumulate=""):
    """What one rank with one CPU thread makes of a combination."""
    one = BY_NAME[name]
    return train(MPI.COMM_SELF, config_of(one, precision, accumulate=accumulate), *batches_of(one["weighted"], one["n_dense"]))


BY_NAME = {named(one): one for one in COMBINATIONS}


def assert_close(found, expected, tolerance):
    (trained, logits), (wanted, wanted_logits) = found, expected
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(trained.rows, part), getattr(wanted.rows, part)), part
    pairs = [("losses", trained.losses, wanted.losses), ("dense parameters", trained.parameters, wanted.parameters), ("logits", logits, wanted_logits)]
    pairs += [(f"column {c}", trained.rows.numbers[:, c], wanted.rows.numbers[:, c]) for c in range(wanted.rows.numbers.shape[1])]
    for what, actual, reference in pairs:
        assert actual.shape == reference.shape and actual.dtype == reference.dtype, what
        error = np.abs(actual.astype(np.float64) - reference).max(initial=0) / max(np.abs(reference).max(initial=0), 1e-12)
        assert error <= tolerance, f"{what}: {error:.1e}"


@pytest.mark.thorough(4)
@pytest.mark.parametrize("name", BY_NAME)
def test_ranks_on_a_device_train_what_one_cpu_trains(world, few, name):
    one = BY_NAME[name]
    found = train(world, config_of(one), *batches_of(one["weighted"], one["n_dense"]), backend=CudaBackend(few))
    assert_close(found, on_cpu(name), TOLERANCE["float64"])


FIXED = {"dlrm": {"routing": "routed"}, "nfm": {"routing": "broadcast"}, "deepfm": {"routing": "routed"}}


@pytest.mark.thorough(2)
@pytest.mark.parametrize("kind", FIXED)
def test_fixed_point_has_the_same_bits_on_any_number_of_ranks(world, few, kind):
    """Products have the same shapes everywhere, since all ranks work on all samples: so cuBLAS gives the same bits, too."""
    batches, later = batches_of(1, 2)
    config = deep_config(kind, "float32", RULES["adagrad, clipped"], accumulate="int64", exchange="allreduce", **FIXED[kind])
    alone = train(MPI.COMM_SELF, config, batches, later, CudaBackend(few))
    found = train(world, config, batches, later, CudaBackend(few))
    assert found[0].digest() == alone[0].digest() and found[1].tobytes() == alone[1].tobytes()
    on_host = train(MPI.COMM_SELF, config, batches, later)
    assert_close(found, on_host, 1e-5)  # rows are float32
    assert len(set(world.allgather(found[0].digest()))) == 1
