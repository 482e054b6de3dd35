"""Training by another loss than log-loss computes what its definition says, on any number of ranks.

Linear models and factorization machines against `plain_model`: one sample at a time in float64.  Deep models: the slope of the summed
loss along a random direction is what a step of SGD says.
"""

from dataclasses import replace

import numpy as np
import pytest
from deep_training import MODELS, deep_config, joined, randomise
from mpi4py import MPI
from plain_model import LOSSES, PlainModel
from small_training import (
    DIM,
    INIT_STD,
    all_rows,
    all_samples,
    insert,
    learn,
    reads,
    small_config,
    small_model,
    train_on,
)
from synthetic_batches import awkward_batches

from deshpc.table.shard import Rows
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]
TOLERANCE = 1e-11  # as in test_reference


def by_loss(config, loss):
    """A Config of generated samples, whose labels `batches_of` replaces."""
    return replace(config, train=replace(config.train, loss=loss))


def batches_of(loss, batches):
    rng = np.random.default_rng(9)
    return [
        replace(one, labels=(3 * rng.standard_normal(len(one)) if loss == "squared" else rng.poisson(1.5, len(one))).astype(np.float32))
        for one in batches
    ]


def assert_close(actual, expected):
    assert np.abs(np.asarray(actual) - expected).max(initial=0) <= TOLERANCE * np.abs(expected).max(initial=0)


@pytest.mark.parametrize("exchange, split", [("allreduce", "key"), ("reduce_scatter", "field"), ("rows", "key")])
@pytest.mark.parametrize("rule", [{"name": "sgd", "learning_rate": 0.3, "clip_norm": 0.3}, {"name": "adagrad", "learning_rate": 0.05}], ids=lambda rule: rule["name"])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_steps_agree_with_the_definitions(world, name, loss, rule, exchange, split):
    batches = batches_of(loss, awkward_batches(11, steps=8, weighted=1, n_dense=0))
    config = by_loss(small_config(name, rule=rule, exchange=exchange, split=split), loss)
    with small_model(world, config, n_dense=0) as model:
        dim = DIM if name == "fm" else 0
        plain = PlainModel(dim, rule, model.table.optimizer.reduction, 1, INIT_STD, np.empty((0, 1 + dim)), loss)
        assert_close([step(model, reads(model, batch)) for batch in batches], [plain.step(batch) for batch in batches])
        rows, keys = all_rows(model), sorted(plain.weights)
        assert rows.keys.tolist() == keys and len(keys) > 100
        assert_close(rows.numbers[:, : 1 + dim], np.array([plain.weights[key] for key in keys]))
        assert_close(model.parameters.host("bias"), plain.bias[0])
        assert model.take_auc() is None  # nothing is ranked, and nothing counted


@pytest.mark.parametrize("kind, loss", [(kind, ("squared", "poisson")[i % 2]) for i, kind in enumerate(MODELS)])
def test_gradients_of_deep_models_are_the_slopes_of_the_loss(world, kind, loss):
    rule = {"name": "sgd", "learning_rate": 1.0, "reduction": "sum"}
    config = by_loss(deep_config(kind, rule=rule, model={"activation": "tanh"}), loss)
    (batch,) = batches_of(loss, [joined(awkward_batches(41, steps=2, weighted=1, n_dense=2))])
    with small_model(world, config, n_dense=2) as model:
        own = reads(model, batch)
        insert(model, own)
        randomise(model)
        rows = all_rows(model)
        point = {"rows": rows.numbers.copy(), **{name: model.parameters.host(name) for name, _ in model.parameters.names()}}

        def put(values):
            model.table.load(Rows(rows.keys, rows.fields, rows.counts, rows.steps, values["rows"]))
            for name, _ in model.parameters.names():
                model.parameters.set(name, values[name])

        def loss_at(values):
            put(values)
            logits = all_samples(model, learn(model, own).logit).astype(np.float64)
            return sum(LOSSES[loss](z, y)[0] for z, y in zip(logits.tolist(), batch.labels.tolist(), strict=True))

        put(point)
        step(model, own)
        after = {"rows": all_rows(model).numbers, **{name: model.parameters.host(name) for name, _ in model.parameters.names()}}
        gradients, rng = {name: point[name] - after[name] for name in point}, np.random.default_rng(12)
        direction = {name: rng.standard_normal(one.shape) for name, one in gradients.items()}
        length, h = np.sqrt(sum((one**2).sum() for one in direction.values())), 3e-6
        ends = [loss_at({name: one + sign * h / length * direction[name] for name, one in point.items()}) for sign in (1, -1)]
        predicted = sum((gradients[name] * one).sum() for name, one in direction.items()) / length
        size = np.sqrt(sum((one**2).sum() for one in gradients.values()))
        assert abs((ends[0] - ends[1]) / (2 * h) - predicted) <= 2e-8 * size
        assert abs(predicted) > 1e-4 * size


@pytest.mark.parametrize("loss", ["squared", "poisson"])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_fixed_point_gives_the_same_bits_on_any_number_of_ranks(world, name, loss):
    batches = batches_of(loss, awkward_batches(13, steps=6, weighted=1))
    config = by_loss(small_config(name, precision="float32", accumulate="int64"), loss)
    alone = train_on(MPI.COMM_SELF, batches, config)
    assert train_on(world, batches, config).digest() == alone.digest()
    floating = train_on(MPI.COMM_SELF, batches, by_loss(small_config(name), loss))
    assert np.abs(alone.rows.numbers - floating.rows.numbers).max() <= 1e-4 * np.abs(floating.rows.numbers).max()
