"""Training a field-aware factorization machine computes what its definition says, on any ranks, by every split, exchange and routing.

Twenty awkward steps agree with `plain_ffm` (dictionaries, explicit pairs, one sample at a time) in losses, rows and dense parameters.  A case
with several ranks is compared with the same plain model as one with one, not with what deshpc makes of it alone.
"""

from functools import cache
from itertools import product

import numpy as np
import pytest
from plain_ffm import PlainFFM
from small_training import DIM, INIT_STD, RULES, all_rows, reads, small_model
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.config.load import build
from deshpc.config.schema import TrainConfig, choices
from deshpc.exchange.kinds import EXCHANGES
from deshpc.training.step import scores, step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

TOLERANCE = 1e-10  # float64, of the largest number
OF_RULES = {**RULES, "sgd": {"name": "sgd", "learning_rate": 0.05}}  # products of products diverge at RULES' rate
WAYS = [
    ("column", "allreduce", "broadcast"), ("column", "reduce_scatter", "broadcast"), *product(("key", "field"), ("rows",), ("routed", "broadcast")),
    ("key", "allreduce", "routed"), ("key", "reduce_scatter", "broadcast"), ("field", "pooled", "routed"), ("field", "pooled", "broadcast"),
]  # fmt: skip
KINDS = [(1, 2, True), (0, 2, True), (0, 0, False), (2, 0, True)]  # values beside a key, dense features, linear weights
CASES = [
    (way, rule, KINDS[(i + j) % len(KINDS)], 1 + (i + j) % 2)
    for i, way in enumerate(WAYS) for j, rule in enumerate(("adagrad", "sgd", "adagrad, clipped", "adam", "ftrl", "rowwise_adagrad"))
    if (i + j) % 3 == 0 and not (rule == "rowwise_adagrad" and way[0] == "column")
]  # fmt: skip


def config_of(way, rule, linear):
    split, exchange, routing = way
    return build(
        {
            "data": {"format": "synthetic"}, "model": {"name": "ffm", "dim": DIM, "init_std": INIT_STD, "linear": linear}, "optimizer": OF_RULES[rule],
            "train": {"precision": "float64", "split": split, "exchange": exchange, "routing": routing},
        }
    )  # fmt: skip


def dense_of(values, n_dense, linear):
    """(bias, (n_dense, 1 + G k) of the dense features) of flat dense parameters."""
    begin = 1 + linear * n_dense
    weights = values[1:begin] if linear else np.zeros(n_dense)
    return values[0], np.column_stack([weights, values[begin:].reshape(n_dense, (N_FIELDS + n_dense) * DIM)])


@cache
def plain(rule, kind):
    """(batches, the trained plain model, its losses, later batches, its logits of these)."""
    weighted, n_dense, linear = kind
    batches, config = awkward_batches(7, 22, weighted, n_dense), config_of(WAYS[0], rule, linear)
    rng = np.random.default_rng(5)
    dense = np.column_stack([np.zeros(n_dense), 0.2 * rng.standard_normal((n_dense, (N_FIELDS + n_dense) * DIM))])
    reduction = "mean" if OF_RULES[rule]["name"] in ("sgd", "adam") else "sum"
    model = PlainFFM(DIM, N_FIELDS, linear, OF_RULES[rule], reduction, config.train.seed, INIT_STD, dense.copy())
    losses = [model.step(batch) for batch in batches[:20]]
    return batches[:20], dense, model, losses, batches[20:], [model.logits(batch) for batch in batches[20:]]


def close(actual, expected, what):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    error = np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)
    assert error <= TOLERANCE, f"{what}: {error:.1e}"


@pytest.mark.parametrize("way, rule, kind, threads", CASES, ids=[f"{'-'.join(way)}-{rule}-{threads}" for way, rule, _, threads in CASES])
def test_twenty_steps_agree_with_the_definition(world, way, rule, kind, threads):
    batches, dense, expected, losses, later, logits = plain(rule, kind)
    _, n_dense, linear = kind
    with small_model(world, config_of(way, rule, linear), threads, n_dense) as model:
        if n_dense:
            model.parameters.set("ffm.factors", dense[:, 1:])
            model.parameters.begin_state()
        close([step(model, reads(model, batch)) for batch in batches], losses, "losses")
        rows = all_rows(model)
        keys = sorted(expected.weights)
        assert rows.keys.tolist() == keys
        assert rows.counts.tolist() == [expected.counts[key] for key in keys]
        weights = np.array([expected.weights[key] for key in keys])
        close(rows.numbers[:, : weights.shape[1] - (not linear)], weights[:, not linear :], "rows")
        if OF_RULES[rule]["name"] in ("adagrad", "adam", "ftrl"):
            states = [np.array([expected.states[key][plane] for key in keys]) for plane in range(len(expected.bias_states))]
            ordered = np.hstack([*(state[:, :1] for state in states if linear), *(state[:, 1:] for state in states)])
            close(rows.numbers[:, weights.shape[1] - (not linear) :], ordered, "state")
        bias, of_dense = dense_of(model.parameters.values, n_dense, linear)
        close(bias, expected.bias[0], "bias")
        close(of_dense, expected.dense, "dense")
        for batch, one in zip(later, logits, strict=True):  # unseen keys among them
            found = next(scores(model, [reads(model, batch)]))[1]
            found = found if model.exchange.whole_top else np.concatenate(model.group.gather(found))
            close(found, one, "logits")


def test_ways_are_all_there_are():
    assert {way[0] for way in WAYS} == {*choices(TrainConfig, "split")} - {"auto"}
    assert {way[1] for way in WAYS} == {*EXCHANGES}
