"""What each shard is given of a batch, and what that costs in bytes.

For awkward batches with both routings every shard finds the rows of the occurrences that a brute-force selection by the
partition's formula gives, sample by sample in global order, and every rank the labels and dense features of the samples that its
top works on; all that while the next batch is routed.  The ledger holds what the wire format says, from Python sets:
per destination 8 bytes a unique key, 4 an occurrence, 2 a sample, 4 each value, filled up to 8, after a header of
4 (F + 1); inside a node, 8 an occurrence, 4 a sample and shard, and 8; between nodes fewer for keys that have been sent before, and for occurrences; and what the formulas of every exchange say.
(Where rows travel, see `test_requests`.)
"""

import ctypes
import weakref

import numpy as np
import pytest
from mpi4py import MPI
from pretended_nodes import pretend
from small_training import DIM, EXCHANGES, ROUTINGS, reads, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, keys_of, owner_of, plain_batch, share_of

from deshpc.backend.open import open_backend
from deshpc.comm import boards
from deshpc.comm.group import Group
from deshpc.config.schema import OptimizerConfig
from deshpc.errors import DataError
from deshpc.exchange.sums import AllReduce, ReduceScatter
from deshpc.hashing.partition import KeyPartition
from deshpc.route.near import RoutedNear
from deshpc.route.routing import Broadcast, Routed
from deshpc.table.optimizer import open_optimizer
from deshpc.table.table import Table
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

FIELD_AT = 16 + 4 * (2 + 3) + 8  # behind v_1, v_2, an Adagrad sum of each weight, last step and count
KINDS = {"weighted": (1, 2), "unweighted": (0, 0), "two values": (2, 1)}  # values an occurrence, number of dense features


def open_on(comm, kind, shards, exchange=AllReduce):
    """(group, backend, routing) on `comm`.  Collective."""
    group, backend = Group(comm), open_backend("cpu", shards)
    fields = () if kind is RoutedNear else (N_FIELDS,)
    return group, backend, kind(backend, group, KeyPartition(group.size, shards), *fields, exchange)


def close(group, backend):
    backend.close()
    group.free()


def record(address):
    """(key, field) at the documented places of a record."""
    return ctypes.c_uint64.from_address(address).value, ctypes.c_uint32.from_address(address + FIELD_AT).value


def check_shards(routed, found, batch, group, shards, top):
    """Every shard of this rank has found the rows of its occurrences, and `top` is there; returns how many it has."""
    assert (routed.step, routed.samples, routed.requests) == (batch.step, len(batch), None)
    assert np.array_equal(routed.labels, top.labels) and np.array_equal(routed.dense, top.dense)
    assert len(found) == shards
    owner = np.array([owner_of(key, group.size * shards) for key in batch.keys], np.int64)
    sample = np.repeat(np.arange(len(batch)), batch.ends - batch.begins)
    for s, rows in enumerate(found):
        mine = owner == group.rank * shards + s
        held = [record(address) for address in rows.occurrences.addresses.tolist()]
        assert len(set(held)) == len(held)
        wanted = list(zip(batch.keys[mine].tolist(), batch.fields[mine].tolist(), strict=True))
        assert [held[place] for place in rows.occurrences.local] == wanted
        if rows.occurrences.in_order:
            assert held == list(dict.fromkeys(wanted))
        counts = np.bincount(sample[mine], minlength=len(batch))
        assert rows.occurrences.offsets.tolist() == [0, *np.cumsum(counts)]
        if batch.values is None:
            assert rows.occurrences.values is None
        else:
            assert np.array_equal(rows.occurrences.values, batch.values[mine])
    return int((owner // shards == group.rank).sum())


@pytest.mark.parametrize("weighted, n_dense", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("exchange", [AllReduce, ReduceScatter])
@pytest.mark.parametrize("kind", [Broadcast, Routed, RoutedNear])
def test_a_shard_gets_what_it_owns(world, monkeypatch, kind, exchange, shards, weighted, n_dense):
    """On one node; by a reduce-scatter on two, where there may be several."""
    if exchange is ReduceScatter and kind is not RoutedNear:
        pretend(monkeypatch, "in turns")
    group, backend, routing = open_on(world, kind, shards, exchange)
    table = Table(
        backend, group, KeyPartition(group.size, shards), 1, 2, "float32", "float32", open_optimizer(OptimizerConfig()), 5, 0.1
    )
    batches, owned_in_all, before = awkward_batches(31, weighted=weighted, n_dense=n_dense), 0, None
    for batch in batches:
        share = share_of(batch, group.rank, group.size)
        routed = routing.route(batch if routing.reads_whole_batch else share, "forward")().wait()
        assert np.array_equal(routed.home.samples, share.samples)
        found = table.look_up(routed, insert=True)
        now = (routed, found, batch, group, shards, batch if exchange.whole_top else share)
        owned_in_all += check_shards(*now)
        if before is not None:
            check_shards(*before)  # the batch before is still there
        before = now
    assert sum(world.allgather(owned_in_all)) == sum(len(batch.keys) for batch in batches)
    close(group, backend)


def message_bytes(share, ranks, rank, seen=None, learns=True):
    """What a rank sends of its share to all others, by the wire format.

    seen : {rank of another node: keys that it has been sent}, None on one node;  learns : whether it is to remember those of this share
    """
    total = 0
    own = [key for i in range(len(share)) for key in share.keys[share.begins[i] : share.ends[i]]]
    for other in set(range(ranks)) - {rank}:
        keys = [int(key) for key in own if owner_of(key, ranks) == other]
        unique, values = set(keys), 0 if share.values is None else share.values.ndim
        bits = 32 if seen is None else max(0, len(unique) - 1).bit_length()  # of each: as many as the largest has
        numbers = -(-len(keys) * bits // 32)  # of uint32
        before = (seen or {}).get(other, set())
        sent = 8 * len(unique - before) + gap_bytes(len(unique & before), len(before))
        sent += 4 * numbers + 4 * values * len(keys) + 2 * len(share)  # too many distinct values for a table
        total += -(-sent // 8) * 8 + 4 * (N_FIELDS + 1 + (seen is not None) * (1 + (values > 0)))
        if learns:
            before |= unique
    return total


def list_bytes(share, ranks, rank, shards=1):
    """What a rank writes of its share for all others of its node, who have so many shards each."""
    owners = [owner_of(key, ranks) for i in range(len(share)) for key in share.keys[share.begins[i] : share.ends[i]]]
    values = 0 if share.values is None else share.values.ndim
    return (8 + 4 * values) * sum(owner != rank for owner in owners) + (ranks - 1) * (4 * shards * len(share) + 8)


def gap_bytes(known, held):
    """Of `known` numbers below `held`: the fewest, by any number of low bits."""
    return 0 if known == 0 else -(-min(known * (low + 1) + (held - known >> low) for low in range(32)) // 64) * 8


@pytest.mark.parametrize("weighted, n_dense", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_bytes_of_lists(world, shards, weighted, n_dense):
    """For each other rank 8 bytes an occurrence of its, 4 each value, 4 a sample and shard, and 8; labels and dense features as ever."""
    group, backend, routing = open_on(world, RoutedNear, shards)
    keys = labels = 0
    for batch in awkward_batches(33, weighted=weighted, n_dense=n_dense):
        share = share_of(batch, group.rank, group.size)
        routing.route(share, "forward")().wait()
        keys += list_bytes(share, group.size, group.rank, shards)
        labels += 4 * (group.size - 1) * len(share) * (1 + n_dense)
        assert group.ledger.of(operator="batch", kind="keys", direction="forward") == keys
        assert group.ledger.of() == keys + labels
    close(group, backend)


def test_memory_of_lists_that_were_too_short_is_given_back(monkeypatch):
    """Of a rank that is alone: samples of ever more keys, in batches of many sizes; no more is held than a board a turn."""
    group, backend, routing = open_on(MPI.COMM_SELF, RoutedNear, 2)
    aligned, taken = boards.aligned, []

    def noted(*size):
        array = aligned(*size)
        taken.append(weakref.ref(array.base))
        return array

    monkeypatch.setattr(boards, "aligned", noted)
    for number in range(20):
        samples, each = 3 + number % 11, 16 << number // 2
        keys, none = np.arange(1, samples * each + 1), np.zeros((samples, 0))
        routing.route(plain_batch(number, np.full(samples, each), keys, keys % N_FIELDS, None, none, none.sum(axis=1)), "forward")().wait()
    assert len(taken) > 20
    assert sum(memory() is not None for memory in taken) <= 2 * 3  # slots and what is shared out, of each of three batches
    close(group, backend)


@pytest.mark.parametrize("weighted, n_dense", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("exchange", [AllReduce, ReduceScatter])
def test_bytes_of_routed_keys_labels_and_dense_features(world, monkeypatch, exchange, shards, weighted, n_dense):
    """On one node; those of a reduce-scatter on two."""
    if exchange is ReduceScatter:
        pretend(monkeypatch, "blocks")
    group, backend, routing = open_on(world, Routed, shards, exchange)
    keys = labels = 0
    seen = {other: set() for other in np.flatnonzero(~group.nodes.is_near)} if len(group.nodes.members) > 1 else None
    for batch in awkward_batches(32, weighted=weighted, n_dense=n_dense):
        share = share_of(batch, group.rank, group.size)
        routing.route(share, "forward")().wait()
        keys += message_bytes(share, group.size, group.rank, seen)
        labels += exchange.whole_top * 4 * (group.size - 1) * len(share) * (1 + n_dense)
        assert group.ledger.of(operator="batch", kind="keys", direction="forward") == keys
        assert group.ledger.of(operator="batch", kind="labels", direction="forward") == labels
    assert group.ledger.of() == keys + labels  # and nothing else has travelled
    share = share_of(awkward_batches(34, 1, weighted, n_dense)[0], group.rank, group.size)
    routing.route(share, "eval")().wait()
    assert group.ledger.of(direction="eval", kind="keys") == message_bytes(share, group.size, group.rank, seen, learns=False)
    keys += message_bytes(share, group.size, group.rank, seen)
    routing.route(share, "forward")().wait()  # evaluation has taught nobody anything
    assert group.ledger.of(direction="forward", kind="keys") == keys
    close(group, backend)


def shares_sent(count, ranks, rank):
    """Things of `count` that a rank sends: in a reduce-scatter all but its own share, in an all-gather its share to all others."""
    own = count * (rank + 1) // ranks - count * rank // ranks
    return count - own, (ranks - 1) * own


def keys_away(batch, ranks, rank):
    """Distinct (home, key) of a global batch: keys that this rank's share has of other owners, and keys of this rank
    that other shares have."""
    asked = asking = 0
    for home in range(ranks):
        share = share_of(batch, home, ranks)
        own = [share.keys[share.begins[i] : share.ends[i]] for i in range(len(share))]
        owners = [owner_of(key, ranks) for key in {int(key) for part in own for key in part}]
        if home == rank:
            asking += sum(owner != rank for owner in owners)
        else:
            asked += owners.count(rank)
    return asking, asked


def expected_bytes(batch, ranks, rank, exchange, routing, operator, width, dense_numbers, itemsize):
    """{(operator, kind, direction): bytes} that a rank sends in a step of one thread a rank."""
    others, share, state = ranks - 1, share_of(batch, rank, ranks), width * itemsize
    reduced, gathered = shares_sent(len(batch), ranks, rank)
    expected = {}
    if routing == "routed" and exchange != "rows":
        expected["batch", "keys", "forward"] = list_bytes(share, ranks, rank)
    if exchange == "allreduce":
        if routing == "routed":
            expected["batch", "labels", "forward"] = 4 * others * len(share) * (1 + batch.dense.shape[1])
        return expected | {(operator, "partials", "forward"): (reduced + gathered) * state}
    expected["batch", "control", "forward"] = 32 * others  # three terms of the loss, and whether a report is due
    expected["dense", "dense", "backward"] = sum(shares_sent(dense_numbers, ranks, rank)) * itemsize
    if exchange == "reduce_scatter":
        expected[operator, "partials", "forward"] = reduced * state
        expected[operator, "gradients", "backward"] = gathered * state
        return expected
    asking, asked = keys_away(batch, ranks, rank)
    if routing == "routed":
        expected["batch", "keys", "forward"] = 8 * asking + 4 * N_FIELDS * others
    expected[operator, "rows", "forward"] = asked * state
    expected[operator, "gradients", "backward"] = asking * state
    return expected


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name, operator, width", [("lr", "linear", 1), ("fm", "fm", DIM + 1)])
def test_bytes_of_a_step(world, name, operator, width, precision, exchange, routing):
    """Here a row has as many weights as a state has numbers: 1, or 1 + k."""
    size, rank, itemsize, total = world.size, world.rank, np.dtype(precision).itemsize, {}
    with small_model(world, small_config(name, precision=precision, exchange=exchange, routing=routing)) as model:
        for batch in awkward_batches(33):
            step(model, reads(model, batch))
            if size > 1:
                dense_numbers = 1 + batch.dense.shape[1] * width
                for entry, sent in expected_bytes(
                    batch, size, rank, exchange, routing, operator, width, dense_numbers, itemsize
                ).items():
                    total[entry] = total.get(entry, 0) + sent
            entries = model.group.ledger.entries()
            ledger = {(one["operator"], one["kind"], one["direction"]): one["sent_bytes"] for one in entries}
            assert {entry: sent for entry, sent in ledger.items() if sent} == {e: sent for e, sent in total.items() if sent}


def crowded(counts):
    """A global batch of samples of so many times the same key."""
    fields = np.full(sum(counts), 2)
    return plain_batch(
        0, counts, keys_of(fields, np.ones(len(fields), np.int64)), fields, None, np.zeros((len(counts), 0)), np.zeros(len(counts))
    )


def test_a_sample_of_65_535_keys_at_one_owner_travels(world):
    group, backend, routing = open_on(world, Routed, 1)
    batch = crowded([65_535] * group.size)
    (owned,) = routing.route(share_of(batch, group.rank, group.size), "forward")().wait().shards
    mine = owner_of(batch.keys[0], group.size) == group.rank
    assert np.diff(owned.offsets).tolist() == [65_535 if mine else 0] * group.size
    close(group, backend)


def test_a_sample_of_more_keys_at_one_owner_is_an_error_on_every_rank(world):
    group, backend, routing = open_on(world, Routed, 1)
    last = group.size - 1
    share = share_of(crowded([1] * last + [65_536]), group.rank, group.size)
    with pytest.raises(DataError, match=rf"sample {last} has more than 65535 keys .*broadcast") as caught:
        routing.route(share, "forward")().wait()
    assert str(caught.value).endswith(f"(rank {last})") == (last > 0)
    world.Barrier()  # lets the gathers of labels and dense features that were under way come to their end
    close(group, backend)
