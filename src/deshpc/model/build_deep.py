"""From a configuration to a model with a tower."""

import numpy as np

from deshpc.exchange.with_replicated import WithReplicated, state_places
from deshpc.model.build_parts import Parts, Types, open_accumulation, vectors_of_row
from deshpc.model.combinations import exchange_name, is_pushed_down
from deshpc.model.definitions import Sequence, Setting, definition_class
from deshpc.model.pooling import pooling, pooling_of_tables
from deshpc.model.share import Share
from deshpc.nn.blocks import fixed_edges
from deshpc.nn.first_values import FirstValues
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.ops.by_samples import BySamples
from deshpc.ops.owner_tower import OwnerTower
from deshpc.ops.pool import Pool
from deshpc.table.replicated import PartlyReplicated, ReplicatedTable
from deshpc.table.table import Table
from deshpc.top.dense_sums import DenseSums
from deshpc.top.tower import Tower


def deep_model(config, backend, group, kind, partition, optimizer, objective, n_fields, n_dense, tables, replicated, seats=None, sequences=()):
    """The Parts of a model with a tower.

    kind : class of its exchange
    objective : `nn.loss.Objective`
    tables, replicated : see `open_partition`
    seats, sequences : Seats, None where every key's embedding goes to its field;  Attended
    """
    n_seats = n_fields if seats is None else seats.total
    model, train, types = config.model, config.train, Types.of(config.train)
    pushed_down, split = is_pushed_down(config), train.split
    of_model, values = definition_class(model.name), FirstValues(train.seed)
    vectors = vectors_of_row(model, n_fields, n_dense) if of_model.operator == "field_sums" else 1
    dim, linear = vectors * model.dim, of_model.linear and (model.linear or vectors == 1)
    share = Share.of(split, partition, group.rank, n_fields, dim) if pushed_down else None
    setting = Setting(
        backend, values, model, train.seed, types.compute, n_seats, n_dense, dim, share, tables and tables.field_dims,
        max(1, len(objective.tasks)), tuple(Sequence(int(seats.first[one.field]), one.length, int(seats.first[one.target])) for one in sequences),
    )
    definition = of_model(setting)

    def open_table(operator, dim, columns=None, shards=None):
        arguments = (
            int(linear), dim, train.precision, types.compute, optimizer, train.seed, model.init_std, types.sums,
            operator.own_terms, operator.by_field, columns, shards,
        )  # fmt: skip
        if replicated is None:
            return Table(backend, group, partition, *arguments, living=config.table, vectors=vectors)
        copies = ReplicatedTable(backend, *arguments, living=config.table)
        return PartlyReplicated(copies, replicated, backend, group, partition, *arguments, living=config.table)

    # where partials travel, those of replicated fields have no columns
    travelling = np.ones(n_seats, bool) if replicated is None or exchange_name(config) == "rows" else ~replicated

    if tables:
        table, operator = pooling_of_tables(of_model, backend, types, tables, open_table)
    else:
        operator = pooling(of_model, backend, group, types, partition, split, share, travelling, dim, exchange_name(config), vectors, linear)
        table = open_table(operator, dim, share.columns if split == "column" else None)
    by_block, whole_top = types.sums == "int64", kind.whole_top
    most_slots = len(fixed_edges(train.global_batch_samples, backend)) - 1 if by_block else backend.threads
    slots = SlotSums(backend, values.shapes, types.compute, most_slots)
    owner_slots, local = None, 0
    if pushed_down:
        owner_slots, local = _of_owners(definition, backend, values.shapes, types, split, group.size)
    parameters = Parameters(
        backend, values.shapes, types.compute, optimizer, types.sums, slots, values.statistics, owner_slots
    )
    values.set(parameters)
    parameters.begin_state()
    dense_sums = DenseSums(
        group, parameters, whole_top, definition.owner_parameters if pushed_down else (), local, share.inputs if share else slice(0)
    )
    if pushed_down:
        operators = OwnerTower(backend, group, table, operator, definition, parameters, owner_slots, types.compute, n_dense)
        width, embeddings_at = operators.width, 0
    else:
        embeddings_at = operator.embeddings_at
        width = embeddings_at + setting.pooled
        if of_model.operator == "bi_interaction":
            width = operator.width
        room = n_dense if travelling.all() else 0  # whole states are made afterwards
        by_rows = backend.products.gain_by_rows(types.compute)
        plain = replicated is None and seats is None and not tables  # fields lie one behind the other, of one width
        repeats = bool(definition.first_layers) and by_rows and not by_block and plain
        operators = BySamples(backend, group, table, operator, room, repeats)
    exchange = kind(backend, group, operators)
    if replicated is not None:
        columns = model.dim * np.arange(n_fields, dtype=np.int64)
        pool = Pool(backend, table.form, columns, of_model.linear, of_model.squares)
        places = None if travelling.all() else state_places(replicated, embeddings_at, model.dim)
        exchange = WithReplicated(exchange, backend, group, table.replicated, pool, places, n_dense)
    accumulation = open_accumulation(types, backend, group, operators, parameters, exchange)
    tower = Tower(
        backend, group, whole_top, definition, operators, parameters, slots, accumulation, objective,
        width=width, embeddings_at=embeddings_at, n_dense=n_dense, by_block=by_block,
    )  # fmt: skip
    return Parts(exchange, operators, parameters, tower, dense_sums, accumulation)


def _of_owners(definition, backend, shapes, types, split, ranks):
    """(SlotSums of the parameters that owners use, None without any; how many numbers of the first of them belong to single ranks)."""
    if not definition.owner_parameters:
        return None, 0
    slots = SlotSums(backend, {name: shapes[name] for name in definition.owner_parameters}, types.compute, backend.threads)
    if definition.local_rows is None or split == "key" or ranks == 1:
        return slots, 0
    name, rows = definition.local_rows
    return slots, rows * shapes[name][1]
