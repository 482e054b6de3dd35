"""What a step of any model sends by any valid combination of split, first layer, exchange and routing: bytes and collectives.

The ledger agrees with `deshpc.plan.cost`, exactly but for the padding of keys.  A step makes one aggregating collective a
direction (low-rank cross layers: one more each), and one of dense gradients.  What DES promises of DCN and of an FM by columns is counted by hand, literally.
"""

from collections import Counter
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from every_combination import COMBINATIONS, combined, is_valid
from pretended_nodes import pretend
from small_training import DIM, RULES, reads, small_model
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.training.step import step
from deshpc.training.traffic import require_agreement, training_traffic

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

SIZES = (37, 37, 2)  # samples of the batches: shares are uneven, and the last one leaves ranks without any
KINDS = {
    "allreduce": {"partials"}, "reduce_scatter": {"partials", "gradients", "dense"}, "rows": {"rows", "gradients", "dense"},
    "pooled": {"pooled", "dense"},
}  # fmt: skip
ALL_LOCAL = ("wide_deep", "deepfm")
"""Without dense features, all that their owners learn belongs to single ranks by field and by column; fm's owners learn nothing."""

_COLLECTIVES = ("sum_samples", "reduce_samples", "gather_samples", "exchange_bytes", "exchange_counts", "gather_numbers", "gather_bytes")


def config(kind, split="key", first_layer="pooled", exchange="auto", routing="broadcast", rule=(), normalisation="none", **train):
    rule = dict(rule or RULES["sgd"])
    return combined((kind, split, first_layer, exchange, routing), rule, normalisation, global_batch_samples=SIZES[0], **train)


@cache
def batches(weighted, n_dense, weighs):
    first, other, last = (awkward_batches(seed, kind + 1, weighted, n_dense)[kind] for seed, kind in ((61, 0), (62, 0), (63, 2)))
    found = [replace(batch, step=i, weights=batch.labels + 1 if weighs else None) for i, batch in enumerate((first, other, last))]
    assert tuple(map(len, found)) == SIZES
    return found


class Samples:
    """What traffic asks of a training part that these batches are an epoch of."""

    keys_per_sample = 1.0

    def __init__(self, weighted, n_dense, weighs):
        self.value_width, self.n_dense, self.has_weights = weighted, n_dense, weighs

    def __len__(self):
        return sum(SIZES)


def recorded(group):
    """[(name of the method, Traffic or what it has said, shape)] of the collectives of a group that are to come."""
    calls = []

    def record(name, method):
        def call(*arguments, **others):
            traffic = arguments[-1][0][0] if name == "exchange_bytes" else arguments[-1]
            calls.append((name, traffic, np.shape(arguments[0])))
            return method(*arguments, **others)

        return call

    for name in _COLLECTIVES:
        setattr(group, name, record(name, getattr(group, name)))
    return calls


def named(traffic):
    """What a collective counts as: its operator, or what is added up between layers, and its direction."""
    return traffic.kind if traffic.kind == "layers" else traffic.operator, traffic.direction


@pytest.mark.thorough(10)
@pytest.mark.parametrize("number", range(len(COMBINATIONS)), ids=["-".join(one) for one in COMBINATIONS])
def test_the_ledger_agrees_with_the_plan(world, number, monkeypatch):
    """With other options, too, which take turns, and with ranks on one node or on two."""
    kind, split, first_layer, exchange, routing = COMBINATIONS[number]
    weighted, n_dense, threads, weighs = number % 3, (2, 2, 0)[number % 5 % 3], 1 + number % 2, number % 7 < 3
    rule = RULES[("adagrad, clipped", "adam", "sgd", "ftrl")[number % 4]]
    normalisation = ("batch", "none", "batch", "layer")[number % 7 % 4]
    two_nodes = number // 4 % 2 == 1 and world.size > 1
    if two_nodes:
        pretend(monkeypatch, ("blocks", "one aside")[number // 8 % 2])
    sums = ("", "int64")[number % 3 // 2]
    for layers, accumulate in ((normalisation, sums), (normalisation, ""), ("none", "")):
        options = config(kind, split, first_layer, exchange, routing, rule, layers, levels="two", accumulate=accumulate)
        if is_valid(options, world.size):
            break
    with small_model(world, options, threads, n_dense) as model:
        calls = recorded(model.group)
        for batch in batches(weighted, n_dense, weighs):
            step(model, reads(model, batch))
        steps, samples, counts = len(SIZES), sum(SIZES), Counter(named(traffic) for _, traffic, _ in calls)
        session = SimpleNamespace(
            group=model.group, backend=model.backend, model=model, config=options, input=SimpleNamespace(n_fields=N_FIELDS)
        )
        traffic, _ = training_traffic(session, Samples(weighted, n_dense, weighs), steps, samples)
        require_agreement(model.group, traffic)
        for row in traffic:
            assert row.low_bytes == row.high_bytes or row.kind == "keys"
        assert {row.level for row in traffic} <= ({"inside", "between"} if two_nodes else {"flat"})
        assert not two_nodes or any(row.level == "between" for row in traffic)
        whole_top, operator = model.exchange.whole_top, model.operators.name
        exchanges = steps * (4 if two_nodes and exchange == "rows" else 1)  # rows travel between nodes in four parts
        assert counts[operator, "forward"] == exchanges
        assert counts[operator, "backward"] == (0 if whole_top else exchanges)
        of_owners = (first_layer == "pushed_down" or split == "column") and not (
            n_dense == 0 and split != "key" and (kind == "fm" or kind in ALL_LOCAL and world.size > 1)
        )
        assert counts["dense", "backward"] == (steps if of_owners or not whole_top else 0)
        in_sequence = 3 * steps if kind == "dcnv2 of low rank" and of_owners else 0  # low-rank layers, one after another
        assert counts["layers", "forward"] == counts["layers", "backward"] == in_sequence
        layers = sum(name.endswith(".mean") for name in model.parameters.statistics) * (not whole_top)
        assert counts["tower", "forward"] == counts["tower", "backward"] == layers * steps
        found = {row.kind for row in traffic} - {"control", "statistics"}
    if world.size == 1:
        assert traffic == []
        return
    expected = KINDS[exchange] | ({"layers"} if in_sequence else set()) | ({"dense"} if of_owners else set())
    if routing == "routed":
        expected = expected | ({"keys", "labels"} if exchange == "allreduce" else {"keys"})
    assert found == expected


def test_combinations_are_those_of_the_table():
    """Of `model.combinations`: models times exchanges times routings, line by line."""
    found = Counter((split, first_layer) for _, split, first_layer, _, _ in COMBINATIONS)
    low_rank = 1  # dcnv2 is there twice
    assert found == {
        ("key", "pooled"): (11 + low_rank) * 3 * 2, ("key", "pushed_down"): 3 * 2 * 2,
        ("field", "pooled"): 3 * 3 * 2 + (8 + low_rank) * 2 * 2, ("field", "pushed_down"): 3 * 2 * 2 + low_rank * 2,
        ("column", "pooled"): (7 + low_rank) * 2, ("column", "pushed_down"): (7 + low_rank) * 2,
    }  # fmt: skip


def sent_by(world, options):
    """([(method, kind, direction, shape)] of one step's collectives, {(kind, direction): bytes of all ranks})."""
    with small_model(world, options) as model:
        calls = recorded(model.group)
        step(model, reads(model, batches(0, 2, False)[0]))
        sent = Counter()
        for entries in world.allgather(model.group.ledger.entries()):
            for entry in entries:
                sent[entry["kind"], entry["direction"]] += entry["sent_bytes"]
    return [(name, traffic.kind, traffic.direction, shape) for name, traffic, shape in calls], sent


EIGHT = 8  # bytes of a float64


@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter"])
@pytest.mark.parametrize("split", ["key", "field", "column"])
def test_dcn_takes_one_collective_a_direction(world, split, exchange):
    """All L cross layers and the first dense one: L + 1 and hidden[0] numbers a sample, whatever the split."""
    samples, n, layers, (first, second) = SIZES[0], world.size, 3, (7, 3)
    calls, sent = sent_by(world, config("dcn", split, "pushed_down", exchange))
    inputs, pooled = N_FIELDS * DIM + 2, N_FIELDS * DIM
    own = pooled * first if split != "key" and n > 1 else 0  # rows of the first layer's weights: they stay where they are
    of_owners = inputs * first + inputs * (layers + 1) - own
    everything = (
        inputs * first + first + first * second + second + second  # the network
        + inputs * (layers + 1) + layers * inputs + 1  # the cross layers and the bias
    ) - own  # fmt: skip
    width = layers + 1 + first
    share = samples * (world.rank + 1) // n - samples * world.rank // n
    if exchange == "allreduce" or n == 1:
        assert calls == [
            ("sum_samples", "partials", "forward", (samples, width)), ("sum_samples", "dense", "backward", (of_owners,)),
        ]  # fmt: skip
        assert sent["partials", "forward"] == 2 * (n - 1) * samples * width * EIGHT
        assert sent["dense", "backward"] == 2 * (n - 1) * of_owners * EIGHT
    else:
        assert calls == [
            ("reduce_samples", "partials", "forward", (samples, width)), ("gather_numbers", "control", "forward", (4,)),
            ("gather_samples", "gradients", "backward", (share, width)), ("sum_samples", "dense", "backward", (everything,)),
        ]  # fmt: skip
        assert sent["partials", "forward"] == sent["gradients", "backward"] == (n - 1) * samples * width * EIGHT
        assert sent["dense", "backward"] == 2 * (n - 1) * everything * EIGHT


@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter"])
def test_an_fm_by_columns_sends_one_number_a_sample(world, exchange):
    samples, n = SIZES[0], world.size
    calls, sent = sent_by(world, config("fm", "column", exchange=exchange))
    partials = [(shape, direction) for _, kind, direction, shape in calls if kind in ("partials", "gradients")]
    assert partials[0] == ((samples, 1), "forward")
    if exchange == "allreduce" or n == 1:
        assert len(partials) == 1 and sent["partials", "forward"] == 2 * (n - 1) * samples * EIGHT
    else:
        assert len(partials) == 2 and partials[1][1] == "backward" and partials[1][0][1:] == (1,)
        assert sent["partials", "forward"] == sent["gradients", "backward"] == (n - 1) * samples * EIGHT
    assert {kind for (kind, _), count in sent.items() if count} <= {"partials", "gradients", "dense", "control"}
