"""What a model is put together from, whichever kind it is."""

import math
from typing import NamedTuple

from deshpc.backend.weight_form import WeightForm
from deshpc.config.precision import row_type
from deshpc.config.schema import WIDEST_ROW
from deshpc.config.tasks import tasks_of
from deshpc.errors import ConfigError
from deshpc.exchange.contract import Exchange
from deshpc.model.accumulation import Accumulation, FloatingPoint
from deshpc.model.fixed_point import FixedPoint
from deshpc.nn.loss import Objective
from deshpc.nn.parameters import Parameters
from deshpc.ops.contract import Operators
from deshpc.top.contract import Top
from deshpc.top.dense_sums import DenseSums


class Parts(NamedTuple):
    """What depends on the kind of model.

    exchange : `Exchange`, how partials become complete states, and gradients reach the rows
    operators : `Operators`, what owners compute, on the rank's `Table`; their states lie side by side, so a step makes one
        aggregating collective
    parameters : `Parameters`, the dense ones, of which every rank has all
    top : `Top`, what follows complete states
    dense_sums : `DenseSums` of the gradients of `parameters`
    accumulation : `Accumulation`, in which numbers sums are added up
    """

    exchange: Exchange
    operators: Operators
    parameters: Parameters
    top: Top
    dense_sums: DenseSums
    accumulation: Accumulation


class Types(NamedTuple):
    """precision : of rows
    compute : of arithmetic
    sums : in which partials and gradients of rows are added up"""

    precision: str
    compute: str
    sums: str

    @classmethod
    def of(cls, train):
        """The types of a TrainConfig."""
        sums = train.accumulate or row_type(train.precision)
        return cls(train.precision, "float64" if sums == "int64" else sums, sums)

    def form(self, backend, dim):
        """WeightForm of rows of `dim` embedding weights."""
        return WeightForm.of(backend, dim, *self)


def open_accumulation(types, backend, group, operators, parameters, exchange):
    """The Accumulation of sums of these Types."""
    if types.sums == "int64":
        return FixedPoint(backend, group, operators, parameters, exchange)
    return FloatingPoint()


def open_objective(config, optimizer, mean_weight):
    """The Objective of a configuration and its Optimizer, which knows the reduction.

    mean_weight : of the samples that are learnt from

    Among rows of which each negative is kept with chance r, the odds are 1 / r times those among all rows.  So a model that learns by
    its logit and log(1 / r) predicts the odds among all rows by its logit alone.
    """
    train = config.train
    shift = -math.log(train.negative_sampling) if train.sampling_correction == "bias" else 0.0
    return Objective(train.loss, optimizer.reduction, shift, mean_weight, tasks_of(config))


def vectors_of_row(model, n_fields, n_dense):
    """Vectors that a row of ffm has: one for each field and dense feature.  ConfigError where a row would have too many numbers.

    model : ModelConfig
    """
    vectors = n_fields + n_dense
    if model.linear + vectors * model.dim > WIDEST_ROW:
        raise ConfigError(
            f"model.dim = {model.dim}: with {vectors:,} fields and dense features a row of ffm has {vectors * model.dim:,} numbers, of {WIDEST_ROW:,} at most; "
            f"choose at most {(WIDEST_ROW - 1) // vectors:,}, or fewer fields"
        )
    return vectors
