"""Networks without hidden layers, whose output is then the first layer; and a factorization machine of dense features alone.

Wherever what is computed, training ends with what one rank makes of the same batches, and its logits are those of the definition,
in float64: also where rows repeat in a batch, so that their products with the first layer are made once.
"""

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from deep_training import dense_parameters
from mpi4py import MPI
from plain_deep import PlainDeep
from plain_model import PlainModel
from small_training import DIM, INIT_STD, all_rows, all_samples, learn, reads, small_model
from synthetic_batches import N_FIELDS, keys_of, plain_batch

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.config.load import build
from deshpc.model.build import build_model
from deshpc.training.step import steps

pytestmark = pytest.mark.mpi

KINDS = {
    "wide_deep": {}, "deepfm": {}, "nfm": {}, "dcn": {"cross_layers": 2}, "dcnv2": {"cross_layers": 2, "cross_rank": 3},
    "dlrm": {"bottom_hidden": []}, "xdeepfm": {"cin_layers": [3]},
}  # fmt: skip
WAYS = {
    "pooled": {"routing": "broadcast"},
    "by owners of keys": {"first_layer": "pushed_down"},
    "by owners of fields": {"split": "field", "first_layer": "pushed_down", "routing": "broadcast"},
    "by owners of columns": {"split": "column", "routing": "broadcast", "exchange": "allreduce"},
}
KNOWN = {  # by owners: of keys, fields and columns
    "wide_deep": (True, True, True), "deepfm": (True, True, True), "nfm": (False, False, False), "dcn": (True, True, True),
    "dcnv2": (False, True, True), "dlrm": (False, False, True), "xdeepfm": (False, False, True),
}  # fmt: skip
CASES = [(kind, way) for kind in KINDS for way, there in zip(WAYS, (True, *KNOWN[kind]), strict=True) if there]


def config_of(kind, way):
    first_layer = WAYS[way].get("first_layer", "pooled")
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {"name": kind, "dim": DIM, "init_std": INIT_STD, "hidden": [], "first_layer": first_layer, **KINDS[kind]},
            "optimizer": {"learning_rate": 0.05},
            "train": {"precision": "float64", **{name: one for name, one in WAYS[way].items() if name != "first_layer"}},
        }
    )


def repeating_batches(n_dense=2):
    """Four batches of one key a field; all but one field have so few that rows repeat more than eight times."""
    rng, batches = np.random.default_rng(5), []
    for step in range(4):
        fields = np.tile(np.arange(N_FIELDS), 96)
        numbers = np.where(fields == 2, rng.integers(0, 60, len(fields)), rng.integers(0, 3 + fields % 3))
        counts, labels = np.full(96, N_FIELDS), (rng.random(96) < 0.4).astype(float)
        batches.append(plain_batch(step, counts, keys_of(fields, numbers), fields, None, rng.standard_normal((96, n_dense)), labels))
    return batches


def trained(comm, config, batches):
    """(losses, Rows, dense parameters, logits of the last batch, {name: dense parameter}).  Collective."""
    with small_model(comm, config) as model:
        losses = np.array([one.loss for one in steps(model, (reads(model, batch) for batch in batches))])
        dense, rows = model.dense_sums.whole_arrays(), all_rows(model)
        logits = all_samples(model, learn(model, reads(model, batches[-1])).logit.copy())
        model.parameters.load(dense)
        return losses, rows, dense["values"], logits, dense_parameters(model)


@cache
def alone(kind):
    return trained(MPI.COMM_SELF, config_of(kind, "pooled"), repeating_batches())


def close(actual, expected):
    assert np.abs(actual - expected).max() <= 1e-11 * np.abs(expected).max()


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_a_network_of_its_output_alone(world, kind, way):
    config, batches = config_of(kind, way), repeating_batches()
    losses, rows, dense, logits, named = trained(world, config, batches)
    expected = alone(kind)
    for actual, one in zip((losses, rows.numbers, dense, logits), (expected[0], expected[1].numbers, *expected[2:4]), strict=True):
        close(actual, one)
    plain = PlainDeep(asdict(config.model), N_FIELDS, plain_rows_of(rows), named)
    close(logits, plain.logits(batches[-1], train=True))


def plain_rows_of(rows):
    """{key: (w, v)} of whole rows, which have a linear weight where their number of weights and state is even twice over."""
    linear = rows.numbers.shape[1] // 2 - DIM  # adagrad: as many numbers of state as weights
    return {int(key): (one[0] if linear else 0.0, one[linear : linear + DIM]) for key, one in zip(rows.keys, rows.numbers, strict=True)}


@pytest.mark.parametrize("split", ["key", "field", "column"])
def test_a_factorization_machine_of_dense_features_alone(world, split):
    config = build(
        {
            "data": {"format": "synthetic"}, "model": {"name": "fm", "dim": DIM, "init_std": INIT_STD},
            "optimizer": {"name": "sgd", "learning_rate": 0.1},
            "train": {"precision": "float64", "split": split, "routing": "broadcast"},
        }
    )  # fmt: skip
    rng, none = np.random.default_rng(3), np.zeros(0, np.int64)
    batches = [
        plain_batch(step, np.zeros(30, int), none, none, None, rng.standard_normal((30, 3)), (rng.random(30) < 0.4).astype(float))
        for step in range(3)
    ]
    group, backend = Group(world), open_backend("cpu", 1)
    model = build_model(config, backend, group, 0, 3)
    weights, factors = (model.parameters.host(f"fm.{name}") for name in ("weights", "factors"))
    plain = PlainModel(DIM, {"name": "sgd", "learning_rate": 0.1}, "mean", 1, INIT_STD, np.column_stack([weights, factors]))
    losses = [one.loss for one in steps(model, (reads(model, batch) for batch in batches))]
    close(np.array(losses), np.array([plain.step(batch) for batch in batches]))
    close(model.parameters.host("fm.weights"), plain.dense[:, 0])
    close(model.parameters.host("fm.factors"), plain.dense[:, 1:])
    backend.close()
    group.free()
