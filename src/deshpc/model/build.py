"""From a configuration to a model."""

from typing import NamedTuple

import numpy as np

from deshpc.config.field_dims import field_dims, has_field_dims
from deshpc.hashing.partition import ColumnPartition, FieldPartition, KeyPartition, TablePartition
from deshpc.model.combinations import exchange_kind, exchange_name, is_deep, is_pushed_down, require_valid
from deshpc.model.definitions import Setting, definition_class
from deshpc.model.dense_sums import DenseSums
from deshpc.model.model import Model
from deshpc.model.owner_tower import OwnerTower
from deshpc.model.share import Share
from deshpc.model.sum_top import SumTop
from deshpc.model.tower import Tower, most_slots
from deshpc.nn.first_values import FirstValues
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.ops.bi_interaction import BiInteraction
from deshpc.ops.by_samples import BySamples
from deshpc.ops.fm import FM
from deshpc.ops.linear import Linear
from deshpc.ops.operator_set import OperatorSet
from deshpc.ops.pool import Pool
from deshpc.ops.pool_set import PoolSet
from deshpc.ops.replicated import Replicated, state_places
from deshpc.table.optimizer import open_optimizer
from deshpc.table.replicated import PartlyReplicated, ReplicatedTable
from deshpc.table.routing import open_routing
from deshpc.table.table import Table
from deshpc.table.table_set import TableSet


def build_model(config, backend, group, n_fields, n_dense, total_steps=None, several_nodes=False, field_names=()):
    """The model of `config` for data of n_fields categorical fields and n_dense dense features.

    total_steps : of the run, for a learning rate that falls until its end;  several_nodes : whether the ranks are on such
    field_names : (F), by which `model.fields` calls the categorical fields
    Every rank gets the same dense parameters; no row exists yet.  All ranks must have the same number of threads.
    """
    train = config.train
    require_valid(config, backend)
    dims = field_dims(config.model.dim, {one.name: one.dim for one in config.model.fields}, field_names)
    tables = TableFields.of(dims) if has_field_dims(config.model) else None
    replicated = replicated_fields(config.model, field_names)
    partition = open_partition(train.split, group, backend.threads, n_fields, tables, replicated)
    optimizer = open_optimizer(config.optimizer, total_steps)
    if is_deep(config):
        parts = _deep_model(config, backend, group, partition, optimizer, n_fields, n_dense, tables, replicated)
    else:
        parts = _sum_model(config, backend, group, partition, optimizer, n_dense)
    exchange = exchange_kind(config, group.size)(backend, group, parts.operators)
    routing = open_routing(train.routing, backend, group, partition, n_fields, exchange)
    overlaps = several_nodes if train.overlap == "auto" else train.overlap == "on"
    return Model(
        config.model.name, backend, group, routing, exchange, parts.operators.table, parts.operators, parts.parameters, parts.top, parts.dense_sums,
        overlaps, parts.replicated,
    )  # fmt: skip


class Parts(NamedTuple):
    """operators : what an exchange moves the partials of;  top : `SumTop` or `Tower`;  replicated : `Replicated`, if there is one"""

    operators: object
    parameters: Parameters
    top: object
    dense_sums: DenseSums
    replicated: Replicated | None = None


class TableFields(NamedTuple):
    """Which fields have a table together: those whose embeddings have the same dimension.

    field_dims : (F) of every field;  dims : of every table, ascending;  of_field : (F) int64, table of every field
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


def replicated_fields(model, names):
    """(F) bool, whether every rank has all rows of a field, by a ModelConfig; None where that is true of none.

    names : (F), of the fields
    """
    chosen = {one.name for one in model.fields if one.replicated}
    return np.array([name in chosen for name in names]) if chosen else None


class Types(NamedTuple):
    """precision : of rows;  compute : of arithmetic;  sums : in which partials and gradients of rows are added up"""

    precision: str
    compute: str
    sums: str

    @classmethod
    def of(cls, train):
        """The types of a TrainConfig."""
        sums = train.accumulate or train.precision
        return cls(train.precision, "float64" if sums == "int64" else sums, sums)


def open_partition(split, group, threads, n_fields, tables=None, replicated=None):
    """The partition of a split of `train.split`.

    tables : TableFields, where there are several;  replicated (F) bool : fields that nobody owns, where there are some
    """
    if tables:
        return TablePartition.of(group.size, threads, tables.of_field)
    if split == "field":
        return FieldPartition.of(group.size, threads, n_fields, replicated)
    if split == "column":
        return ColumnPartition(group.size, threads, group.rank)
    return KeyPartition(group.size, threads)


def _sum_model(config, backend, group, partition, optimizer, n_dense):
    """The Parts of a linear model or an FM."""
    model, train, types = config.model, config.train, Types.of(config.train)
    if model.name == "lr":
        operator = Linear(backend, n_dense, types.compute)
    else:
        operator = FM(backend, n_dense, types.compute, backend.lanes(model.dim, *types), model.dim, train.seed, model.init_std)
    table = Table(
        backend, group, partition, operator.scalars, operator.dim, train.precision, types.compute, optimizer,
        train.seed, model.init_std, types.sums,
    )  # fmt: skip
    parameters = Parameters(backend, {"bias": (), **operator.parameters}, types.compute, optimizer, types.sums)
    operator.begin(parameters)
    parameters.begin_state()
    operators = OperatorSet(backend, table, [operator])
    whole_top = exchange_kind(config, group.size).whole_top
    return Parts(
        operators, parameters, SumTop(backend, operators, parameters), DenseSums(group, parameters, whole_top)
    )


def _deep_model(config, backend, group, partition, optimizer, n_fields, n_dense, tables, replicated):
    """The Parts of a model with a tower.  tables, replicated : see `open_partition`"""
    model, train, types = config.model, config.train, Types.of(config.train)
    pushed_down, split = is_pushed_down(config), train.split
    of_model, values = definition_class(model.name), FirstValues(train.seed)
    share = Share.of(split, partition, group.rank, n_fields, model.dim) if pushed_down else None
    setting = Setting(
        backend, values, model, train.seed, types.compute, n_fields, n_dense, model.dim, share, tables and tables.field_dims
    )
    definition = of_model(setting)

    def open_table(operator, dim, columns=None, shards=None):
        arguments = (
            int(of_model.linear), dim, train.precision, types.compute, optimizer, train.seed, model.init_std, types.sums,
            operator.own_terms, operator.by_field, columns, shards,
        )  # fmt: skip
        if replicated is None:
            return Table(backend, group, partition, *arguments)
        return PartlyReplicated(ReplicatedTable(backend, *arguments), replicated, backend, group, partition, *arguments)

    # where partials travel, those of replicated fields have no columns
    travelling = np.ones(n_fields, bool) if replicated is None or exchange_name(config) == "rows" else ~replicated

    if tables:
        table, operator = _pooling_of_tables(of_model, backend, types, tables, open_table)
    else:
        operator = _pooling(of_model, backend, group, types, partition, split, share, travelling, model.dim, exchange_name(config))
        table = open_table(operator, model.dim, share.columns if split == "column" else None)
    by_block, whole_top = types.sums == "int64", exchange_kind(config, group.size).whole_top
    slots = SlotSums(backend, values.shapes, types.compute, most_slots(backend.threads, by_block, train.global_batch_samples))
    owner_slots, local = None, 0
    if pushed_down and definition.owner_parameters:
        shapes = {name: values.shapes[name] for name in definition.owner_parameters}
        owner_slots = SlotSums(backend, shapes, types.compute, backend.threads)
        if definition.local_rows and split != "key" and group.size > 1:
            name, rows = definition.local_rows
            local = rows * values.shapes[name][1]
    parameters = Parameters(
        backend, values.shapes, types.compute, optimizer, slots=slots, statistics=values.statistics, owner_slots=owner_slots
    )
    values.set(parameters)
    parameters.begin_state()
    dense_sums = DenseSums(
        group, parameters, whole_top, definition.owner_parameters if pushed_down else (), local, share.inputs if share else slice(0)
    )
    if pushed_down:
        operators = OwnerTower(backend, group, table, operator, definition, parameters, owner_slots, types.compute, n_dense)
        width, first = operators.width, 0
    else:
        width, first = operator.first + setting.pooled, operator.first
        if of_model.operator == "bi_interaction":
            width = operator.width
        room = n_dense if travelling.all() else 0  # whole states are made afterwards
        repeats = bool(definition.first_layers) and not by_block and replicated is None
        operators = BySamples(backend, table, operator, room, repeats)
    tower = Tower(
        backend, group, whole_top, definition, operators, parameters, slots, types.compute, width, first, n_dense, by_block
    )
    if replicated is None:
        return Parts(operators, parameters, tower, dense_sums)
    columns = model.dim * np.arange(n_fields, dtype=np.int64)
    pool = Pool(backend, types.compute, table.lanes, model.dim, columns, of_model.linear, of_model.squares)
    places = None if travelling.all() else state_places(replicated, first, model.dim)
    beside = Replicated(backend, group, table.replicated, pool, replicated, places, n_dense)
    return Parts(operators, parameters, tower, dense_sums, beside)


def _pooling(of_model, backend, group, types, partition, split, share, travelling, dim, exchange):
    """The operator that gives a tower, or the owners' part of one, its embeddings.  travelling (F) bool : fields of its states."""
    if of_model.operator == "bi_interaction":
        return BiInteraction(backend, types.compute, backend.lanes(dim, *types), dim)
    own_dim = share.dim if share else dim
    lanes, columns = backend.lanes(own_dim, *types), _own_columns(travelling, own_dim, 0, len(travelling))
    if of_model.operator == "sum":
        columns[:] = 0
    linear, first, of_rank = of_model.linear, None, None
    if split == "column":
        linear, first = linear and group.rank == 0, of_model.linear or of_model.squares
    elif share and split == "field":
        columns = _own_columns(travelling, dim, *share.fields)
    elif exchange == "pooled":
        fields = [partition.fields_of(rank) for rank in range(group.size)]
        columns, before = _own_columns(travelling, dim, *fields[group.rank]), np.append(0, np.cumsum(travelling)).tolist()
        of_rank = [(before[begin] * dim, before[end] * dim) for begin, end in fields]
    return Pool(backend, types.compute, lanes, own_dim, columns, linear, of_model.squares, first, of_rank)


def _pooling_of_tables(of_model, backend, types, tables, open_table):
    """(TableSet, PoolSet) of fields whose embeddings have different dimensions.  open_table : a Table of an operator and dimension"""
    columns, pools = tables.columns(), {}
    for t, dim in enumerate(tables.dims):
        own = np.where(tables.of_field == t, columns, -1)
        pool = Pool(backend, types.compute, backend.lanes(dim, *types), dim, own, of_model.linear, of_model.squares)
        shards = range(t * backend.threads, (t + 1) * backend.threads)
        pools[open_table(pool, tables.dims[-1], (0, dim), shards)] = pool
    fields = [np.flatnonzero(tables.of_field == t) for t in range(len(pools))]
    table = TableSet(list(pools), fields, tables.field_dims)
    return table, PoolSet(backend, pools, next(iter(pools.values())).first + sum(tables.field_dims))


def _own_columns(travelling, dim, first, end):
    """(F) int64: where E_f begins if only the fields first .. end that travel are there, side by side; -1 for the others."""
    columns, own = np.full(len(travelling), -1, np.int64), first + np.flatnonzero(travelling[first:end])
    columns[own] = dim * np.arange(len(own))
    return columns
