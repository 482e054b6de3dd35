"""From a configuration to a model."""

from deshpc.hashing.partition import KeyPartition
from deshpc.model.model import Model
from deshpc.nn.parameters import Parameters
from deshpc.ops.exchange import open_exchange
from deshpc.ops.fm import FM
from deshpc.ops.linear import Linear
from deshpc.ops.operator_set import OperatorSet
from deshpc.table.optimizer import open_optimizer
from deshpc.table.routing import open_routing
from deshpc.table.table import Table


def build_model(config, backend, group, n_fields, n_dense, total_steps=None, several_nodes=False):
    """The model of `config` for data of n_fields categorical fields and n_dense dense features.

    total_steps : of the run, for a learning rate that falls until its end;  several_nodes : whether the ranks are on such
    Every rank gets the same dense parameters; no row exists yet.  All ranks must have the same number of threads.
    """
    train = config.train
    sums = train.accumulate or train.precision
    compute = "float64" if sums == "int64" else sums
    partition = KeyPartition(group.size, backend.threads)
    optimizer = open_optimizer(config.optimizer, total_steps)
    operator = _operator(config, backend, n_dense, compute, sums)
    table = Table(
        backend, group, partition, operator.scalars, operator.dim, train.precision, compute, optimizer,
        train.seed, config.model.init_std, sums,
    )  # fmt: skip
    parameters = Parameters(backend, {"bias": (), **operator.parameters}, compute, optimizer, sums)
    operator.begin(parameters)
    parameters.begin_state()
    operators = OperatorSet(backend, table, [operator])
    exchange = open_exchange(train.exchange, backend, group, operators)
    routing = open_routing(train.routing, backend, group, partition, n_fields, exchange)
    overlaps = several_nodes if train.overlap == "auto" else train.overlap == "on"
    return Model(backend, group, routing, exchange, table, operators, parameters, overlaps)


def _operator(config, backend, n_dense, compute, sums):
    if config.model.name == "lr":
        return Linear(backend, n_dense, compute)
    train, model = config.train, config.model
    lanes = backend.lanes(model.dim, train.precision, compute, sums)
    return FM(backend, n_dense, compute, lanes, model.dim, train.seed, model.init_std)
