"""Rows of which every rank has a copy, beside those of which it has its shards.

Copies are equal to the bit: a new row is a function of seed and key, and every rank makes the same updates of it.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deshpc.backend.arguments import Occurrences
from deshpc.hashing.partition import KeyPartition
from deshpc.hashing.spread import spread
from deshpc.route.routed import RoutedBatch, WholeBatch
from deshpc.table.merging import merged
from deshpc.table.shard import BLOCK_ROWS, Rows
from deshpc.table.table import ShardRows, Table


class _Alone(NamedTuple):
    """A rank without others, as a Table sees its group."""

    rank: int = 0
    size: int = 1


class ReplicatedTable(Table):
    """All rows of some fields.  Its shards are the rank's threads': the same on all ranks.

    Its keys get rows at their first sight, and keep them: only a rank that has a sample with a key sees it at once.
    """

    def __init__(self, backend, *arguments, living=None):
        """arguments, living : of a Table, after the partition"""
        if living is not None:
            living = replace(living, admit_after=1, admit_probability=1.0)
        self._alone = KeyPartition(1, backend.threads)
        super().__init__(backend, _Alone(), self._alone, *arguments, living=living)
        self._listed = [backend.buffers() for _ in range(backend.threads)]

    def look_up(self, routed, insert):
        """[ShardRows of each shard] of `routed.replicated`, as `Table.look_up`."""
        batch = routed.replicated
        shards = [WholeBatch(batch, self._alone, s) for s in range(self._alone.shards)]
        return super().look_up(RoutedBatch(batch.step, len(batch), batch, batch.labels, batch.dense, shards), insert)

    def listed(self, s, keys, fields, step, weighted):
        """ShardRows, without offsets, of keys of shard s; unseen ones are inserted.  Valid until the next call.

        weighted : whether the occurrences that the sums are of have values
        """
        scratch = self._listed[s]
        found = self._shards[s].look_up(keys, fields, step, scratch)
        occurrences = Occurrences(None, found.local, None, found.addresses)
        return ShardRows(self, occurrences, self.zero_sums(scratch, found.distinct, weighted), scratch)


class PartlyRows(NamedTuple):
    """What a batch has found in a `PartlyReplicated`: [ShardRows] of the sharded fields, and of the replicated ones."""

    sharded: list
    replicated: list


class PartlyReplicated(Table):
    """A Table of the rows of sharded fields, beside which every rank has all rows of the others (`replicated`).

    Training knows the two apart.  Whoever counts, saves or loads a model's rows sees one table: rank 0 shows the replicated rows
    as its own, and every rank takes them when they are loaded.
    """

    def __init__(self, replicated, fields, backend, group, *arguments, living=None):
        """replicated : ReplicatedTable of the fields (F) bool;  the others are of a Table"""
        super().__init__(backend, group, *arguments, living=living)
        self.replicated, self._fields, self._shows = replicated, fields, group.rank == 0

    def look_up(self, routed, insert):
        """PartlyRows; otherwise as of a Table."""
        return PartlyRows(super().look_up(routed, insert), self.replicated.look_up(routed, insert))

    def update(self, rows, step, clip=1.0, inverse_scale=1.0):
        """As of a Table, of PartlyRows: every rank makes the same update of replicated rows."""
        super().update(rows.sharded, step, clip, inverse_scale)
        self.replicated.update(rows.replicated, step, clip, inverse_scale)

    def square_norm(self, rows, inverse_scale):
        """As of a Table, of PartlyRows: replicated rows count at the rank that shows them, not once a rank."""
        of_sharded = super().square_norm(rows.sharded, inverse_scale)
        if not self._shows:
            return of_sharded
        of_replicated = self.replicated.square_norm(rows.replicated, inverse_scale)
        return lambda: of_sharded() + of_replicated()

    @property
    def whole_rows(self):
        """As of a Table; its ranks' rows are merged, as those of a split by field, since rank 0 has keys from anywhere."""
        return {**super().whole_rows, "split": "field"}

    def __len__(self):
        return super().__len__() + (len(self.replicated) if self._shows else 0)

    @property
    def nbytes(self):
        """Bytes of rows and index at this rank, all it has."""
        return super().nbytes + self.replicated.nbytes

    def clear(self):
        """Forget all rows."""
        super().clear()
        self.replicated.clear()

    def export(self):
        """All rows that this rank shows, in key order (`Rows`)."""
        return Rows.concatenate([super().export(), self.replicated.export()]) if self._shows else super().export()

    def blocks(self, block_rows=BLOCK_ROWS, ordered=True):
        """As of a Table, of all rows that this rank shows."""
        return self._with_replicated(super().blocks(block_rows), self.replicated.blocks(block_rows))

    def copied_blocks(self):
        """As of a Table, of all rows that this rank shows."""
        return list(self._with_replicated(super().copied_blocks(), self.replicated.copied_blocks() if self._shows else ()))

    def _with_replicated(self, sharded, replicated):
        yield from merged([sharded, replicated]) if self._shows else sharded

    @property
    def key_range(self):
        """(first, last) key that this rank may have: any may be replicated."""
        return 0, 2**64 - 1

    def asked(self, keys, fields):
        """As of a Table; every rank knows of replicated rows."""
        return np.where(self._fields[fields], spread(keys, self._group.size), super().asked(keys, fields))

    def holds(self, keys, fields):
        """As of a Table."""
        return super().holds(keys, fields) | self.replicated.holds(keys, fields)

    def load(self, rows, given=None):
        """As of a Table; replicated rows are taken by every rank, and counted by rank 0."""
        replicated = self._fields[rows.fields]
        taken = self.replicated.load(rows.take(replicated), given)
        return super().load(rows.take(~replicated), given) + (taken if self._shows else 0)
