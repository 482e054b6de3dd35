"""From a configuration to a model."""

from typing import NamedTuple

from deshpc.hashing.partition import KeyPartition
from deshpc.model.combinations import exchange_kind, require_deep
from deshpc.model.definitions import Setting, definition_class
from deshpc.model.model import Model
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
from deshpc.table.optimizer import open_optimizer
from deshpc.table.routing import open_routing
from deshpc.table.table import Table


def build_model(config, backend, group, n_fields, n_dense, total_steps=None, several_nodes=False):
    """The model of `config` for data of n_fields categorical fields and n_dense dense features.

    total_steps : of the run, for a learning rate that falls until its end;  several_nodes : whether the ranks are on such
    Every rank gets the same dense parameters; no row exists yet.  All ranks must have the same number of threads.
    """
    train, types = config.train, Types.of(config.train)
    partition = KeyPartition(group.size, backend.threads)
    optimizer = open_optimizer(config.optimizer, total_steps)
    kind = exchange_kind(config, group.size)
    build = _sum_model if config.model.name in ("lr", "fm") else _deep_model
    operator, finish = build(config, backend, group, kind, optimizer, types, n_fields, n_dense)
    table = Table(
        backend, group, partition, operator.scalars, operator.dim, train.precision, types.compute, optimizer,
        train.seed, config.model.init_std, types.sums, operator.own_terms, operator.by_field,
    )  # fmt: skip
    operators, parameters, top = finish(table)
    exchange = kind(backend, group, operators)
    routing = open_routing(train.routing, backend, group, partition, n_fields, exchange)
    overlaps = several_nodes if train.overlap == "auto" else train.overlap == "on"
    return Model(backend, group, routing, exchange, table, operators, parameters, top, overlaps)


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


def _sum_model(config, backend, group, kind, optimizer, types, n_fields, n_dense):
    """(operator, function of its table that gives operators, parameters and top) of a linear model or an FM."""
    model = config.model
    if model.name == "lr":
        operator = Linear(backend, n_dense, types.compute)
    else:
        operator = FM(backend, n_dense, types.compute, backend.lanes(model.dim, *types), model.dim, config.train.seed, model.init_std)

    def finish(table):
        parameters = Parameters(backend, {"bias": (), **operator.parameters}, types.compute, optimizer, types.sums)
        operator.begin(parameters)
        parameters.begin_state()
        operators = OperatorSet(backend, table, [operator])
        return operators, parameters, SumTop(backend, operators, parameters)

    return operator, finish


def _deep_model(config, backend, group, kind, optimizer, types, n_fields, n_dense):
    """The same of a model with a tower."""
    model, train = config.model, config.train
    require_deep(config, backend)
    lanes, kind_of_model = backend.lanes(model.dim, *types), definition_class(model.name)
    if kind_of_model.operator == "bi_interaction":
        operator = BiInteraction(backend, types.compute, lanes, model.dim)
    else:
        operator = Pool(backend, types.compute, lanes, model.dim, n_fields, kind_of_model.linear, kind_of_model.squares)
    values = FirstValues(train.seed)
    definition = kind_of_model(Setting(backend, values, model, train.seed, types.compute, n_fields, n_dense, model.dim))

    def finish(table):
        by_block = types.sums == "int64"
        slots = SlotSums(
            backend, values.shapes, types.compute, most_slots(backend.threads, by_block, train.global_batch_samples)
        )
        parameters = Parameters(backend, values.shapes, types.compute, optimizer, slots=slots, statistics=values.statistics)
        values.set(parameters)
        parameters.begin_state()
        tower = Tower(
            backend, group, kind.whole_top, definition, parameters, slots, types.compute, operator.width, operator.first,
            n_dense, by_block,
        )  # fmt: skip
        return BySamples(backend, table, operator, tower.room), parameters, tower

    return operator, finish
