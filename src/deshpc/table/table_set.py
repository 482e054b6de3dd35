"""The tables of a model whose fields have embeddings of several dimensions: one Table of each.

Rows that are read out are whole rows of the largest dimension, with 0 in the columns that a row does not have, in key order
over all tables: what reads them need not know how many tables there are.
"""

import numpy as np

from deshpc.table.merging import merged
from deshpc.table.shard import BLOCK_ROWS, Rows
from deshpc.table.sights import Sights


class TableSet:
    """The interface of a `Table`: this rank's shards of all tables, table after table.

    Every Table has the same number of this rank's shards; fields : numbers of the fields of each
    """

    def __init__(self, tables, fields, dims):
        """dims : (F) the dimension of every field's embeddings"""
        first = tables[0]
        self._tables, self._fields, self._dims = tables, fields, dims
        self.partition, self.optimizer, self.by_field = first.partition, first.optimizer, first.by_field
        self.form, self.sums_type, self.whole_layout = first.form, first.sums_type, first.whole_layout
        self.layout, self.key_range, self.own_terms = first.whole_layout, first.key_range, first.own_terms
        self.of_shards = [table for table in tables for _ in table.of_shards]

    @property
    def parts(self):
        """[Table] of all dimensions."""
        return self._tables

    @property
    def whole_rows(self):
        """As of a `Table`, with {"dims"}: the dimension of every field's embeddings."""
        return {**self._tables[0].whole_rows, "dims": list(self._dims)}

    def __len__(self):
        """Rows at this rank."""
        return sum(map(len, self._tables))

    @property
    def first_rows(self):
        """Rows at this rank."""
        return len(self)

    @property
    def waiting_keys(self):
        """As of a `Table`."""
        return sum(table.waiting_keys for table in self._tables)

    @property
    def nbytes(self):
        """Bytes of rows and index at this rank."""
        return sum(table.nbytes for table in self._tables)

    def look_up(self, routed, insert):
        """[ShardRows of each shard], as `Table.look_up`.  Not collective."""
        return [rows for table in self._tables for rows in table.look_up(routed, insert)]

    def update(self, rows, step, clip=1.0, inverse_scale=1.0):
        """As `Table.update`, of the ShardRows of all tables.  Not collective."""
        for table, own in self._of_tables(rows):
            table.update(own, step, clip, inverse_scale)

    def square_norm(self, rows, inverse_scale):
        """As `Table.square_norm`, of the ShardRows of all tables.  Not collective."""
        found = [table.square_norm(own, inverse_scale) for table, own in self._of_tables(rows)]
        return lambda: sum(read() for read in found)

    def reserve(self, rows):
        """Set memory aside for so many rows of all ranks, as many for every field: how many a field has is not known.  Not collective."""
        for table, fields in zip(self._tables, self._fields, strict=True):
            table.reserve(rows * len(fields) / len(self._dims))

    def clear(self):
        """Forget all rows."""
        for table in self._tables:
            table.clear()

    def export(self):
        """All whole rows of this rank, in key order (`Rows`)."""
        return Rows.concatenate([table.widened(table.export()) for table in self._tables])

    def blocks(self, block_rows=BLOCK_ROWS, ordered=True):
        """Yield the whole rows of this rank in key order; a block of each table is held at a time: see `Shard.blocks`."""
        return merged([map(table.widened, table.blocks(block_rows)) for table in self._tables])

    def copied_blocks(self):
        """[Rows]: a copy of all rows of this rank, as `blocks`."""
        return list(merged([map(table.widened, table.copied_blocks()) for table in self._tables]))

    def widened(self, rows):
        """As of a Table: the rows are whole."""
        return rows

    def load(self, rows, given=None):
        """As `Table.load`, from whole rows (any keys, `Rows`).  Not collective."""
        return sum(table.load(rows, given) for table in self._tables)

    def waiting(self):
        """As of a `Table`."""
        return Sights.joined([table.waiting() for table in self._tables])

    def wait(self, sights):
        """As of a `Table`."""
        for table in self._tables:
            table.wait(sights)

    def asked(self, keys, fields):
        """As of a `Table`."""
        return self._tables[0].asked(keys, fields)

    def holds(self, keys, fields):
        """As of a `Table`."""
        return np.any([table.holds(keys, fields) for table in self._tables], axis=0)

    def _of_tables(self, shards):
        """(Table, the ShardRows of its shards) of every table."""
        for table, begin in zip(self._tables, np.arange(len(self._tables)) * len(self._tables[0].of_shards), strict=True):
            yield table, shards[begin : begin + len(table.of_shards)]
