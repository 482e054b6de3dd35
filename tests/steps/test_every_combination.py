"""N ranks compute what one computes: every valid model, split, first layer, exchange and routing, by update rules in turn.

Each rank trains the same kind of model alone (COMM_SELF, one thread, split by key) too.  After eight awkward batches losses, rows
and dense parameters are close, max|delta| / max|reference| of each array; histories of rows are equal.  Every other case has its ranks on
two pretended nodes, and exchanges of two levels.
"""

import os
from functools import cache

import numpy as np
import pytest
from every_combination import COMBINATIONS, combined, is_valid
from mpi4py import MPI
from pretended_nodes import pretend
from small_training import RULES, all_rows, reads, small_model
from synthetic_batches import awkward_batches

from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

OF_RULES = {**RULES, "sgd": {"name": "sgd", "learning_rate": 0.05}}  # products of products diverge at RULES' rate
KINDS_OF_RULES = ("sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl")
CASES = [  # of every combination one rule, in turn, or all
    (one, rule) for number, one in enumerate(COMBINATIONS) for turn, rule in enumerate(KINDS_OF_RULES)
    if is_valid(combined(one, OF_RULES[rule])) and ((number + turn) % 5 == 0 or os.environ.get("DESHPC_EVERY_CASE"))
]  # fmt: skip
TOLERANCE = 1e-11  # float64


def trained(comm, config, batches, threads):
    """(losses, Rows of all ranks, dense parameters).  Collective."""
    with small_model(comm, config, threads, batches[0].dense.shape[1]) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        return losses, all_rows(model), model.dense_sums.whole_arrays()["values"]


@cache
def alone(kind, rule, weighted):
    """(batches, what one rank with one thread makes of them)."""
    batches = awkward_batches(21, 8, weighted)
    config = combined((kind, "key", "pooled", "auto", "broadcast"), OF_RULES[rule])
    return batches, trained(MPI.COMM_SELF, config, batches, 1)


@pytest.mark.thorough(10)
@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join((*one, rule)) for one, rule in CASES])
def test_ranks_do_not_matter(world, number, monkeypatch):
    one, rule = CASES[number]
    batches, (losses, rows, dense) = alone(one[0], rule, COMBINATIONS.index(one) % 3)
    if number // 4 % 2:
        pretend(monkeypatch, ("blocks", "in turns")[number // 8 % 2])
    found_losses, found, found_dense = trained(world, combined(one, OF_RULES[rule], levels="two"), batches, 1 + number % 2)
    for part in ("keys", "fields", "counts", "steps"):
        assert np.array_equal(getattr(found, part), getattr(rows, part)), part
    for actual, expected, what in ((found_losses, losses, "losses"), (found.numbers, rows.numbers, "rows"), (found_dense, dense, "dense")):
        error = np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)
        assert error <= TOLERANCE, f"{what}: {error:.1e}"
