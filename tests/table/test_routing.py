"""What each shard is given of a batch, and what that costs in bytes.

For awkward batches both routings give every shard the occurrences that a brute-force selection by the partition's
formula gives, sample by sample in global order, and every rank all labels and dense features.  The ledger holds what
the wire format says, from Python sets: per destination 8 bytes a unique key, 4 an occurrence, 2 a sample, 4 a value,
filled up to 8, after a header of 4 (F + 1); and what the formulas of labels, dense features and partials say.
"""

import numpy as np
import pytest
from small_training import DIM, reads, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, keys_of, plain_batch, share_of

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.errors import DataError
from deshpc.hashing.partition import KeyPartition
from deshpc.table.routing import Broadcast, Routed
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

KINDS = {"weighted": (True, 2), "unweighted": (False, 0)}  # with or without values, number of dense features


def owner_of(key, owners):
    """Owner of a key: the upper half of its bits, scaled from 2^32 to the number of owners."""
    return (int(key) >> 32) * owners >> 32


def open_on(comm, kind, shards):
    """(group, backend, routing) on `comm`.  Collective."""
    group, backend = Group(comm), open_backend("cpu", shards)
    return group, backend, kind(backend, group, KeyPartition(group.size, shards), N_FIELDS)


def close(group, backend):
    backend.close()
    group.free()


@pytest.mark.parametrize("weighted, n_dense", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", [Broadcast, Routed])
def test_a_shard_gets_what_it_owns(world, kind, shards, weighted, n_dense):
    group, backend, routing = open_on(world, kind, shards)
    batches, owned_in_all = awkward_batches(31, weighted=weighted, n_dense=n_dense), 0
    for batch in batches:
        routed = routing.route(share_of(batch, group.rank, group.size, routing.reads_whole_batch), "forward")
        assert (routed.step, routed.samples) == (batch.step, len(batch))
        assert np.array_equal(routed.labels, batch.labels) and np.array_equal(routed.dense, batch.dense)
        assert len(routed.shards) == shards
        owner = np.array([owner_of(key, group.size * shards) for key in batch.keys], np.int64)
        sample = np.repeat(np.arange(len(batch)), batch.ends - batch.begins)
        for s, owned in enumerate(routed.shards):
            mine = owner == group.rank * shards + s
            place = slice(None) if owned.occurrences is None else owned.occurrences
            assert np.array_equal(owned.keys[place], batch.keys[mine])
            assert np.array_equal(owned.fields[place], batch.fields[mine])
            counts = np.bincount(sample[mine], minlength=len(batch))
            assert owned.offsets.tolist() == [0, *np.cumsum(counts)]
            if weighted:
                assert np.array_equal(owned.values, batch.values[mine])
            else:
                assert owned.values is None
            owned_in_all += int(mine.sum())
    assert sum(world.allgather(owned_in_all)) == sum(len(batch.keys) for batch in batches)
    close(group, backend)


def message_bytes(share, ranks, rank):
    """What a rank sends of its share to all others, by the wire format."""
    total = 0
    own = [key for i in range(len(share)) for key in share.keys[share.begins[i] : share.ends[i]]]
    for other in set(range(ranks)) - {rank}:
        keys = [int(key) for key in own if owner_of(key, ranks) == other]
        sent = 8 * len(set(keys)) + 4 * len(keys) + 2 * len(share) + (4 * len(keys) if share.values is not None else 0)
        total += -(-sent // 8) * 8 + 4 * (N_FIELDS + 1)
    return total


@pytest.mark.parametrize("weighted, n_dense", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_bytes_of_routed_keys_labels_and_dense_features(world, shards, weighted, n_dense):
    group, backend, routing = open_on(world, Routed, shards)
    keys = labels = 0
    for batch in awkward_batches(32, weighted=weighted, n_dense=n_dense):
        share = share_of(batch, group.rank, group.size)
        routing.route(share, "forward")
        keys += message_bytes(share, group.size, group.rank)
        labels += 4 * (group.size - 1) * len(share) * (1 + n_dense)
        assert group.ledger.of(operator="batch", kind="keys", direction="forward") == keys
        assert group.ledger.of(operator="batch", kind="labels", direction="forward") == labels
    assert group.ledger.of() == keys + labels  # and nothing else has travelled
    routing.route(share, "eval")
    assert group.ledger.of(direction="eval", kind="keys") == message_bytes(share, group.size, group.rank)
    close(group, backend)


@pytest.mark.parametrize("routing", ["routed", "broadcast"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name, operator, width", [("lr", "linear", 1), ("fm", "fm", DIM + 1)])
def test_bytes_of_a_step(world, name, operator, width, precision, routing):
    """Partials are all that a step sends beside keys and labels; their bytes do not depend on the keys."""
    size, rank, itemsize = world.size, world.rank, np.dtype(precision).itemsize
    partials = others = 0
    with small_model(world, small_config(name, precision=precision, routing=routing)) as model:
        ledger = model.group.ledger
        for batch in awkward_batches(33):
            samples, share = len(batch), reads(model, batch)
            step(model, share)
            # reduce-scatter: all but the own samples leave; all-gather: the own samples go to every other rank
            own = samples * (rank + 1) // size - samples * rank // size
            sent = (samples - own + (size - 1) * own) * width * itemsize
            if samples % size == 0:
                assert sent == 2 * (size - 1) * samples // size * width * itemsize
            partials += sent
            if size > 1 and routing == "routed":
                others += message_bytes(share, size, rank) + 4 * (size - 1) * len(share) * (1 + batch.dense.shape[1])
            assert ledger.of(operator=operator, kind="partials", direction="forward") == partials
            assert ledger.of() == partials + others  # nothing travels backward


def crowded(world, count):
    """A global batch of one sample a rank, each of `count` times the same key."""
    fields = np.full(world.size * count, 2)
    return plain_batch(
        0, np.full(world.size, count), keys_of(fields, np.ones(len(fields), np.int64)), fields, None,
        np.zeros((world.size, 0)), np.zeros(world.size),
    )  # fmt: skip


def test_a_sample_of_65_535_keys_at_one_owner_travels(world):
    group, backend, routing = open_on(world, Routed, 1)
    batch = crowded(world, 65_535)
    (owned,) = routing.route(share_of(batch, group.rank, group.size), "forward").shards
    mine = owner_of(batch.keys[0], group.size) == group.rank
    assert np.diff(owned.offsets).tolist() == [65_535 if mine else 0] * group.size
    close(group, backend)


def test_a_sample_of_more_keys_at_one_owner_is_an_error(world):
    group, backend, routing = open_on(world, Routed, 1)
    share = share_of(crowded(world, 65_536), group.rank, group.size)
    with pytest.raises(DataError, match=rf"sample {group.rank} has more than 65535 keys .*broadcast"):
        routing.route(share, "forward")
    world.Barrier()  # lets the gathers of labels and dense features that were under way come to their end
    close(group, backend)
