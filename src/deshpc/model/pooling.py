"""Which embeddings a rank's operator pools, and where they lie in its states: by split, exchange and tables."""

from typing import NamedTuple

import numpy as np

from deshpc.backend.weight_form import WeightForm
from deshpc.ops.bi_interaction import BiInteraction
from deshpc.ops.field_sums import FieldSums
from deshpc.ops.pool import Pool
from deshpc.ops.pool_set import PoolSet
from deshpc.table.table_set import TableSet


class TableFields(NamedTuple):
    """Which fields have a table together: those whose embeddings have the same dimension.

    field_dims : (F) of every field
    dims : of every table, ascending
    of_field : (F) int64, table of every field
    """

    field_dims: tuple
    dims: list
    of_field: np.ndarray

    @classmethod
    def of(cls, field_dims):
        """The tables for these dimensions (F)."""
        dims, of_field = np.unique(np.array(field_dims, np.int64), return_inverse=True)
        return cls(field_dims, dims.tolist(), of_field)

    def columns(self):
        """(F) int64: where each field's E begins, side by side in their order."""
        return np.cumsum(self.field_dims) - self.field_dims


def pooling(of_model, backend, group, types, partition, split, share, travelling, dim, exchange, vectors, linear):
    """The operator that gives a tower, or the owners' part of one, its embeddings.

    travelling (F) bool : fields of its states
    vectors : of an embedding
    linear : whether rows have a linear weight
    """
    if of_model.operator == "bi_interaction":
        return BiInteraction(backend, types.form(backend, dim))
    own_dim = share.dim if share else dim
    columns = own_columns(travelling, own_dim, np.arange(len(travelling)))
    if of_model.operator == "sum":
        columns = np.zeros(max(1, len(travelling)), np.int64)  # the sum is there without any field, too
    scalar_column, of_rank = None, None
    if split == "column":
        linear, scalar_column = linear and group.rank == 0, linear or of_model.squares
    elif share and split == "field":
        columns = own_columns(travelling, dim, share.fields)
    elif exchange == "pooled":
        fields = [partition.fields_of(rank) for rank in range(group.size)]
        before = np.cumsum(travelling) - travelling
        columns = own_columns(travelling, dim, fields[group.rank])
        of_rank = [_stretches(before[own[travelling[own]]], dim) for own in fields]
    if of_model.operator == "field_sums":
        form = WeightForm.of(backend, dim, *types, pieces=True)
        return FieldSums(backend, form, vectors, types, columns, linear, scalar_column, of_rank)
    return Pool(backend, types.form(backend, own_dim), columns, linear, of_model.squares, scalar_column, of_rank)


def pooling_of_tables(of_model, backend, types, tables, open_table):
    """(TableSet, PoolSet) of fields whose embeddings have different dimensions.  open_table : a Table of an operator and dimension"""
    columns, pools = tables.columns(), {}
    for t, dim in enumerate(tables.dims):
        own = np.where(tables.of_field == t, columns, -1)
        pool = Pool(backend, types.form(backend, dim), own, of_model.linear, of_model.squares)
        shards = range(t * backend.threads, (t + 1) * backend.threads)
        pools[open_table(pool, tables.dims[-1], (0, dim), shards)] = pool
    fields = [np.flatnonzero(tables.of_field == t) for t in range(len(pools))]
    table = TableSet(list(pools), fields, tables.field_dims)
    return table, PoolSet(backend, pools, next(iter(pools.values())).embeddings_at + sum(tables.field_dims))


def own_columns(travelling, dim, fields):
    """(F) int64: where E_f begins if only these fields are there, as far as they travel, side by side; -1 for the others."""
    columns, own = np.full(len(travelling), -1, np.int64), fields[travelling[fields]]
    columns[own] = dim * np.arange(len(own))
    return columns


def _stretches(places, dim):
    """[(begin, end)] of the columns of embeddings at these places, ascending, in stretches of neighbours."""
    stretches = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []
    return [(int(one[0]) * dim, (int(one[-1]) + 1) * dim) for one in stretches]
