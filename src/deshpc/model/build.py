"""From a configuration to a model."""

import numpy as np

from deshpc.config.attended import attended, lengths_apart, targets_of
from deshpc.config.field_dims import field_dims, has_field_dims
from deshpc.config.tasks import tasks_of
from deshpc.hashing.partition import ColumnPartition, FieldPartition, KeyPartition, TablePartition
from deshpc.launch.place import nowhere
from deshpc.model.build_deep import deep_model
from deshpc.model.build_parts import Parts, Types, open_accumulation, open_objective
from deshpc.model.combinations import exchange_kind, is_deep, require_valid, takes_by_field
from deshpc.model.model import Model
from deshpc.model.pooling import TableFields
from deshpc.nn.parameters import Parameters
from deshpc.ops.fm import FM
from deshpc.ops.linear import Linear
from deshpc.ops.operator_set import OperatorSet
from deshpc.route.routing import open_routing
from deshpc.route.seats import Seats
from deshpc.route.selection import WithReplicatedFields
from deshpc.table.device_eviction import DeviceEviction
from deshpc.table.eviction import Eviction
from deshpc.table.optimizer import open_optimizer
from deshpc.table.table import Table
from deshpc.top.dense_sums import DenseSums
from deshpc.top.sum import SumTop


def build_model(
    config, backend, group, n_fields, n_dense, total_steps=None, several_nodes=False, field_names=(), enter=nowhere,
    mean_weight=1.0, first_step=0, field_keys=None, key_fields=(),
):  # fmt: skip
    """The model of `config` for data of n_fields categorical fields and n_dense dense features.

    first_step, total_steps : where the run begins and ends, for a learning rate that falls until its end
    several_nodes : whether the ranks are on such
    field_names : (F), by which `model.fields` calls the categorical fields
    enter : see `Model`
    mean_weight : of the samples that are learnt from
    field_keys : (F) float64, expected keys a sample of each field, the same on all ranks, by which fields are dealt to ranks; None: as many of each
    key_fields : FieldConfigs and CrossConfigs of the categorical fields, which say whose keys they have, and how many; (): each has its own
    Every rank gets the same dense parameters; no row exists yet.  All ranks must have the same number of threads.
    """
    train = config.train
    require_valid(config, backend, group.size, field_names or None, key_fields)
    dims = field_dims(config.model.dim, {one.name: one.dim for one in config.model.fields}, field_names)
    tables = TableFields.of(dims) if has_field_dims(config.model) else None
    replicated = replicated_fields(config.model, field_names)
    partition = open_partition(train.split, group, backend.threads, n_fields, tables, replicated, field_keys)
    optimizer, kind = open_optimizer(config.optimizer, total_steps, first_step), exchange_kind(config, group.size)
    objective, seats = open_objective(config, optimizer, mean_weight), None
    if is_deep(config):
        sequences = attended(targets_of(config.model), key_fields)
        if takes_by_field(config) and (sequences or any(one.share for one in key_fields)):
            seats = Seats(backend, np.array(lengths_apart(n_fields, sequences), np.int64))
        parts = deep_model(config, backend, group, kind, partition, optimizer, objective, n_fields, n_dense, tables, replicated, seats, sequences)
    else:
        parts = _sum_model(config, backend, group, kind, partition, optimizer, objective, n_dense)
    overlaps = several_nodes or backend.overlaps if train.overlap == "auto" else train.overlap == "on"
    valid = 3 if overlaps or train.routing == "routed" else 2  # batches at a time: see `Model.routes_ahead`
    routing = open_routing(train.routing, backend, group, partition, n_fields, parts.exchange, valid, train.key_numbers != "off", seats)
    if replicated is not None:
        routing = WithReplicatedFields(routing, backend, group, replicated, kind.whole_top, valid)
    eviction_kind = Eviction if backend.device is None else DeviceEviction
    eviction = eviction_kind(config.table, backend, group, parts.operators.table.parts) if config.table.evicts else None
    return Model(config.model.name, n_fields, backend, group, routing, parts, overlaps, enter, train.loss, eviction, tasks_of(config))


def replicated_fields(model, names):
    """(F) bool, whether every rank has all rows of a field, by a ModelConfig; None where that is true of none.

    names : (F), of the fields
    """
    chosen = {one.name for one in model.fields if one.replicated}
    return np.array([name in chosen for name in names]) if chosen else None


def open_partition(split, group, threads, n_fields, tables=None, replicated=None, field_keys=None):
    """The partition of a split of `train.split`.

    tables : TableFields, where there are several
    replicated (F) bool : fields that nobody owns, where there are some
    field_keys : see `build_model`
    """
    if tables:
        return TablePartition.of(group.size, threads, tables.of_field)
    if split == "field":
        return FieldPartition.of(group.size, threads, n_fields, replicated, field_keys)
    if split == "column":
        return ColumnPartition(group.size, threads, group.rank)
    if split == "key":
        return KeyPartition(group.size, threads)
    raise ValueError(f"no partition for train.split = {split!r}")


def _sum_model(config, backend, group, kind, partition, optimizer, objective, n_dense):
    """The Parts of a linear model or an FM."""
    model, train, types = config.model, config.train, Types.of(config.train)
    if model.name == "lr":
        form = types.form(backend, 0)
        operator = Linear(backend, form, n_dense)
    else:
        form = types.form(backend, model.dim)
        operator = FM(backend, form, n_dense, train.seed, model.init_std)
    table = Table(
        backend, group, partition, operator.scalars, form.dim, train.precision, types.compute, optimizer,
        train.seed, model.init_std, types.sums, living=config.table,
    )  # fmt: skip
    parameters = Parameters(backend, {"bias": (), **operator.parameters}, types.compute, optimizer, types.sums)
    operator.begin(parameters)
    parameters.begin_state()
    operators = OperatorSet(backend, table, [operator])
    exchange = kind(backend, group, operators)
    accumulation = open_accumulation(types, backend, group, operators, parameters, exchange)
    top = SumTop(backend, operators, parameters, accumulation, objective)
    return Parts(exchange, operators, parameters, top, DenseSums(group, parameters, kind.whole_top), accumulation)
