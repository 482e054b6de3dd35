"""Batches of keys that drift, and whether a model has the rows that dictionaries have behind them: for every backend."""

from functools import cache

import numpy as np
from mpi4py import MPI
from plain_living import PlainLiving
from small_training import DIM, INIT_STD, RULES, all_rows, small_model
from synthetic_batches import N_FIELDS, keys_of, plain_batch

from deshpc.table.sights import Sights

STEPS, SEED = 64, 1


@cache
def histories(seed=3):
    """Batches of keys that drift: most are of a window that moves on, some come in every step, and some come back after long."""
    rng, batches = np.random.default_rng(seed), []
    for step in range(STEPS):
        counts = rng.integers(0, 6, rng.integers(1, 24))
        n = int(counts.sum())
        numbers = 2 * (step % 40) + rng.integers(0, 40, n)
        numbers = np.where(rng.random(n) < 0.3, rng.integers(500, 506, n), numbers)
        fields = numbers % N_FIELDS
        samples = len(counts)
        values = rng.uniform(-1, 1, n).astype(np.float32)
        batches.append(plain_batch(
            step, counts, keys_of(fields, numbers), fields, values, rng.standard_normal((samples, 2)), rng.random(samples) < 0.4
        ))  # fmt: skip
    return batches


def waiting_of(model):
    """{key: (sights, last step)} of all ranks.  Collective."""
    sights = Sights.joined(model.group.gather(model.table.waiting()))
    return dict(zip(sights.keys.tolist(), zip(sights.sights.tolist(), sights.steps.tolist(), strict=True), strict=True))


def check(model, plain, dense):
    """The rows and waiting keys of a model are those of a PlainLiving; weights within `dense` of the largest.  Collective."""
    rows, keys = all_rows(model), sorted(plain.weights)
    assert rows.keys.tolist() == keys
    assert waiting_of(model) == plain.waiting
    for name in ("fields", "counts", "steps"):
        assert getattr(rows, name).tolist() == [getattr(plain, name)[key] for key in keys], name
    if plain.table["half_life_steps"]:
        assert np.allclose(rows.decayed, [plain.decayed[key] for key in keys], rtol=1e-6, atol=0)
    wanted = np.array([plain.weights[key] for key in keys])
    assert np.abs(rows.numbers[:, : wanted.shape[1]] - wanted).max() <= dense * max(1.0, np.abs(wanted).max())


def plain_first(config, name, rule, table, backend=None):
    """A PlainLiving with the dense weights that a model of this configuration begins with."""
    dim = DIM if name == "fm" else 0
    with small_model(MPI.COMM_SELF, config, backend=backend) as model:
        dense, values = np.zeros((2, 1 + dim)), model.parameters.arrays()["values"]
        dense[:, 1:] = values[-2 * dim :].reshape(2, dim) if dim else 0
        reduction, row_bytes = model.table.optimizer.reduction, model.table.layout.record_bytes + 54
    return PlainLiving(table, dim, RULES[rule], reduction, SEED, INIT_STD, dense, row_bytes=row_bytes)
