"""Training a field-aware factorization machine computes what its definition says, on any ranks, by every split, exchange and routing.

Twenty awkward steps agree with `plain_ffm` (dictionaries, explicit pairs, one sample at a time) in losses, rows and dense parameters.  A case
with several ranks is compared with the same plain model as one with one, not with what deshpc makes of it alone.
"""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from plain_ffm import PlainFFM
from small_training import INIT_STD, RULES, all_rows, reads, small_model
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.config.load import build
from deshpc.config.schema import TrainConfig, choices
from deshpc.errors import ConfigError
from deshpc.exchange.kinds import EXCHANGES
from deshpc.model.build_parts import vectors_of_row
from deshpc.model.combinations import require_valid
from deshpc.training.step import scores, step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

TOLERANCE = 1e-10  # float64, of the largest number
K = 4  # of DIM fewer kinds of rows on the ranks would follow, each of which is compiled
ADAGRAD, CLIPPED, ROW_WISE = "adagrad", "adagrad, clipped", "rowwise_adagrad"
WEIGHTED, PLAIN, NO_DENSE = (1, 2, True), (0, 2, False), (0, 0, True)  # values beside a key, dense features, linear weights
CASES = [  # way, rule, kind, threads
    (("column", "allreduce", "broadcast"), ADAGRAD, WEIGHTED, 1), (("column", "reduce_scatter", "broadcast"), CLIPPED, PLAIN, 2),
    (("key", "rows", "routed"), ADAGRAD, PLAIN, 2), (("key", "rows", "broadcast"), ROW_WISE, WEIGHTED, 1),
    (("field", "rows", "routed"), ADAGRAD, NO_DENSE, 1), (("key", "allreduce", "routed"), ADAGRAD, WEIGHTED, 1),
    (("key", "reduce_scatter", "broadcast"), CLIPPED, PLAIN, 2), (("field", "pooled", "routed"), ADAGRAD, WEIGHTED, 1),
]  # fmt: skip
WAYS = [way for way, *_ in CASES]


def config_of(way, rule, linear):
    split, exchange, routing = way
    return build(
        {
            "data": {"format": "synthetic"}, "model": {"name": "ffm", "dim": K, "init_std": INIT_STD, "linear": linear}, "optimizer": RULES[rule],
            "train": {"precision": "float64", "split": split, "exchange": exchange, "routing": routing},
        }
    )  # fmt: skip


def dense_of(values, n_dense, linear):
    """(bias, (n_dense, 1 + G k) of the dense features) of flat dense parameters."""
    begin = 1 + linear * n_dense
    weights = values[1:begin] if linear else np.zeros(n_dense)
    return values[0], np.column_stack([weights, values[begin:].reshape(n_dense, (N_FIELDS + n_dense) * K)])


@cache
def plain(rule, kind):
    """(batches, the trained plain model, its losses, later batches, its logits of these)."""
    weighted, n_dense, linear = kind
    batches, config = awkward_batches(7, 22, weighted, n_dense), config_of(WAYS[0], rule, linear)
    rng = np.random.default_rng(5)
    dense = np.column_stack([np.zeros(n_dense), 0.2 * rng.standard_normal((n_dense, (N_FIELDS + n_dense) * K))])
    reduction = "mean" if RULES[rule]["name"] in ("sgd", "adam") else "sum"
    model = PlainFFM(K, N_FIELDS, linear, RULES[rule], reduction, config.train.seed, INIT_STD, dense.copy())
    losses = [model.step(batch) for batch in batches[:20]]
    return batches[:20], dense, model, losses, batches[20:], [model.logits(batch) for batch in batches[20:]]


def close(actual, expected, what):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    error = np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)
    assert error <= TOLERANCE, f"{what}: {error:.1e}"


@pytest.mark.thorough(4)
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
        if RULES[rule]["name"] in ("adagrad", "adam", "ftrl"):
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


REFUSED = [  # of [train], backend, words
    ({"split": "column", "routing": "broadcast"}, "cuda", "columns are drawn by the CPU alone; compute.backend = 'cuda' cannot do it yet, choose 'cpu'"),
    ({"accumulate": "int64"}, "cpu", "'int64' does not go with model.name = 'ffm': its pairs are products of sums"),
    ({"precision": "bfloat16"}, "cpu", "'bfloat16' does not go with model.name = 'ffm', whose pairs read rows as they lie; choose 'float32'"),
    ({"split": "column", "routing": "broadcast", "exchange": "rows"}, "cpu", "every rank has the pairs of its columns, which have to be added up"),
    ({"split": "field", "exchange": "reduce_scatter"}, "cpu", "would add zeros to embeddings that are complete at their owners"),
]


@pytest.mark.parametrize(("train", "backend", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_is_refused(train, backend, words):
    config = build({"data": {"format": "synthetic"}, "model": {"name": "ffm", "dim": K}, "train": train})
    with pytest.raises(ConfigError, match=words):
        require_valid(config, SimpleNamespace(name=backend), 2)


def test_a_row_that_no_file_would_take_is_refused():
    model = build({"data": {"format": "synthetic"}, "model": {"name": "ffm", "dim": 1024}}).model
    assert vectors_of_row(model, 1000, 23) == 1023
    with pytest.raises(ConfigError, match="has 1,048,576 numbers, of 1,048,576 at most; choose at most 1,023, or fewer fields"):
        vectors_of_row(model, 1000, 24)
