"""From a configuration to a model."""

from deshpc.hashing.partition import KeyPartition
from deshpc.model.model import Model
from deshpc.nn.parameters import Parameters
from deshpc.ops.exchange import AllReduce
from deshpc.ops.fm import FM
from deshpc.ops.linear import Linear
from deshpc.table.optimizer import open_optimizer
from deshpc.table.routing import open_routing
from deshpc.table.table import Table


def build_model(config, backend, group, n_fields, n_dense):
    """The model of `config` for data of n_fields categorical fields and n_dense dense features.

    Every rank gets the same dense parameters; no row exists yet.  All ranks must have the same number of threads.
    """
    train, compute = config.train, config.train.accumulate or config.train.precision
    partition = KeyPartition(group.size, backend.threads)
    optimizer = open_optimizer(config.optimizer)
    operator = _operator(config, backend, n_dense, compute)
    table = Table(
        backend, group, partition, operator.scalars, operator.dim, train.precision, compute, optimizer,
        train.seed, config.model.init_std,
    )  # fmt: skip
    parameters = Parameters({"bias": (), **operator.parameters}, compute, optimizer)
    operator.begin(parameters)
    routing = open_routing(train.routing, backend, group, partition, n_fields)
    return Model(backend, group, routing, AllReduce(group), table, [operator], parameters)


def _operator(config, backend, n_dense, compute):
    if config.model.name == "lr":
        return Linear(backend, n_dense, compute)
    train, model = config.train, config.model
    return FM(backend, n_dense, compute, train.precision, model.dim, train.seed, model.init_std)
