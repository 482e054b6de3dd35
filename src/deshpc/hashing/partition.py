"""Who owns a row.  A partition is an object passed to kernels; nobody computes an owner in place.

An owner is one shard: `ranks` ranks times `shards` shards (threads) a rank, owner = rank * shards + shard.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from deshpc.jit import kernel


class KeyPartition(NamedTuple):
    """Split by key: owner = floor(h * owners / 2^32) with h the upper half of the hashed key.

    The lower half chooses the bucket inside the owner's table, so the two choices are independent.
    """

    ranks: int
    shards: int

    @property
    def owners(self):
        return self.ranks * self.shards

    def key_range(self, rank):
        """(first, last) key of a rank: owners are in the order of their keys, and so are ranks."""
        first, after = (-(-(r * self.shards << 32) // self.owners) << 32 for r in (rank, rank + 1))
        return first, after - 1


class FieldPartition(NamedTuple):
    """Split by field: `owner_of_field` (F) int64 names the owner of every field's keys."""

    ranks: int
    shards: int
    owner_of_field: np.ndarray

    @property
    def owners(self):
        return self.ranks * self.shards


def owner_of(partition, key, field):
    """Owner (int64) of one key of one field; inside kernels only."""
    raise TypeError("owner_of works inside kernels; use owners(partition, keys, fields)")


@overload(owner_of, inline="always")
def _owner_of(partition, key, field):
    if partition.instance_class is KeyPartition:

        def by_key(partition, key, field):
            return np.int64(((key >> np.uint64(32)) * np.uint64(partition.ranks * partition.shards)) >> np.uint64(32))

        return by_key
    if partition.instance_class is FieldPartition:

        def by_field(partition, key, field):
            return partition.owner_of_field[field]

        return by_field


@kernel
def owners(partition, keys, fields):
    """Owner (n) int64 of every key."""
    result = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        result[i] = owner_of(partition, keys[i], fields[i])
    return result
