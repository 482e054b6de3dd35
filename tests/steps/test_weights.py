"""A sample of weight 3 is three equal samples: the same model, to rounding, on any number of ranks, by any way that partials travel.

Weighted batches on all ranks against batches of repeated samples without weights on one.  `cuda/test_weights.py` has a device.
"""

from dataclasses import replace

import numpy as np
import pytest
from deep_training import deep_config
from mpi4py import MPI
from small_training import RULES, reads, small_config, small_model, train_on
from synthetic_batches import awkward_batches
from weighted_batches import repeated, weighted_batches

from deshpc.nn.loss import Objective
from deshpc.training.step import steps

pytestmark = pytest.mark.mpi

WAYS = [("allreduce", "broadcast"), ("allreduce", "routed"), ("reduce_scatter", "routed"), ("rows", "broadcast"), ("rows", "routed")]
TOLERANCE = 1e-11  # max|delta| / max|reference|, float64
CASES = [("lr", "ftrl", "sum"), ("fm", "adagrad", "sum"), ("fm", "adam", "mean"), ("deepfm", "adagrad", "sum"), ("dcnv2", "adam", "mean")]


def config_of(name, rule, reduction, **train):
    rule = {**RULES[rule], "reduction": reduction}
    if name in ("lr", "fm"):
        return small_config(name, rule=rule, reduction=reduction, **train)
    rule = {**rule, "dense_name": ""}
    return deep_config(name, rule=rule, model={"activation": "tanh", "normalisation": "layer"}, **train)


def assert_close(found, expected):
    assert np.array_equal(found.rows.keys, expected.rows.keys)
    for one, other in ((found.losses, expected.losses), (found.rows.numbers, expected.rows.numbers), (found.parameters, expected.parameters)):
        assert np.abs(one - other).max() <= TOLERANCE * np.abs(other).max()


def check(world, name, rule, reduction, **train):
    batches = weighted_batches(reduction)
    mean = float(np.mean(batches[0].weights)) if reduction == "mean" else 1.0
    expected = train_on(MPI.COMM_SELF, [repeated(batch) for batch in batches], config_of(name, rule, reduction))
    found = train_on(world, batches, config_of(name, rule, reduction, **train), mean_weight=mean)
    assert_close(found, expected)
    unweighted = train_on(world, [replace(batch, weights=None) for batch in batches], config_of(name, rule, reduction, **train))
    assert np.abs(unweighted.rows.numbers - expected.rows.numbers).max() > 1e-3


@pytest.mark.parametrize("name, rule, reduction", CASES, ids=["-".join(case) for case in CASES])
def test_weighted_is_repeated(world, name, rule, reduction):
    exchange, routing = WAYS[CASES.index((name, rule, reduction)) % len(WAYS)]
    check(world, name, rule, reduction, exchange=exchange, routing=routing)


@pytest.mark.parametrize("exchange, routing", WAYS[:4])
def test_weighted_is_repeated_whatever_travels(world, exchange, routing):
    check(world, "fm", "sgd", "sum", exchange=exchange, routing=routing)


@pytest.mark.parametrize("exchange, routing", WAYS)
def test_a_step_says_what_its_samples_count(world, exchange, routing):
    """All ranks know it, to the bit; without weights each sample counts 1.  An evaluated batch sends no weights."""
    batch = replace(awkward_batches(3, 1)[0], weights=np.random.default_rng(1).random(37).astype(np.float32) * 7)
    with small_model(world, small_config("lr", exchange=exchange, routing=routing)) as model:
        for weights, expected in ((batch.weights, float(batch.weights.astype(np.float64).sum())), (None, 37.0)):
            (made,) = steps(model, [reads(model, replace(batch, weights=weights))])
            assert made.weight == pytest.approx(expected, rel=1e-15)
            assert len(set(model.group.gather(made.weight))) == 1


def test_the_scale_of_weights_is_that_of_a_sum_and_not_of_a_mean():
    assert Objective(reduction="mean", mean_weight=4.0).scale(np.float64(0), 8) == 1 / 32
    assert Objective(reduction="sum", mean_weight=4.0).scale(np.float64(0), 8) == 1


def test_a_sample_of_weight_0_changes_nothing_but_the_rows_of_its_keys(world):
    batches = [replace(batch, weights=(np.arange(len(batch)) % 3 > 0).astype(np.float32)) for batch in weighted_batches("sum")]
    found = train_on(world, batches, small_config("fm"))
    expected = train_on(MPI.COMM_SELF, [repeated(batch) for batch in batches], small_config("fm"))
    both = np.isin(found.rows.keys, expected.rows.keys)
    assert both.sum() == len(expected.rows.keys) < len(found.rows.keys)
    assert np.abs(found.rows.numbers[both] - expected.rows.numbers).max() <= TOLERANCE * np.abs(expected.rows.numbers).max()


@pytest.mark.parametrize("exchange, routing", WAYS)
def test_weights_in_fixed_point_have_one_rank_s_bits(world, exchange, routing):
    """Rows, dense parameters and losses, with weights that are no powers of two, one of them large."""
    batches = [replace(batch, weights=batch.weights * np.float32(0.3)) for batch in weighted_batches("sum")]
    batches[1].weights[0] = 5e3
    config = small_config("fm", accumulate="int64", exchange=exchange, routing=routing)
    found, expected = train_on(world, batches, config, threads=2), train_on(MPI.COMM_SELF, batches, small_config("fm", accumulate="int64"))
    assert found.digest() == expected.digest() and found.losses.tolist() == expected.losses.tolist()
