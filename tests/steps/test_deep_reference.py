"""Twenty steps of models of fields agree with their definitions (`plain_fields`), whose gradients are found by complex steps, on any number of ranks.

FwFM, FmFM, AutoInt and DIN, and Wide & Deep with sequences and fields that share rows, by splits, exchanges and routings in turn.  A case with several
ranks is compared with the definition, not with what deshpc makes of it alone.  The other deep models: `test_deep_invariance`, `models/`.
"""

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from deep_training import deep_config, dense_parameters
from models.test_attention import ATTENDED, KEY_FIELDS, shared
from mpi4py import MPI
from plain_fields import PlainFields
from small_training import DIM, INIT_STD, all_rows, all_samples, reads, score, small_model
from synthetic_batches import N_FIELDS, keys_of, plain_batch

from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

STEPS, RATE = 20, 0.1
TOLERANCE = 1e-11  # float64, of the largest number: both sides round each of some 1e5 operations to 1.1e-16
SMALL = {"activation": "tanh", "hidden": [3], "attention_layers": [4], "attention_hidden": [3]}
USED_FIELDS = (0, 1, 2, 5)  # that have keys: those of DIN's sequences and targets
WITHOUT_KEYS = ("fmfm.3.matrices", "fmfm.4.matrices")  # of the others: they have no gradient
CASES = [  # kind, split, first layer, exchange, routing
    ("fwfm", "column", "pooled", "reduce_scatter", "broadcast"), ("fwfm", "field", "pooled", "rows", "routed"),
    ("fmfm", "key", "pooled", "reduce_scatter", "broadcast"), ("fmfm", "key", "pooled", "rows", "routed"),
    ("autoint", "key", "pooled", "rows", "routed"), ("autoint", "key", "pooled", "allreduce", "broadcast"),
    ("din", "key", "pooled", "rows", "broadcast"), ("din", "field", "pooled", "rows", "routed"),
    ("din, softmax", "key", "pooled", "rows", "routed"), ("wide_deep", "key", "pushed_down", "allreduce", "broadcast"),
]  # fmt: skip


def config_of(kind, split="key", first_layer="pooled", exchange="auto", routing="broadcast"):
    rule = {"name": "adagrad", "learning_rate": RATE}
    return deep_config(kind, rule=rule, model={**SMALL, "first_layer": first_layer}, split=split, exchange=exchange, routing=routing)


@cache
def batches():
    """Twenty of nine samples of few keys, and one in which some keys are new."""
    rng, found = np.random.default_rng(4), []
    for number in range(STEPS + 1):
        counts = rng.integers(0, 8, 9)
        fields = rng.choice(USED_FIELDS, counts.sum())
        keys, values = keys_of(fields, rng.integers(0, 2 + number // STEPS, len(fields))), rng.standard_normal((len(fields), 2))
        found.append(shared(plain_batch(number, counts, keys, fields, values, rng.standard_normal((9, 1)), rng.random(9) < 0.5)))
    return found


@cache
def plain(kind):
    """(the trained definition, its losses, its first dense parameters)."""
    config = config_of(kind)
    with small_model(MPI.COMM_SELF, config, n_dense=1, key_fields=KEY_FIELDS) as model:
        first = dense_parameters(model)
    options = {**asdict(config.model), "attended": ATTENDED.get(kind, [])}
    found = PlainFields(options, first, N_FIELDS, USED_FIELDS, DIM, config.train.seed, INIT_STD)
    return found, [found.step(batch, RATE) for batch in batches()[:STEPS]], first


def assert_close(found, expected, what):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape and np.abs(found - expected).max() <= TOLERANCE * max(1, np.abs(expected).max()), what


@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join(case) for case in CASES])
def test_twenty_steps_agree_with_the_definition(world, number):
    expected, losses, first = plain(CASES[number][0])
    with small_model(world, config_of(*CASES[number]), 1 + number % 2, n_dense=1, key_fields=KEY_FIELDS) as model:
        assert_close([step(model, reads(model, batch)) for batch in batches()[:STEPS]], losses, "losses")
        rows = all_rows(model)
        assert rows.keys.tolist() == sorted(expected.places)
        linear = model.table.whole_rows["scalars"]
        of_rows = np.array([expected.rows[expected.places[key], 1 - linear :].real for key in rows.keys.tolist()])
        assert_close(rows.numbers[:, : linear + DIM], of_rows, "rows")
        for name, array in dense_parameters(model).items():
            assert_close(array, expected.values[name].real, name)
            moved = np.abs(expected.values[name].real - first[name]).max() > 1e-4
            assert moved or name in WITHOUT_KEYS, name
        assert_close(all_samples(model, score(model, reads(model, batches()[-1]))), expected.logits(batches()[-1]), "logits")
