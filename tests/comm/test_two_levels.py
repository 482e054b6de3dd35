"""Exchanges that go through each node's memory first, and then between nodes, against NumPy, on nodes of any ranks.

Proves contents, the order of additions, equal bits on all ranks, exchanges that overlap, and bytes inside and between nodes by
counting the numbers that have to cross.
"""

from collections import Counter

import numpy as np
import pytest
from pretended_nodes import PLACES, two_level_group

from deshpc.comm.ledger import Traffic
from deshpc.comm.node_map import NodeMap
from deshpc.comm.shares import slice_of, slices

TRAFFIC = Traffic("fm", "partials", "forward")


@pytest.fixture(params=PLACES)
def group(request, world, monkeypatch):
    with two_level_group(world, monkeypatch, request.param) as made:
        yield made


def contribution(rank, shape, dtype):
    random = np.random.default_rng([rank, *shape])
    if np.dtype(dtype).kind == "i":
        return random.integers(-(2**60), 2**60, shape, dtype=dtype)
    return (random.standard_normal(shape) * np.exp(random.standard_normal(shape) * 3)).astype(dtype)


def node_by_node(group, shape, dtype):
    """The sum of all ranks' contributions: in rank order on each node, then in the order of nodes."""
    of_nodes = []
    for members in group.nodes.members:
        total = contribution(members[0], shape, dtype)
        for rank in members[1:]:
            total = total + contribution(rank, shape, dtype)
        of_nodes.append(total)
    total = of_nodes[0]
    for one in of_nodes[1:]:
        total = total + one
    return total


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sums_are_added_node_by_node(group, dtype):
    for samples in (0, 1, 3, 7, 64, 1009):
        for inner in ((), (5,), (2, 3)):
            shape = (samples, *inner)
            wanted, mine = node_by_node(group, shape, dtype), slice(*slice_of(samples, group.size, group.rank))
            share = group.reduce_samples(contribution(group.rank, shape, dtype), TRAFFIC).wait()
            assert share.dtype == dtype and np.array_equal(share, wanted[mine])
            whole = np.zeros_like(wanted)
            assert group.gather_samples(share, whole, TRAFFIC).wait() is whole and np.array_equal(whole, wanted)
            array = contribution(group.rank, shape, dtype)
            assert group.sum_samples(array, TRAFFIC).wait() is array and np.array_equal(array, wanted)


@pytest.mark.mpi
def test_exchanges_under_way_at_once(group):
    shapes = [(40, 3), (7, 2), (300, 1)]
    started = [group.sum_samples(contribution(group.rank, shape, "float32"), TRAFFIC) for shape in shapes]
    for handle, shape in zip(started, shapes, strict=True):
        assert np.array_equal(handle.wait(), node_by_node(group, shape, "float32"))


@pytest.mark.mpi
def test_messages_of_any_length_arrive(group):
    lengths = np.arange(group.size) + 3 * group.rank
    message = np.concatenate([np.full(n, 16 * group.rank + to, np.uint8) for to, n in enumerate(lengths)])
    coming = group.rank + 3 * np.arange(group.size)
    received = np.zeros(coming.sum(), np.uint8)
    group.exchange_bytes(message, lengths, received, coming, [(TRAFFIC, lengths)]).wait()
    assert np.array_equal(received, np.concatenate([np.full(n, 16 * r + group.rank, np.uint8) for r, n in enumerate(coming)]))
    near = group.nodes.is_near
    near_bytes = int(lengths[near].sum() - lengths[group.rank])
    assert (group.ledger.of(level="inside"), group.ledger.of(level="between")) == _or_flat(group, near_bytes, int(lengths[~near].sum()))


@pytest.mark.mpi
@pytest.mark.parametrize("samples", [1, 6, 11])
def test_every_number_of_a_sum_crosses_between_two_nodes_once(group, samples):
    """A node adds up what it has of the others' shares, and sends each such number once; inside it, each rank reads the others'."""
    homes, inside, between = slices(samples, group.size).tolist(), Counter(), Counter()
    for members in group.nodes.members:
        at_home = sum(homes[rank] for rank in members)
        inside["reduce"] += (len(members) - 1) * samples
        inside["gather"] += (len(members) - 1) * samples
        between["reduce"] += samples - at_home
        between["gather"] += samples - at_home
    width = 12  # three float32
    own = contribution(group.rank, (samples, 3), "float32")
    share = group.reduce_samples(own, TRAFFIC).wait()
    group.gather_samples(share, np.empty_like(own), Traffic("fm", "gradients", "backward")).wait()
    for name, kind in (("reduce", "partials"), ("gather", "gradients")):
        found = [sum(group.gather(group.ledger.of(kind=kind, level=level))) for level in ("inside", "between")]
        assert tuple(found) == _or_flat(group, inside[name] * width, between[name] * width)


def test_who_stands_for_whom():
    """The example of the module, and ranks that come in turns."""
    nodes = NodeMap(3, [0, 0, 2, 2, 2])
    assert [nodes.stands_for(rank) for rank in range(5)] == [[0, 2, 4], [1, 3], [0, 2], [1, 3], [4]]
    assert nodes.stand_ins_elsewhere() == [1] and nodes.neighbours == [2, 3, 4]
    turns = NodeMap(0, [7, 9, 7, 9])
    assert turns.members == [[0, 2], [1, 3]] and [turns.stand_in(1, rank) for rank in (0, 2)] == [1, 3]


def _or_flat(group, inside, between):
    """What a ledger has: nothing on these levels, where all ranks are on one node."""
    return (0, 0) if len(group.nodes.members) == 1 else (inside, between)
