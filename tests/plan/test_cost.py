"""The formulas of bytes against numbers worked out by hand, and against a run played message by message.

The play knows the exchanges from docs/method.md: every message of every rank to every other one, with uneven shares,
uneven batches, samples without keys, and ranks without samples.
"""

import random
from collections import Counter
from itertools import product

import pytest

from deshpc.plan.cost import KeysAway, Run, training_bytes

FM = Run(
    operator="fm", ranks=2, threads=1, steps=1, samples=5, fields=3, n_dense=2, dense_parameters=7, value_width=0,
    state_width=3, row_width=3, dim=2, row_bytes=4, sum_bytes=4, exchange="allreduce", routed=True, clip=False,
    fixed_point=False,
)  # fmt: skip
AWAY = KeysAway(unique=6, occurrences=10)


def totals(run, away):
    """{(operator, kind, direction): (low, high)}; every one is there once, on one level."""
    entries = training_bytes(run, away)
    assert {entry.level for entry in entries} <= {"flat"}
    found = {entry[:3]: (entry.low, entry.high) for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {},
            {
                ("batch", "keys", "forward"): (130, 142),  # 6 keys of 8, 10 of 4, 5 counts of 2, 2 headers of 16; 2 x 6
                ("batch", "labels", "forward"): (60, 60),  # 5 samples of 3 numbers
                ("fm", "partials", "forward"): (120, 120),  # 2 x 5 samples of 3 numbers
            },
        ),
        ({"routed": False}, {("fm", "partials", "forward"): (120, 120)}),
        (
            {"value_width": 2},
            {
                ("batch", "keys", "forward"): (210, 222),  # and 10 times two values of 4
                ("batch", "labels", "forward"): (60, 60),
                ("fm", "partials", "forward"): (120, 120),
            },
        ),
        (
            {"exchange": "reduce_scatter", "value_width": 1, "clip": True},
            {
                ("batch", "control", "forward"): (16, 16),  # the loss, to each other
                ("batch", "control", "backward"): (16, 16),  # the norm
                ("batch", "keys", "forward"): (170, 182),  # and 10 values of 4
                ("fm", "partials", "forward"): (60, 60),
                ("fm", "gradients", "backward"): (60, 60),
                ("dense", "dense", "backward"): (56, 56),  # 2 x 7 numbers
            },
        ),
        (
            {"exchange": "rows", "threads": 2, "steps": 3, "fixed_point": True, "sum_bytes": 8, "clip": True},
            {
                ("batch", "control", "forward"): (48, 48),
                ("batch", "control", "backward"): (384, 384),  # 3 steps x 2 messages x (5 + 3 numbers)
                ("batch", "keys", "forward"): (192, 192),  # 6 keys of 8, 3 x 2 headers of 2 threads and 3 fields
                ("fm", "rows", "forward"): (72, 72),  # 6 rows of 3 float32
                ("fm", "gradients", "backward"): (144, 144),  # 6 of 3 int64
                ("dense", "dense", "backward"): (336, 336),  # 3 steps of 2 x 7 int64
            },
        ),
        (
            {"exchange": "rows", "routed": False, "value_width": 2, "fixed_point": True, "sum_bytes": 8},
            {
                ("batch", "control", "forward"): (16, 16),
                ("batch", "control", "backward"): (80, 80),
                ("fm", "rows", "forward"): (72, 72),
                ("fm", "gradients", "backward"): (192, 192),  # of 4 int64: sum(g x A) and sum(g x^2)
                ("dense", "dense", "backward"): (112, 112),
            },
        ),
    ],
)
def test_numbers_worked_out_by_hand(change, wanted):
    assert totals(FM._replace(**change), AWAY) == wanted


@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter", "rows"])
@pytest.mark.parametrize("routed", [True, False])
def test_one_rank_sends_nothing(exchange, routed):
    alone = FM._replace(ranks=1, exchange=exchange, routed=routed, value_width=2, fixed_point=True, clip=True)
    assert training_bytes(alone, KeysAway()) == []
    assert training_bytes(alone._replace(ranks=4, steps=0, samples=0), KeysAway()) == []


def test_the_padding_may_reach_its_bound():
    two_samples = FM._replace(samples=2, fields=0)  # without keys: each message is a count of 2 bytes, padded to 8
    assert totals(two_samples, KeysAway())["batch", "keys", "forward"] == (12, 24)
    assert played(two_samples, [[[], []]])[0]["batch", "keys", "forward"] == 24


def random_batches(seed, samples_of_steps):
    """Batches of samples of keys: a key is a number, its owner shard is `key % owners`."""
    chance = random.Random(seed)
    return [[[chance.randrange(12) for _ in range(chance.randrange(6))] for _ in range(n)] for n in samples_of_steps]


def played(run, batches):
    """(Counter of bytes by (operator, kind, direction), KeysAway) of sending every message of a run."""
    sent, away = Counter(), Counter()
    n = run.ranks
    for batch in batches:
        for i, j in product(range(n), range(n)):
            if i != j:
                _play(run, share(batch, n, i), share(batch, n, j), i, j, sent, away)
    return +sent, KeysAway(**away)


def share(things, ranks, rank):
    """A rank's contiguous share: shares differ by one at most."""
    return things[len(things) * rank // ranks : len(things) * (rank + 1) // ranks]


def _play(run, own, others, i, j, sent, away):
    """What rank i sends to rank j in a step, and what it is sent because it asked for it."""
    keys = [key for sample in own for key in sample if key % (run.ranks * run.threads) // run.threads == j]
    unique = len(set(keys))
    away.update(unique=unique, occurrences=len(keys))
    state, top = run.state_width * run.sum_bytes, run.exchange == "allreduce"
    if run.exchange == "rows":
        sent[run.operator, "rows", "forward"] += unique * run.row_width * run.row_bytes  # that j sends back
        extra = 1 if run.fixed_point and run.value_width and run.dim else 0
        sent[run.operator, "gradients", "backward"] += unique * (run.row_width + extra) * run.sum_bytes
    else:
        sent[run.operator, "partials", "forward"] += len(others) * state  # of j's samples
        sent[(run.operator, *(("partials", "forward") if top else ("gradients", "backward")))] += len(own) * state
    if run.routed and run.exchange == "rows":
        sent["batch", "keys", "forward"] += 8 * unique + 4 * run.threads * run.fields
    elif run.routed:
        message = 8 * unique + 4 * len(keys) + 4 * run.value_width * len(keys) + 2 * len(own)
        sent["batch", "keys", "forward"] += -(-message // 8) * 8 + 4 * (run.fields + 1)
        sent["batch", "labels", "forward"] += 4 * (1 + run.n_dense) * len(own) if top else 0
    if not top:
        sent["batch", "control", "forward"] += 8
        parameters = range(run.dense_parameters)  # j's share to be added up there, and the sum of one's own
        numbers = len(share(parameters, run.ranks, j)) + len(share(parameters, run.ranks, i))
        sent["dense", "dense", "backward"] += numbers * run.sum_bytes
    sent["batch", "control", "backward"] += 40 if run.fixed_point else 0
    sent["batch", "control", "backward"] += (24 if run.fixed_point else 8) if run.clip else 0


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter", "rows"])
def test_formulas_equal_the_played_messages(exchange, ranks):
    sizes = (13, 13, 13, 2, 1, 5)
    for seed, (routed, width, fixed, clip, dim) in enumerate(product((False, True), (0, 1, 2), *[(False, True)] * 2, (0, 4))):
        run = FM._replace(
            operator="fm" if dim else "linear", ranks=ranks, threads=1 + seed % 3, steps=len(sizes), samples=sum(sizes),
            fields=seed % 5, n_dense=seed % 4, dense_parameters=1 + seed, value_width=width,
            state_width=1 + dim, row_width=1 + dim, dim=dim, row_bytes=4 + 4 * (seed % 2), sum_bytes=8 if fixed else 4,
            exchange=exchange, routed=routed, clip=clip, fixed_point=fixed,
        )  # fmt: skip
        sent, away = played(run, random_batches(seed, sizes))
        found = totals(run, away)
        assert found.keys() == sent.keys()
        for what, (low, high) in found.items():
            padded = what[1] == "keys" and exchange != "rows"
            assert low <= sent[what] <= high and high - low == (6 * ranks * (ranks - 1) * len(sizes) if padded else 0)
