"""Gradients of every deep model, by all rows and all dense parameters, against differences of the whole loss.

An SGD step of rate 1 on the summed loss moves every weight by minus its gradient: that is the slope of the loss along a random
direction through all weights, and through the rows or any one dense parameter alone; one that is wrong by 0.1 % is not.  Dropout keeps its mask, which is
that of the step; batch normalisation has the statistics of the batch.
"""

import numpy as np
import pytest
from deep_training import (
    ACTIVATIONS,
    MODELS,
    NORMALISATIONS,
    deep_config,
    dense_parameters,
    joined,
    named,
    pairwise,
    randomise,
)
from mpi4py import MPI
from plain_deep import log_loss
from small_training import all_rows, insert, learn, reads, small_model
from synthetic_batches import awkward_batches

from deshpc.table.shard import Rows
from deshpc.training.step import step

# Directions of length 1; errors relative to the whole gradient's length |g|.  Rounding 1.1e-16 L / STEP for losses L of about 100
# and |g| of about 30: 1e-10; truncation STEP^2 / 6 times the third derivative.  Measured 2.9e-10 at most; a gradient of any part
# that is wrong by 0.1 % is off by 2.3e-8 at least, but where it is zero.
STEP, TOLERANCE = 3e-6, 2e-9

WAYS = pairwise({
    "kind": tuple(MODELS), "normalisation": NORMALISATIONS, "activation": ACTIVATIONS, "dropout": (0.0, 0.3),
    "weighted": (0, 1, 2), "n_dense": (2, 0), "threads": (1, 2),
})  # fmt: skip


class Losses:
    """The summed loss of a batch as a function of a model's rows and dense parameters."""

    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        self.rows = all_rows(model)
        self.point = {"rows": self.rows.numbers.copy(), **dense_parameters(model)}
        self.learnt = [name for name in self.point if not name.endswith((".mean", ".variance"))]

    def set(self, point):
        rows = self.rows
        self.model.table.load(Rows(rows.keys, rows.fields, rows.counts, rows.steps, point["rows"]))
        for name, _ in self.model.parameters.names():
            self.model.parameters.set(name, point[name])

    def at(self, point):
        self.set(point)
        return log_loss(learn(self.model, self.batch).logit.astype(np.float64), self.batch.labels)

    def gradients(self):
        """{name: gradient}, by a step."""
        self.set(self.point)
        step(self.model, self.batch)
        after = {"rows": all_rows(self.model).numbers, **dense_parameters(self.model)}
        return {name: self.point[name] - after[name] for name in self.learnt}

    def slope(self, direction):
        ends = [
            self.at({name: one + h * direction.get(name, 0.0) for name, one in self.point.items()}) for h in (STEP, -STEP)
        ]
        return (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize("way", WAYS, ids=named)
def test_gradients_are_the_slopes_of_the_loss(way):
    options = {name: way[name] for name in ("normalisation", "activation", "dropout")}
    rule = {"name": "sgd", "learning_rate": 1.0, "reduction": "sum"}
    batches = awkward_batches(41, steps=2, weighted=way["weighted"], n_dense=way["n_dense"])
    batch = joined(batches)  # 101 samples, in three blocks
    with small_model(MPI.COMM_SELF, deep_config(way["kind"], rule=rule, model=options), way["threads"], way["n_dense"]) as model:
        batch = reads(model, batch)
        insert(model, batch)  # inserts the keys
        randomise(model)
        losses, rng = Losses(model, batch), np.random.default_rng(12)
        gradients = losses.gradients()
        assert set(gradients) >= {"rows", "bias"} and len(gradients) >= 5
        size = np.sqrt(sum((one**2).sum() for one in gradients.values()))
        for names in (list(gradients), *([name] for name in gradients if gradients[name].size)):
            direction = {name: rng.standard_normal(gradients[name].shape) for name in names}
            length = np.sqrt(sum((one**2).sum() for one in direction.values()))
            slope = losses.slope({name: one / length for name, one in direction.items()})
            predicted = sum((gradients[name] * one).sum() for name, one in direction.items()) / length
            error = abs(slope - predicted)
            assert error <= TOLERANCE * size, f"{names}: {error / size:.1e}"
            wrong = abs(slope - 1.001 * predicted)
            assert wrong > TOLERANCE * size or not predicted, f"a wrong gradient of {names} would pass: {wrong / size:.1e}"
