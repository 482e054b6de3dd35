"""Who owns a row.  A partition is an object passed to kernels; nobody computes an owner in place.

An owner is one shard: `ranks` ranks times `shards` shards (threads) a rank, owner = rank * shards + shard.  `split` is the value of
`train.split` that a partition stands for.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from deshpc.hashing.key import FIELD_SHIFT, FIELDS
from deshpc.hashing.key_range import LAST_KEY, key_range
from deshpc.jit import kernel


class KeyPartition(NamedTuple):
    """Split by key: owner = floor(h * owners / 2^32) with h the upper half of the hashed key.

    The lower half chooses the bucket inside the owner's table, so the two choices are independent.
    """

    split = "key"
    ranks: int
    shards: int

    @property
    def owners(self):
        return self.ranks * self.shards

    def key_range(self, rank):
        """(first, last) key of a rank: owners are in the order of their keys, and so are ranks."""
        return key_range(self.ranks, rank)


class TablePartition(NamedTuple):
    """Split by key, where fields have tables of their own: a rank has `threads` shards of each, table after table.

    Rank and thread of a key are those of KeyPartition(ranks, threads);  table_of_field (F) int64
    """

    split = "key"
    ranks: int
    shards: int
    threads: int
    table_of_field: np.ndarray

    @classmethod
    def of(cls, ranks, threads, table_of_field):
        """As many tables as `table_of_field` (F) names, from 0."""
        tables = np.array(table_of_field, np.int64)
        return cls(ranks, threads * int(tables.max() + 1), threads, tables)

    @property
    def owners(self):
        return self.ranks * self.shards

    def key_range(self, rank):
        """(first, last) key of a rank, whatever the table."""
        return key_range(self.ranks, rank)


class FieldPartition(NamedTuple):
    """Split by field: `owner_of_field` (F) int64 names the owner of every field's keys."""

    split = "field"
    ranks: int
    shards: int
    owner_of_field: np.ndarray

    @classmethod
    def of(cls, ranks, shards, n_fields, replicated=None, keys=None):
        """Fields dealt out evenly to ranks, and those of a rank to its shards: see `_dealt`.

        replicated (F) bool : fields that nobody owns; they are not counted, and named with those after them
        keys (F) float64 : expected keys a sample of each field; None: as many of each
        """
        divided = np.ones(n_fields, bool) if replicated is None else ~replicated
        keys = np.ones(n_fields) if keys is None else keys
        owner = shards * _dealt(keys[divided], ranks)
        for first in range(0, ranks * shards, shards):
            own = owner == first
            owner[own] += _dealt(keys[divided][own], shards)
        if not divided.all():
            owner = np.append(owner, owner[-1:] if len(owner) else 0)[np.cumsum(divided) - divided]
        return cls(ranks, shards, owner)

    @property
    def owners(self):
        return self.ranks * self.shards

    def fields_of(self, rank):
        """A rank's fields, int64, ascending."""
        return np.flatnonzero(self.owner_of_field // self.shards == rank)

    def key_range(self, rank):
        """(first, last) key of a rank: its fields' keys are anywhere."""
        return 0, LAST_KEY


def _dealt(keys, owners):
    """(F) int64: one of so many owners for each field, so that all have nearly as many fields, and fields of nearly as many keys.

    keys : (F) float64, of a sample
    Fields of about as many keys, up to 1.4 times, go to owners in stretches of neighbours, whose embeddings then lie side by side.
    Where they do not come out even, those owners get one more that have the fewest keys by then; fields of many keys are dealt first.
    """
    owner, load, sizes = np.zeros(len(keys), np.int64), np.zeros(owners), np.round(2 * np.log2(np.maximum(keys, 1)))
    for size in np.unique(sizes)[::-1]:
        alike = np.flatnonzero(sizes == size)
        counts = np.full(owners, len(alike) // owners)
        counts[np.argsort(load, kind="stable")[: len(alike) % owners]] += 1
        owner[alike] = np.repeat(np.arange(owners), counts)
        load += np.bincount(owner[alike], keys[alike], owners)
    return owner


class ColumnPartition(NamedTuple):
    """Split by column: every rank has its own columns of all rows, so each counts itself, `rank`, the owner of every key.

    Its shards share the keys.
    """

    split = "column"
    ranks: int
    shards: int
    rank: int

    @property
    def owners(self):
        return self.ranks * self.shards

    def key_range(self, rank):
        """(first, last) key of a rank: all."""
        return 0, LAST_KEY


@kernel(inline=True)
def key_field(key):
    """Number (int64) of the field whose key this is: of all samples' fields that share it, the one that has the row."""
    return np.int64((key >> np.uint64(FIELD_SHIFT)) & np.uint64(FIELDS - 1))


def owner_of(partition, key, field):
    """Owner (int64) of one key of one field; inside kernels only."""
    raise TypeError("owner_of works inside kernels; use owners(partition, keys, fields)")


@overload(owner_of, inline="always")
def _owner_of(partition, key, field):
    if partition.instance_class is KeyPartition:

        def by_key(partition, key, field):
            return np.int64(((key >> np.uint64(32)) * np.uint64(partition.ranks * partition.shards)) >> np.uint64(32))

        return by_key
    if partition.instance_class is TablePartition:

        def by_key_and_table(partition, key, field):
            places = np.uint64(partition.ranks * partition.threads)  # of one table, on all ranks
            place = np.int64(((key >> np.uint64(32)) * places) >> np.uint64(32))
            rank = place // partition.threads
            thread = place - rank * partition.threads
            return rank * partition.shards + partition.table_of_field[field] * partition.threads + thread

        return by_key_and_table
    if partition.instance_class is FieldPartition:

        def by_field(partition, key, field):
            return partition.owner_of_field[field]

        return by_field
    if partition.instance_class is ColumnPartition:

        def by_column(partition, key, field):
            shard = np.int64(((key >> np.uint64(32)) * np.uint64(partition.shards)) >> np.uint64(32))
            return partition.rank * partition.shards + shard

        return by_column


@kernel
def owners(partition, keys, fields):
    """Owner (n) int64 of every key."""
    result = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        result[i] = owner_of(partition, keys[i], fields[i])
    return result
