"""From a configuration to a field-aware factorization machine whose ranks have whole samples, or some columns of them."""

from deshpc.comm.shares import slice_of
from deshpc.model.build_parts import Parts, Types, open_accumulation, vectors_of_row
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.ops.ffm import FACTORS, FieldAware
from deshpc.table.table import Table
from deshpc.top.dense_sums import DenseSums
from deshpc.top.sum import SumTop


def ffm_model(config, backend, group, kind, partition, optimizer, objective, n_fields, n_dense):
    """The Parts of the model.

    kind : class of its exchange
    objective : `nn.loss.Objective`
    """
    model, train, types = config.model, config.train, Types.of(config.train)
    by_column, vectors = train.split == "column", vectors_of_row(model, n_fields, n_dense)
    columns = slice_of(model.dim, group.size, group.rank) if by_column else (0, model.dim)
    table = Table(
        backend, group, partition, int(model.linear), vectors * model.dim, train.precision, types.compute, optimizer, train.seed, model.init_std,
        types.sums, own_terms=False, by_field=True, columns=columns if by_column else None, living=config.table, vectors=vectors,
    )  # fmt: skip
    operators = FieldAware(backend, table, vectors, slice(*columns), types, model.linear, by_column and group.size > 1)
    shapes = FieldAware.parameters(n_dense, vectors, model.dim, model.linear)
    slots = SlotSums(backend, {FACTORS: shapes[FACTORS]}, types.compute, backend.threads) if n_dense else None
    parameters = Parameters(backend, {"bias": (), **shapes}, types.compute, optimizer, types.sums, owner_slots=slots)
    operators.begin(parameters, slots, train.seed, model.init_std)
    parameters.begin_state()
    exchange = kind(backend, group, operators)
    accumulation = open_accumulation(types, backend, group, operators, parameters, exchange)
    top = SumTop(backend, operators, parameters, accumulation, objective)
    dense_sums = DenseSums(group, parameters, kind.whole_top, (FACTORS,) if n_dense else ())
    return Parts(exchange, operators, parameters, top, dense_sums, accumulation)
