"""Values that travel between nodes as numbers of a table, against the batch itself: bit by bit, among them NaNs, both zeros and subnormal
numbers; with the bytes that sets of values say, where messages have one value, few, as many as a table holds, and one more."""

import numpy as np
import pytest
from pretended_nodes import pretend
from synthetic_batches import N_FIELDS, keys_of, owner_of, plain_batch, share_of

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.exchange.sums import AllReduce
from deshpc.hashing.partition import KeyPartition
from deshpc.route.routing import Routed

pytestmark = pytest.mark.mpi

ODD = np.array([0x7FC00001, 0xFFC00000, 0x00000000, 0x80000000, 0x00000001, 0x7F800000], np.uint32)


def batch(distinct, width, ranks):
    """A batch of which the messages between any two ranks have all of so many values, as far as they have enough occurrences."""
    generator = np.random.default_rng(distinct + width)
    bits = np.concatenate([ODD, np.arange(0x3F800000, 0x3F800000 + distinct, dtype=np.uint32)])[:distinct]
    counts = np.tile([16 * distinct * ranks, 0, 700, 1], ranks)
    n = int(counts.sum())
    fields = generator.integers(0, N_FIELDS, n)
    places = np.arange(n) // ranks % distinct if width == 1 else np.stack([np.arange(n) // ranks % distinct, np.zeros(n, np.int64)], axis=1)
    keys = keys_of(fields, generator.integers(0, 300, n))
    return plain_batch(0, counts, keys, fields, bits[places].view(np.float32), np.zeros((len(counts), 0)), np.zeros(len(counts)))


def value_bytes(values):
    """Of a message, by its values (n) or (n, 2)."""
    whole, distinct = values.nbytes, len({value.tobytes() for value in values})
    table = 4 * values[:1].size * distinct + -(-len(values) * max(0, distinct - 1).bit_length() // 32) * 4
    return table if distinct <= 256 and table < whole else whole


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("distinct", [1, 3, 256, 257])
def test_values_come_bit_by_bit(world, monkeypatch, distinct, width):
    pretend(monkeypatch, "each alone")
    group, backend = Group(world), open_backend("cpu", 1)
    routing = Routed(backend, group, KeyPartition(group.size, 1), N_FIELDS, AllReduce)
    whole = batch(distinct, width, world.size)
    (owned,) = routing.route(share_of(whole, world.rank, world.size), "forward")().wait().shards
    owner = np.array([owner_of(key, world.size) for key in whole.keys])
    assert owned.values.tobytes() == whole.values[owner == world.rank].tobytes()
    assert owned.keys[owned.occurrences].tolist() == whole.keys[owner == world.rank].tolist()
    sent, tables, as_they_are = routing.counts.of("forward")["values", "flat"], 0, 0
    for other in set(range(world.size)) - {world.rank}:
        home = share_of(whole, world.rank, world.size)
        own = slice(home.begins[0], home.ends[-1])
        values = whole.values[own][owner[own] == other]
        tables, as_they_are = tables + value_bytes(values), as_they_are + values.nbytes
    assert sent == tables
    assert world.size == 1 or (tables == as_they_are) == (distinct == 257)
    backend.close()
    group.free()
