"""A model that starts from another one, against dictionaries in which somebody has done the same by hand.

Saved on N ranks, loaded on M, by another split.  Optimizer state is kept, or begins anew; parts of rows that the other model does not have
begin as those of new rows.
"""

from dataclasses import replace

import numpy as np
import pytest
from plain_model import PlainModel, first_weights
from saved_models import manifest_of, some_ranks
from small_training import INIT_STD, RULES, all_rows, reads, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.checkpoint.common import Common
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import save_model
from deshpc.errors import ConfigError
from deshpc.training.step import step

STEPS, SEED, TOLERANCE = 4, 1, 1e-11
BATCHES = awkward_batches(53, 2 * STEPS)
CASES = [  # model and split that are saved; that start from it; rule; whether its state is kept
    (("fm", "key"), ("fm", "field"), "adam", True),
    (("fm", "field"), ("fm", "key"), "ftrl", False),
    (("fm", "key"), ("fm", "field"), "rowwise_adagrad", False),
    (("lr", "key"), ("fm", "column"), "ftrl", True),
    (("lr", "field"), ("fm", "key"), "adagrad, clipped", False),
    (("fm", "column"), ("lr", "key"), "adagrad", True),
]


def config(name, split, rule):
    routing = {"routing": "broadcast"} if split == "column" else {}
    return small_config(name, rule=RULES[rule], split=split, **routing)


def plain_of(name, rule, factors):
    """The PlainModel of a new model.  factors : of its dense features"""
    dense = np.column_stack([np.zeros((2, 1)), *[factors] * (name == "fm")])
    return PlainModel(dense.shape[1] - 1, RULES[rule], "mean" if rule == "adam" else "sum", SEED, INIT_STD, dense)


def factors_of(model):
    return model.parameters.host("fm.factors") if model.name == "fm" else None


def started(plain, other, keep):
    """Let a new PlainModel start from another one: what its rows lack begins as that of new ones."""
    dim, common = plain.dim, 1 + min(plain.dim, other.dim)

    def of(weights, states, first, of_row):
        whole = first.copy()
        whole[..., :common] = weights[..., :common]
        begun = plain._first_states(whole, of_row)
        for state, saved in zip(begun, states if keep else (), strict=keep):
            state[..., :common] = saved[..., :common]
        return whole, begun

    for key, weights in other.weights.items():
        first = first_weights(SEED, key, dim, INIT_STD)
        plain.weights[key], plain.states[key] = of(weights, other.states[key], first, True)
        plain.fields[key] = other.fields[key]
        plain.counts[key], plain.steps[key] = (other.counts[key], other.steps[key]) if keep else (0, 0)
    plain.dense, plain.dense_states = of(other.dense, other.dense_states, plain.dense, False)
    plain.bias, plain.bias_states = of(other.bias, other.bias_states, plain.bias, False)


@pytest.mark.thorough(2)
@pytest.mark.mpi
@pytest.mark.parametrize("before, now, rule, keep", CASES)
def test_a_model_starts_from_another(world, tmp_path, before, now, rule, keep):
    folder, n = world.bcast(tmp_path) / "model", max(1, world.size - 1)
    factors = None
    with some_ranks(world, n) as comm:
        if comm:
            with small_model(comm, config(*before, rule), threads=2) as model:
                factors = factors_of(model)
                for batch in BATCHES[:STEPS]:
                    step(model, reads(model, batch))
                save_model(model, folder, manifest_of(model, config(*before, rule), STEPS))
    other = plain_of(before[0], rule, world.bcast(factors))
    for batch in BATCHES[:STEPS]:
        other.step(batch)
    with small_model(world, config(*now, rule)) as model:
        plain = plain_of(now[0], rule, factors_of(model))
        started(plain, other, keep)
        manifest = read_manifest(folder)
        load_model(model, folder, manifest, Common.of(model, manifest, keep, folder))
        for i, batch in enumerate(BATCHES[STEPS:]):
            batch = batch if keep else replace(batch, step=i)
            step(model, reads(model, batch))
            plain.step(batch)
        rows, keys = all_rows(model), sorted(plain.weights)
        assert rows.keys.tolist() == keys and rows.fields.tolist() == [plain.fields[key] for key in keys]
        assert rows.counts.tolist() == [plain.counts[key] for key in keys]
        assert rows.steps.tolist() == [plain.steps[key] for key in keys]
        width = 1 + plain.dim
        expected = np.array([np.concatenate([plain.weights[key][:width], *in_order(plain.states[key], width)]) for key in keys])
        assert np.abs(rows.numbers - expected).max() <= TOLERANCE * np.abs(expected).max()
        assert abs(model.parameters.host("bias") - plain.bias[0]) <= TOLERANCE


def in_order(states, width):
    """State of w, all planes, then that of v: as whole rows have it."""
    return [state[:1] for state in states] + [state[1:] for state in states]


WRONG = [  # what starts from an FM of adagrad, and words of the error
    ({"name": "lr", "precision": "float32"}, "train.precision = 'float32', but the model in .* has 'float64'"),
    ({"name": "fm", "optimizer": "adam"}, "optimizer.name = 'adam', .* has 'adagrad': .* train.from_state = 'fresh'"),
    ({"name": "fm", "rule": {"dense_name": "sgd"}}, "optimizer.dense_name = 'sgd', .* has 'adagrad'"),
]


@pytest.mark.parametrize("options, words", WRONG)
def test_what_does_not_fit_is_named(world, tmp_path, options, words):
    with small_model(world, config("fm", "key", "adagrad")) as model:
        save_model(model, tmp_path / "model", manifest_of(model, config("fm", "key", "adagrad"), 0))
    manifest = read_manifest(tmp_path / "model")
    with small_model(world, small_config(**options)) as model, pytest.raises(ConfigError, match=words):
        Common.of(model, manifest, True, tmp_path / "model")
