"""Operators side by side on one table: columns of one state, logits and gradients that add up.

A linear term beside an FM on the same rows: each is compared with itself alone, whose own tests compare it with its
definition.
"""

import numpy as np
import pytest
from mpi4py import MPI
from small_training import DIM, all_rows, insert, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.nn.parameters import Parameters
from deshpc.nn.parts import parts_of
from deshpc.ops.linear import Linear
from deshpc.ops.operator_set import OperatorSet, worst


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def model(request):
    with small_model(MPI.COMM_SELF, small_config("fm"), request.param) as made:
        yield made


def operator_sets(model):
    """(both, linear alone, FM alone) and parameters for all of them."""
    ((fm, _),) = model.operators._placed
    linear = Linear(model.backend, model.table.form, 2)
    shapes = {"bias": (), **linear.parameters, **fm.parameters}
    parameters = Parameters(model.backend, shapes, "float64", model.table.optimizer)
    parameters.values[:] = np.random.default_rng(81).standard_normal(len(parameters.values))
    sets = [OperatorSet(model.backend, model.table, some) for some in ([linear, fm], [linear], [fm])]
    assert [one.width for one in sets] == [DIM + 2, 1, DIM + 1] and sets[0].name == "linear+fm"
    return sets, parameters


def lookup(model, batch):
    """Random linear weights in all rows of the batch, and its ShardRows."""
    insert(model, batch)
    rows = all_rows(model)
    rows.numbers[:, 0] = np.random.default_rng(82).standard_normal(len(rows))
    model.table.load(rows)
    return model.table.look_up(model.routing.route(batch, "forward")().wait(), insert=True)


def sums(shards):
    """Copies of all shards' sums, which become zero."""
    found = [one for shard in shards for one in shard.sums]
    copies = [one.copy() for one in found]
    for one in found:
        one[...] = 0
    return copies


def test_states_are_columns_and_logits_and_gradients_add_up(model):
    batch = awkward_batches(83, steps=1)[0]
    (both, *apart), parameters = operator_sets(model)
    shards, samples = lookup(model, batch), len(batch)
    states = [one.partial(shards, samples, 1.0).copy() for one in (both, *apart)]
    assert np.array_equal(states[0], np.hstack(states[1:]))
    assert both.magnitude(shards) == worst(one.magnitude(shards) for one in apart)

    logits, (whole,) = [np.full(samples, parameters["bias"]) for _ in states], parts_of(samples, 1)
    for one, state, logit in zip((both, *apart), states, logits, strict=True):
        one.finish(state, batch.dense, parameters, logit, whole)
    assert np.allclose(logits[0], logits[1] + logits[2] - parameters["bias"], rtol=1e-13, atol=1e-13)

    gradient = np.random.default_rng(84).standard_normal(samples)
    largest = np.full(samples, 3.0)
    found = both.largest_term(states[0], gradient, parameters, largest, 0, samples)
    assert found == worst(
        one.largest_term(state, gradient, parameters, largest, 0, samples)
        for one, state in zip(apart, states[1:], strict=True)
    )
    collected, dense = [], []
    for one, state in zip((both, *apart), states, strict=True):
        one.finish_adjoint(state, batch.dense, parameters, gradient, 1.0, whole)
        one.partial_adjoint(shards, state, 1.0)
        collected.append(sums(shards))
        dense.append(parameters.take_sums().copy())
    assert np.array_equal(states[0], np.hstack(states[1:]))
    assert np.array_equal(dense[0], dense[1] + dense[2]) and dense[1].any() and dense[2].any()
    for whole, *parts in zip(*collected, strict=True):
        assert np.allclose(whole, sum(parts), rtol=1e-13, atol=1e-13)


def test_a_number_that_is_none_is_the_worst():
    nan = float("nan")
    assert worst([(1.0, 4), (3.0, 5), (2.0, 6)]) == (3.0, 5)
    assert worst([(1.0, 4), (nan, 5), (np.inf, 6)])[1] == 5 and worst([(nan, 4), (1.0, 5)])[1] == 4
