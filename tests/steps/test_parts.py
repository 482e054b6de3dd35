"""Between nodes messages travel in parts and pieces: the bits and the bytes of ranks on one node, where they do not."""

import numpy as np
import pytest
from deep_training import deep_config
from pretended_nodes import pretend
from small_training import small_config, train_on
from synthetic_batches import awkward_batches

from deshpc.exchange.parted import PartedMessage

CASES = {
    "lr, rows": lambda: small_config("lr", precision="float32", exchange="rows"),
    "fm, rows, broadcast": lambda: small_config("fm", precision="float32", exchange="rows", routing="broadcast"),
    "fm, rows, float64, routed": lambda: small_config("fm", exchange="rows", routing="routed"),
    "fm, rows, fixed point": lambda: small_config("fm", precision="float32", accumulate="int64", exchange="rows"),
    "fm, reduce_scatter": lambda: small_config("fm", precision="float32", exchange="reduce_scatter"),
    "fm, allreduce": lambda: small_config("fm", precision="float32", exchange="allreduce"),
    "wide_deep, rows": lambda: deep_config("wide_deep", precision="float32", exchange="rows"),
    "wide_deep, pooled": lambda: deep_config("wide_deep", precision="float32", exchange="pooled", split="field"),
}


@pytest.mark.mpi
@pytest.mark.parametrize("case", CASES)
def test_bits_and_bytes_are_those_of_one_node(world, monkeypatch, case):
    config, batches = CASES[case](), awkward_batches(5, 4)
    near = train_on(world, batches, config, threads=2)
    pretend(monkeypatch, "each alone")
    far = train_on(world, batches, config, threads=2)
    assert far.digest() == near.digest() and np.array_equal(far.losses, near.losses)
    values = [[entry for entry in trained.ledger if entry["kind"] != "keys"] for trained in (far, near)]  # keys are packed between nodes
    assert values[0] == values[1]


def test_parts_hold_every_element_once_in_its_order():
    """By a dict of bytes: where each element lies, and which part travels with it."""
    counts, sizes, parts = np.array([[5, 0], [3, 7], [1, 2]]), np.array([4, 12]), 3
    message = PartedMessage(counts, sizes, parts)
    taken, elements = {}, {}
    for s, size in enumerate(sizes.tolist()):
        begins, lengths = message.stretches(s)
        places = [int(begin) + size * i for begin, count in zip(begins, lengths, strict=True) for i in range(count)]
        assert len(places) == counts[:, s].sum()
        for place in places:
            taken.update(dict.fromkeys(range(place, place + size), s))
        for p in range(parts):
            held, bytes_of = [i for one in message.ranges(p, s) for i in range(one.start, one.stop)], message.of_part(p)
            elements.setdefault(s, []).extend(held)
            assert all(bytes_of.start <= places[i] <= places[i] + size <= bytes_of.stop for i in held)
    assert len(taken) == message.nbytes == (counts * sizes).sum()  # no byte has two elements
    assert all(sorted(held) == list(range(counts[:, s].sum())) for s, held in elements.items())
    assert np.array_equal(message.rank_bytes.sum(axis=0), (counts * sizes).sum(axis=1))
