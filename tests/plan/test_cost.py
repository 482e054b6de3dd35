"""The formulas of bytes against numbers worked out by hand, and against a run played message by message.

The play knows the exchanges from docs/method.md: every message of every rank to every other one, with uneven shares,
uneven batches, samples without keys, and ranks without samples.
"""

import random
from collections import Counter
from itertools import product

import pytest

from deshpc.exchange.kinds import EXCHANGES
from deshpc.plan.cost import KeysAway, Run, training_bytes


def by(exchange):
    """What a Run has of its exchange."""
    kind = EXCHANGES[exchange]
    return {"exchange": exchange, "whole_top": kind.whole_top, "moves_rows": kind.moves_rows}


FM = Run(
    operator="fm", ranks=2, shards=1, batches=((5, 1),), fields=3, n_dense=2, value_width=0, dense_parameters=0,
    state_width=3, row_width=3, dim=2, row_bytes=4, sum_bytes=4, **by("allreduce"), routed=True, clip=False,
    fixed_point=False,
)  # fmt: skip
AWAY = {"flat": KeysAway(unique=6, whole=6, numbers=8)}
NONE = {"flat": KeysAway()}


def totals(run, away):
    """{(operator, kind, direction): (low, high)} on one level; every one is there once."""
    return {what[:3]: bounds for what, bounds in by_level(run, away).items()}


def by_level(run, away):
    """{(operator, kind, direction, level): (low, high)}; every one is there once, on levels that `away` has."""
    entries = training_bytes(run, away)
    assert {entry.level for entry in entries} <= away.keys()
    found = {entry[:4]: (entry.low, entry.high) for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {},
            {
                ("batch", "keys", "forward"): (98, 110),  # 6 keys of 8, 8 bytes of numbers, 5 counts of 2, 2 headers of 16; 2 x 6
                ("batch", "labels", "forward"): (60, 60),  # 5 samples of 3 numbers
                ("fm", "partials", "forward"): (120, 120),  # 2 x 5 samples of 3 numbers
            },
        ),
        ({"routed": False}, {("fm", "partials", "forward"): (120, 120)}),
        (
            {"value_width": 2},
            {
                ("batch", "keys", "forward"): (178, 190),  # and 10 times two values of 4
                ("batch", "labels", "forward"): (60, 60),
                ("fm", "partials", "forward"): (120, 120),
            },
        ),
        (
            {**by("reduce_scatter"), "value_width": 1, "clip": True, "dense_parameters": 7},
            {
                ("batch", "control", "forward"): (64, 64),  # three terms of the loss, and whether a report is due, to each other
                ("batch", "control", "backward"): (656, 656),  # 41 terms of the norm
                ("batch", "keys", "forward"): (138, 150),  # and 10 values of 4
                ("fm", "partials", "forward"): (60, 60),
                ("fm", "gradients", "backward"): (60, 60),
                ("dense", "dense", "backward"): (56, 56),  # 2 x 7 numbers
            },
        ),
        (
            {
                **by("rows"), "shards": 2, "batches": ((2, 2), (1, 1)), "fixed_point": True, "sum_bytes": 8, "clip": True,
                "dense_parameters": 7,
            },
            {
                ("batch", "control", "forward"): (192, 192),
                ("batch", "control", "backward"): (2304, 2304),  # 3 steps x 2 messages x (7 + 41 numbers)
                ("batch", "keys", "forward"): (192, 192),  # 6 keys of 8, 3 x 2 headers of 2 shards and 3 fields
                ("fm", "rows", "forward"): (72, 72),  # 6 rows of 3 float32
                ("fm", "gradients", "backward"): (144, 144),  # 6 of 3 int64
                ("dense", "dense", "backward"): (336, 336),  # 3 steps of 2 x 7 int64
            },
        ),
        (
            {**by("rows"), "routed": False, "widest_row": 5},  # 6 rows of 3 to 5 float32
            {
                ("batch", "control", "forward"): (64, 64), ("fm", "rows", "forward"): (72, 120), ("fm", "gradients", "backward"): (72, 120),
            },
        ),
        (
            {**by("rows"), "routed": False, "widest_row": 5, "packed_rows": (8, 12), "wire": 2},  # 6 rows of 8 to 12 bytes, 3 to 5 gradients of 2
            {
                ("batch", "control", "forward"): (64, 64), ("fm", "rows", "forward"): (48, 72), ("fm", "gradients", "backward"): (36, 60),
            },
        ),
        (
            {
                **by("rows"), "routed": False, "value_width": 2, "fixed_point": True, "sum_bytes": 8, "dense_parameters": 7,
                "repeats": True, "batch_widths": (4,),
            },
            {
                ("tower", "statistics", "forward"): (1152, 1152),  # 2 messages of 9 float64 of each of 8 parts
                ("tower", "statistics", "backward"): (1152, 1152),
                ("batch", "control", "forward"): (128, 128),  # and distinct rows of 3 fields, and occurrences
                ("batch", "control", "backward"): (112, 112),  # 2 messages of 7 numbers
                ("fm", "rows", "forward"): (72, 72),
                ("fm", "gradients", "backward"): (192, 192),  # of 4 int64: sum(g x A) and sum(g x^2)
                ("dense", "dense", "backward"): (112, 112),
            },
        ),
        (
            {**by("pooled"), "routed": False, "batches": ((5, 2), (1, 1)), "field_widths": (3, 1), "batch_widths": (4, 2)},
            {
                ("batch", "control", "forward"): (192, 192),  # the loss of 3 steps, to each other
                # shares of 2 and 3 samples, and of 0 and 1: 2 x (3 of 3 numbers and 2 of 1), and 1 of 3
                ("fm", "pooled", "forward"): (100, 100),
                ("fm", "pooled", "backward"): (100, 100),
                ("tower", "statistics", "forward"): (672, 672),  # 3 x 2 messages of 9 + 5 float64
                ("tower", "statistics", "backward"): (672, 672),
            },
        ),
        (
            {"routed": False, "dense_parameters": 7, "local": True, "clip": True, "batch_widths": (4,), "layer_width": 6},
            {
                ("fm", "layers", "forward"): (240, 240),  # 2 x 5 samples of 6 numbers
                ("fm", "layers", "backward"): (240, 240),
                ("batch", "control", "backward"): (672, 672),  # the 41 terms of the norm of rows, and that of parameters of single ranks
                ("fm", "partials", "forward"): (120, 120),
                ("dense", "dense", "backward"): (56, 56),  # of owners; every rank has the moments of all samples
            },
        ),
    ],
)
def test_numbers_worked_out_by_hand(change, wanted):
    run = FM._replace(**change)
    assert totals(run, {"flat": AWAY["flat"]._replace(values=10 * 4 * run.value_width)}) == wanted


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("routed", [True, False])
def test_one_rank_sends_nothing(exchange, routed):
    alone = FM._replace(
        ranks=1, **by(exchange), routed=routed, value_width=2, fixed_point=True, clip=True, dense_parameters=7, batch_widths=(3,),
        layer_width=2,
    )  # fmt: skip
    assert training_bytes(alone, NONE) == []
    assert training_bytes(alone._replace(field_widths=(4,)), NONE) == []
    assert training_bytes(alone._replace(ranks=4, batches=((9, 0),)), NONE) == []


def test_the_padding_may_reach_its_bound():
    two_samples = FM._replace(batches=((2, 1),), fields=0)  # without keys: each message is a count of 2 bytes, padded to 8
    assert totals(two_samples, NONE)["batch", "keys", "forward"] == (12, 24)
    assert played(two_samples, [[[], []]])[0]["batch", "keys", "forward"] == 24


def random_batches(seed, samples_of_steps):
    """Batches of samples of keys: a key is a number, its owner shard is `key % owners`."""
    chance = random.Random(seed)
    return [[[chance.randrange(12) for _ in range(chance.randrange(6))] for _ in range(n)] for n in samples_of_steps]


def played(run, batches):
    """(Counter of bytes by (operator, kind, direction), {level: KeysAway}) of sending every message of a run."""
    sent, away = Counter(), Counter()
    n = run.ranks
    for batch in batches:
        for i, j in product(range(n), range(n)):
            if i != j:
                _play(run, share(batch, n, i), share(batch, n, j), i, j, sent, away)
    return +sent, {"flat": KeysAway(**away)}


def share(things, ranks, rank):
    """A rank's contiguous share: shares differ by one at most."""
    return things[len(things) * rank // ranks : len(things) * (rank + 1) // ranks]


def _play(run, own, others, i, j, sent, away):
    """What rank i sends to rank j in a step, and what it is sent because it asked for it."""
    keys = [key for sample in own for key in sample if key % (run.ranks * run.shards) // run.shards == j]
    unique = len(set(keys))
    numbers = -(-len(keys) * max(0, unique - 1).bit_length() // 32) * 4  # bits, in whole uint32
    known = unique // 2 * run.numbered
    of_keys = 8 * (unique - known) + -(-known // 3) * 8  # say that a uint64 holds the numbers of three
    values = (1 if run.tabled else 4 * run.value_width) * len(keys)  # say that a table takes nothing, and a number of it a byte
    away.update(unique=unique, whole=unique - known, short=of_keys - 8 * (unique - known), numbers=numbers, values=values)
    state, top = run.state_width * run.sum_bytes, run.exchange == "allreduce"
    for direction in ("forward", "backward"):  # terms of j's samples to j, and the sums of one's own
        sent[run.operator, "layers", direction] += (len(others) + len(own)) * run.layer_width * run.sum_bytes
    dense = range(run.dense_parameters)  # j's share to be added up there, and the sum of one's own
    sent["dense", "dense", "backward"] += (len(share(dense, run.ranks, j)) + len(share(dense, run.ranks, i))) * run.sum_bytes
    if run.exchange == "rows":
        sent[run.operator, "rows", "forward"] += unique * run.row_width * run.row_bytes  # that j sends back
        extra = 1 if run.fixed_point and run.own_terms and run.value_width and run.dim else 0
        sent[run.operator, "gradients", "backward"] += unique * (run.row_width + extra) * run.sum_bytes
    elif run.exchange == "pooled":
        sent[run.operator, "pooled", "forward"] += len(others) * run.field_widths[i] * run.sum_bytes
        sent[run.operator, "pooled", "backward"] += len(own) * run.field_widths[j] * run.sum_bytes
    else:
        sent[run.operator, "partials", "forward"] += len(others) * state  # of j's samples
        sent[(run.operator, *(("partials", "forward") if top else ("gradients", "backward")))] += len(own) * state
    if run.routed and run.exchange == "rows":
        sent["batch", "keys", "forward"] += of_keys + 4 * run.shards * (run.fields + run.numbered)
    elif run.routed:
        message = of_keys + numbers + values + 2 * len(own)
        sent["batch", "keys", "forward"] += -(-message // 8) * 8 + 4 * (run.fields + 1 + run.numbered + run.tabled)
        sent["batch", "labels", "forward"] += 4 * (1 + run.n_dense) * len(own) if top else 0
    if not top:
        sent["batch", "control", "forward"] += 32
        parts = 16 // run.ranks if run.fixed_point else 1  # of a batch, that are a rank's
        for direction in ("forward", "backward"):  # of every layer, a count of samples and two sums a unit
            sent["tower", "statistics", direction] += parts * sum(8 + 8 * width + 8 * width for width in run.batch_widths)
    sent["batch", "control", "backward"] += 56 if run.fixed_point else 0
    sent["batch", "control", "backward"] += (41 * 8 + 8 * run.local) * run.clip


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_formulas_equal_the_played_messages(exchange, ranks):
    sizes = (13, 13, 13, 2, 1, 5)
    for seed, (routed, width, fixed, clip, dim) in enumerate(product((False, True), (0, 1, 2), *[(False, True)] * 2, (0, 4))):
        run = FM._replace(
            operator="fm" if dim else "linear", ranks=ranks, shards=1 + seed % 3, batches=tuple(Counter(sizes).items()),
            fields=seed % 5, n_dense=seed % 4, dense_parameters=seed % 7, value_width=width, local=seed % 3 == 1,
            field_widths=tuple((5 * rank + seed) % 4 for rank in range(ranks)), batch_widths=(3, 2, 3)[: seed % 4],
            layer_width=seed % 3, state_width=1 + dim, row_width=1 + dim, dim=dim, row_bytes=4 + 4 * (seed % 2), sum_bytes=8 if fixed else 4,
            **by(exchange), routed=routed, clip=clip, fixed_point=fixed, own_terms=seed % 5 != 3, numbered=seed % 3 == 2,
            tabled=width > 0 and seed % 2 == 1,
        )  # fmt: skip
        sent, away = played(run, random_batches(seed, sizes))
        found = totals(run, away)
        assert found.keys() == sent.keys()
        for what, (low, high) in found.items():
            padded = what[1] == "keys" and exchange != "rows"
            assert low <= sent[what] <= high and high - low == (6 * ranks * (ranks - 1) * len(sizes) if padded else 0)


SUMS = ("partials", "layers", "dense", "labels")  # of kinds that go to all ranks, and "gradients" unless rows travel


@pytest.mark.parametrize("nodes", [(0, 0, 1, 1), (0, 1, 0, 1, 1), (0, 0, 0, 1), (0, 1, 2)])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_two_levels_equal_the_played_messages(exchange, nodes):
    """Messages are where their two ranks are; a number that goes to all ranks, or is added up from them, is read by every other rank of a
    node in its memory, and comes to every other node, or from it, once."""
    sizes, n = (13, 13, 2, 1), len(nodes)
    for seed, (routed, width) in enumerate(product((False, True), (0, 2))):
        run = FM._replace(
            ranks=n, shards=1 + seed % 2, batches=tuple(Counter(sizes).items()), fields=3, n_dense=2, dense_parameters=7, value_width=width,
            field_widths=tuple(1 + rank for rank in range(n)), batch_widths=(3,), layer_width=seed % 3, **by(exchange), routed=routed, clip=True,
            nodes=nodes,
        )  # fmt: skip
        sent, away = {"inside": Counter(), "between": Counter()}, {"inside": Counter(), "between": Counter()}
        for batch in random_batches(seed, sizes):
            for i, j in product(range(n), range(n)):
                level = "inside" if nodes[i] == nodes[j] else "between"
                if i != j:
                    _play(run, share(batch, n, i), share(batch, n, j), i, j, sent[level], away[level])
        found = by_level(run, {level: KeysAway(**counts) for level, counts in away.items()})
        of_all = {what for what in found if what[1] in SUMS or (what[1] == "gradients" and exchange != "rows")}
        for what in found.keys() - of_all:
            low, high = found[what]
            assert low <= sent[what[3]][what[:3]] <= high
        ranks_of, flat = Counter(nodes), totals(run._replace(nodes=()), NONE)
        for operator, kind, direction, level in of_all:
            once = flat[operator, kind, direction][0] // (n - 1)  # to one rank, or from one
            times = len(ranks_of) - 1 if level == "between" else sum(ranks - 1 for ranks in ranks_of.values())
            assert found[operator, kind, direction, level] == (times * once, times * once)
        assert {what[:3] for what in found if what[3] == "between"} == {what for one in sent.values() for what in +one}
