"""Models of several tasks: twenty steps against their definitions, whose gradients are found by complex steps; N ranks against one.

Labels of one task are missing in every fourth sample, and the tasks' losses have weights.
"""

import numpy as np
import pytest
from mpi4py import MPI
from plain_tasks import PlainTasks
from small_training import DIM, all_rows, all_samples, reads, score, small_model
from synthetic_batches import FIELD_NAMES
from task_training import MODELS, RATE, USED_FIELDS, WEIGHTS, task_batches, task_config

from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

# Both sides round each of some 1e5 operations to 1.1e-16, in different orders, over 20 steps
TOLERANCE = 1e-11


def close(found, expected):
    return np.abs(np.asarray(found) - expected).max(initial=0) <= TOLERANCE * max(1, np.abs(expected).max(initial=0))


@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_agree_with_the_definitions(name):
    config, batches = task_config(name), task_batches()
    with small_model(MPI.COMM_SELF, config, n_dense=1) as model:
        first = {one: model.parameters.host(one) for one, _ in model.parameters.names()}
        plain = PlainTasks(vars(config.model), [*WEIGHTS.values()], len(FIELD_NAMES), USED_FIELDS, first, {})
        for batch in batches:
            known = set(plain.rows)
            new = {int(key) for key in batch.keys} - known
            if new:  # what a row begins with is a function of seed and key, which other tests know
                model.look_up(model.route(batch, True)().wait(), True)
                rows = all_rows(model)
                plain.rows |= {int(key): np.array(numbers[:DIM], complex) for key, numbers in zip(rows.keys, rows.numbers, strict=True) if int(key) in new}
            assert close(step(model, batch), plain.step(batch, RATE))
        rows = all_rows(model)
        assert close(rows.numbers[:, :DIM], np.array([plain.rows[int(key)].real for key in rows.keys]))
        for one, _ in model.parameters.names():
            assert close(model.parameters.host(one), plain.values[one].real), one
            assert np.abs(plain.values[one].real - first[one]).max() > 1e-4  # everything has moved
        assert close(score(model, batches[3]), plain.logits(batches[3]).real)


WAYS = {
    "mmoe": {"exchange": "allreduce", "routing": "routed"}, "ple": {"exchange": "rows", "routing": "routed"},
    "esmm": {"exchange": "reduce_scatter", "routing": "broadcast"}, "shared_bottom": {"split": "field", "exchange": "pooled"},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_ranks_compute_what_one_does(name):
    batches, comm = task_batches(6, 70, 30), MPI.COMM_WORLD

    def trained(comm, config):
        with small_model(comm, config, n_dense=1) as model:
            losses = [step(model, reads(model, batch)) for batch in batches]
            auc = model.take_auc()
            return losses, all_rows(model), model.parameters.arrays()["values"], all_samples(model, score(model, reads(model, batches[0]))), auc

    config = task_config(name, **WAYS[name])
    found, alone = trained(comm, config), trained(MPI.COMM_SELF, task_config(name))
    assert np.array_equal(found[1].keys, alone[1].keys)
    for one, expected in ((found[0], alone[0]), (found[1].numbers, alone[1].numbers), (found[2], alone[2]), (found[3], alone[3])):
        assert close(one, np.asarray(expected))
    assert found[4] == pytest.approx(alone[4], abs=1e-12)
