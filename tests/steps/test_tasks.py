"""Models of several tasks: twenty steps on any ranks against their definitions, whose gradients are found by complex steps; N ranks against one; bytes.

Labels of one task are missing in every fourth sample, and the tasks' losses have weights.
"""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from every_combination import is_valid
from mpi4py import MPI
from plain_tasks import PlainTasks
from small_training import DIM, INIT_STD, all_rows, all_samples, reads, score, small_model
from synthetic_batches import FIELD_NAMES, N_FIELDS
from task_training import MODELS, RATE, USED_FIELDS, WEIGHTS, task_batches, task_config

from deshpc.exchange.kinds import EXCHANGES
from deshpc.training.step import step
from deshpc.training.traffic import training_traffic

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

# Both sides round each of some 1e5 operations to 1.1e-16, in different orders, over 20 steps
TOLERANCE = 1e-11


def close(found, expected):
    return np.abs(np.asarray(found) - expected).max(initial=0) <= TOLERANCE * max(1, np.abs(expected).max(initial=0))


WAYS = {
    "mmoe": {"exchange": "allreduce", "routing": "routed"}, "ple": {"exchange": "rows", "routing": "routed"},
    "esmm": {"exchange": "reduce_scatter", "routing": "broadcast"}, "shared_bottom": {"split": "field", "exchange": "pooled"},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_agree_with_the_definitions(world, name):
    config, batches = task_config(name, **WAYS[name]), task_batches()
    with small_model(world, config, n_dense=1) as model:
        first = {one: model.parameters.host(one) for one, _ in model.parameters.names()}
        plain = PlainTasks(vars(config.model), [*WEIGHTS.values()], first, len(FIELD_NAMES), range(USED_FIELDS), DIM, config.train.seed, INIT_STD)
        for batch in batches:
            assert close(step(model, reads(model, batch)), plain.step(batch, RATE))
        rows = all_rows(model)
        assert rows.keys.tolist() == sorted(plain.places)
        assert close(rows.numbers[:, :DIM], np.array([plain.rows[plain.places[key], 1:].real for key in rows.keys.tolist()]))
        for one, _ in model.parameters.names():
            assert close(model.parameters.host(one), plain.values[one].real), one
            assert np.abs(plain.values[one].real - first[one]).max() > 1e-4  # everything has moved
        assert close(all_samples(model, score(model, reads(model, batches[3]))), plain.logits(batches[3]))


REPLICATED = {"fields": [{"name": FIELD_NAMES[0], "replicated": True}]}
OF_RANKS = [  # name, options of [train] and [model], of the run alone too
    *((name, WAYS[name], {}, {}) for name in MODELS),
    ("esmm", WAYS["esmm"], REPLICATED, {}), ("ple", {"split": "field", "exchange": "pooled"}, REPLICATED, {}),
    ("mmoe", {"exchange": "allreduce"}, {}, {"accumulate": "int64"}), ("ple", {"split": "field", "exchange": "pooled"}, {}, {"accumulate": "int64"}),
    ("esmm", WAYS["esmm"], {}, {"precision": "float32", "wire": "float16"}), ("shared_bottom", {"exchange": "rows"}, {}, {"precision": "float32", "wire": "bfloat16"}),
]  # fmt: skip


@pytest.mark.parametrize("case", OF_RANKS, ids=[f"{one[0]}-{number}" for number, one in enumerate(OF_RANKS)])
def test_ranks_compute_what_one_does(world, case):
    """In fixed point to the bit; where numbers travel as halves, to their rounding."""
    (name, way, of_model, of_both), batches = case, task_batches(6, 70, 30)
    if 16 % world.size and "accumulate" in of_both and "split" in way:
        pytest.skip("ranks that do not divide the sixteen parts of a batch")
    tolerance = 0.0 if "accumulate" in of_both else 0.02 if "wire" in of_both else TOLERANCE

    def trained(comm, config):
        with small_model(comm, config, n_dense=1) as model:
            losses = [step(model, reads(model, batch)) for batch in batches]
            auc = model.take_auc()
            rows, dense = all_rows(model), model.parameters.arrays()["values"]
            return np.array(losses), rows.keys, rows.numbers, dense, all_samples(model, score(model, reads(model, batches[0]))), auc

    found, alone = trained(world, task_config(name, model=of_model, **way, **of_both)), trained(MPI.COMM_SELF, task_config(name, **of_both))
    assert np.array_equal(found[1], alone[1])
    assert np.abs(found[0] - alone[0]).max() <= max(tolerance, 1e-14) * alone[0].max()  # sums of float64, by ranks
    for one, expected in zip(found[2:5], alone[2:5], strict=True):
        assert np.abs(one - expected).max() <= tolerance * max(1, np.abs(expected).max())
    assert found[5] == pytest.approx(alone[5], abs=max(tolerance, 1e-12))


class Samples:
    """What traffic asks of a training part."""

    keys_per_sample, value_width, n_dense = 1.0, 0, 1

    def __init__(self, rows, weighs):
        self.rows, self.has_weights = rows, weighs

    def __len__(self):
        return self.rows


def test_the_ledger_agrees_with_the_plan(world):
    """By every valid split, exchange and routing; an allreduce with routed keys sends all labels of a sample, and its dense number."""
    batches = [replace(one, weights=np.ones(len(one), np.float32)) for one in task_batches(2, 37)]
    found = 0
    for split, exchange, routing in product(("key", "field", "column"), EXCHANGES, ("broadcast", "routed")):
        for weighs in (False, True)[: 1 + (exchange == "allreduce")]:
            config = task_config("mmoe", split=split, exchange=exchange, routing=routing, global_batch_samples=37)
            if not is_valid(config, world.size):
                continue
            found += 1
            with small_model(world, config, n_dense=1) as model:
                for batch in batches:
                    step(model, reads(model, batch if weighs else replace(batch, weights=None)))
                session = SimpleNamespace(group=model.group, model=model, config=config, input=SimpleNamespace(n_fields=N_FIELDS))
                traffic, _ = training_traffic(session, Samples(74, weighs), 2, 74)
            sent = sum(row.sent_bytes for row in traffic if row.kind == "labels")
            expected = (exchange == "allreduce" and routing == "routed") * 74 * (world.size - 1) * 4 * (2 + 1 + weighs)
            assert sent == expected and all(row.agrees for row in traffic), traffic
    assert found == 12  # key: three exchanges, one of them twice; field: pooled and rows; by two routings each
