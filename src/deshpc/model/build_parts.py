"""What a model is put together from, whichever kind it is."""

from typing import NamedTuple

from deshpc.model.dense_sums import DenseSums
from deshpc.nn.parameters import Parameters
from deshpc.ops.replicated import Replicated


class Parts(NamedTuple):
    """operators : what an exchange moves the partials of;  top : `SumTop` or `Tower`;  replicated : `Replicated`, if there is one"""

    operators: object
    parameters: Parameters
    top: object
    dense_sums: DenseSums
    replicated: Replicated | None = None


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
