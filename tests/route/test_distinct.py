"""The distinct keys of a share beside a dict: order of first appearance, occurrences, values; buckets that overflow and double."""

import numpy as np
import pytest

from deshpc.backend.cpu import routing
from deshpc.backend.cpu.buffers import Buffers
from deshpc.data.batch import Batch
from deshpc.hashing.partition import KeyPartition
from deshpc.route.distinct import Deduplication


def batch_of(keys, counts, fields, values=None):
    ends = np.cumsum(counts)
    n = len(counts)
    return Batch(
        0, n, np.arange(n), ends - counts, ends, keys, fields, values, np.zeros((n, 0), np.float32), np.zeros(n, np.float32)
    )


def owner_of(key, owners):
    return (int(key) >> 32) * owners >> 32


@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize("ranks, shards, modulus, residue", [(1, 1, 1, 0), (3, 1, 1, 0), (2, 3, 3, 1), (2, 3, 6, 4)])
@pytest.mark.parametrize("crowded", [False, True])
def test_distinct_keys_in_order_of_first_appearance(crowded, ranks, shards, modulus, residue, width):
    rng, found = np.random.default_rng(width), Deduplication(routing, KeyPartition(ranks, shards), ranks, 7)
    buffers = Buffers()
    for distinct in (1, 5, 150, 160, 3000, 40):  # of which the larger ones need more buckets than there are
        pool = rng.integers(1, 2**64 - 1, distinct, np.uint64, endpoint=True)
        if crowded:  # all begin at the last bucket, so that they fill it and go on at the first
            pool |= np.uint64(0xFFFF)
        pool = pool & ~np.uint64(0xFFFF << 32) | pool % np.uint64(7) << np.uint64(32)
        keys = pool[rng.integers(0, distinct, 4 * distinct)]
        fields = (keys % np.uint64(7)).astype(np.uint16)  # in which the occurrences stand: a key says itself whose it is
        counts = rng.multinomial(len(keys), np.full(distinct, 1 / distinct))
        values = rng.random((len(keys), width)[: max(1, width)] if width == 2 else len(keys)).astype(np.float32) if width else None
        unique, header = found(batch_of(keys, counts, fields, values), buffers, modulus, residue, with_values=True, whole=distinct != 5)
        mine = [owner_of(key, ranks * shards) % modulus == residue for key in keys.tolist()]
        numbers = {}
        expected = [numbers.setdefault(key, len(numbers)) for key, own in zip(keys.tolist(), mine, strict=True) if own]
        ranks_of = [owner_of(key, ranks * shards) // shards for key in numbers]
        assert unique.keys.tolist() == list(numbers)
        assert unique.fields.tolist() == [key >> 32 & 0xFFFF for key in numbers]
        assert unique.ranks.tolist() == ranks_of
        assert unique.occurrences.tolist() == expected
        counted, times = np.zeros((ranks, 8), int), np.bincount(expected) * (distinct != 5)
        for key, rank in zip(numbers, ranks_of, strict=True):
            counted[rank, key >> 32 & 0xFFFF] += 1
            counted[rank, 7] += times[numbers[key]]
        assert header.tolist() == counted.tolist()
        sample = np.repeat(np.arange(distinct), counts)[mine]
        assert unique.offsets.tolist() == [0, *np.cumsum(np.bincount(sample, minlength=distinct)).tolist()]
        assert (unique.values is None) == (width == 0)
        assert width == 0 or np.array_equal(unique.values, values[mine])
