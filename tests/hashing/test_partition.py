"""Who owns a key: the documented formulas in Python integers, and how evenly random keys spread."""

import numpy as np
import pytest

from deshpc.hashing.partition import FieldPartition, KeyPartition, TablePartition, owners

EDGES = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32 - 1, 2**64 - 2**32, 2**64 - 1]


def random_keys(count, seed=1):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.parametrize(("ranks", "shards"), [(1, 1), (1, 3), (2, 1), (3, 2), (7, 1), (16, 16), (4099, 5)])
def test_split_by_key(ranks, shards):
    partition = KeyPartition(ranks, shards)
    assert partition.owners == ranks * shards
    keys = np.concatenate([np.array(EDGES, np.uint64), random_keys(5_003)])
    fields = np.arange(len(keys)).astype(np.uint16)
    found = owners(partition, keys, fields)
    assert found.dtype == np.int64
    assert found.tolist() == [(key >> 32) * ranks * shards >> 32 for key in keys.tolist()]
    assert found.min() >= 0 and found.max() == ranks * shards - 1  # 2^64 - 1 goes to the last owner


@pytest.mark.parametrize("owned_by", [2, 3, 64])
def test_random_keys_spread_evenly(owned_by):
    keys = random_keys(300_007, seed=owned_by)
    counts = np.bincount(owners(KeyPartition(owned_by, 1), keys, np.zeros(len(keys), np.uint16)), minlength=owned_by)
    expected = len(keys) / owned_by
    deviation = ((counts - expected) ** 2 / expected).sum()  # chi-square: mean n - 1, variance 2 (n - 1)
    assert deviation < owned_by - 1 + 4 * np.sqrt(2 * (owned_by - 1))


def test_the_owner_says_nothing_about_the_bucket():
    """Keys of one owner still spread over all values of their low bits."""
    keys = random_keys(300_007)
    mine = keys[owners(KeyPartition(5, 1), keys, np.zeros(len(keys), np.uint16)) == 3]
    counts = np.bincount((mine & np.uint64(63)).astype(np.int64), minlength=64)
    expected = len(mine) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 4 * np.sqrt(2 * 63)


def test_all_threads_and_ranks_divide_what_a_rank_held():
    """A rank's shards hold exactly the keys that the rank holds alone: owner = rank * shards + shard."""
    keys, fields = random_keys(10_007), np.zeros(10_007, np.uint16)
    by_rank = owners(KeyPartition(3, 1), keys, fields)
    assert np.array_equal(owners(KeyPartition(3, 4), keys, fields) // 4, by_rank)


def test_split_by_field():
    owner_of_field = np.array([2, 0, 5, 5, 1], np.int64)
    partition = FieldPartition(3, 2, owner_of_field)
    assert partition.owners == 6
    keys, fields = random_keys(1_009), np.random.default_rng(2).integers(0, 5, 1_009).astype(np.uint16)
    found = owners(partition, keys, fields)
    assert found.dtype == np.int64
    assert found.tolist() == [[2, 0, 5, 5, 1][field] for field in fields.tolist()]


@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (1, 3), (2, 1), (3, 2), (7, 4), (4099, 5)])
def test_split_by_key_with_tables(ranks, threads):
    """Rank and thread are those of a single table; a rank's shards lie table after table."""
    tables, rng = [2, 0, 1, 1, 0], np.random.default_rng(3)
    partition = TablePartition.of(ranks, threads, tables)
    assert partition.split == "key" and partition.shards == 3 * threads and partition.owners == 3 * ranks * threads
    keys = np.concatenate([np.array(EDGES, np.uint64), random_keys(5_003)])
    fields = rng.integers(0, 5, len(keys)).astype(np.uint16)
    found = owners(partition, keys, fields)
    expected = []
    for key, field in zip(keys.tolist(), fields.tolist(), strict=True):
        rank, thread = divmod((key >> 32) * ranks * threads >> 32, threads)
        expected.append((rank * 3 + tables[field]) * threads + thread)
    assert found.dtype == np.int64 and found.tolist() == expected
    ranges = [partition.key_range(rank) for rank in range(ranks)]
    assert ranges[0][0] == 0 and ranges[-1][1] == 2**64 - 1
    assert all(last + 1 == first for (_, last), (first, _) in zip(ranges, ranges[1:], strict=False))
    firsts = np.array([first for first, _ in ranges], np.uint64)
    assert np.array_equal(np.searchsorted(firsts, keys, "right") - 1, found // partition.shards)


@pytest.mark.parametrize(
    "partition", [KeyPartition(2, 1), FieldPartition(2, 1, np.zeros(3, np.int64)), TablePartition.of(2, 1, [0, 1])]
)
def test_no_keys(partition):
    assert len(owners(partition, np.zeros(0, np.uint64), np.zeros(0, np.uint16))) == 0


@pytest.mark.parametrize(("ranks", "shards"), [(1, 1), (2, 1), (2, 2), (3, 1), (5, 2)])
@pytest.mark.parametrize("replicated", ["000000", "100000", "000001", "010010", "011110", "111110", "111111"])
def test_replicated_fields_are_not_divided(replicated, ranks, shards):
    """Each owner has as many of the other fields as if there were no more; ranks are in the order of their fields."""
    replicated = np.array([one == "1" for one in replicated])
    partition = FieldPartition.of(ranks, shards, len(replicated), replicated)
    owner, divided = partition.owner_of_field, np.flatnonzero(~replicated)
    assert owner.dtype == np.int64 and len(owner) == len(replicated)
    assert (np.diff(owner) >= 0).all() and (owner >= 0).all() and (owner < ranks * shards).all()
    assert owner[divided].tolist() == FieldPartition.of(ranks, shards, len(divided)).owner_of_field.tolist()
    of_ranks = [partition.fields_of(rank).tolist() for rank in range(ranks)]
    assert sum(of_ranks, []) == list(range(len(replicated)))
