"""The form of a row's weights, as kernels take it: one argument that costs nothing.

Inside a kernel its attributes are constants of the argument's type, so that Numba compiles one machine code for each form.  The type is found once, when a form is made: a call need not look at it.  The attributes are lowered by hand:
Numba would compile a function for each use of one.
"""

import numpy as np
from numba.core import types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, lower_getattr, models, register_model, unbox

from deshpc.backend.cpu.simd import Lanes, LanesType
from deshpc.backend.record import element_of
from deshpc.config.precision import row_type

PIECE = 16
"""Numbers of an embedding that are worked on at once, where it is too long for one vector: a register, or two."""


class WeightForm:
    """How the weights of rows are stored and computed with.

    lanes : of `backend.lanes`, None where rows have no embedding
    number : 0 of the storage type of linear weights and state
    zero : 0 of the compute type
    dim : k, weights of an embedding
    tail : None where the lanes are those of the whole embedding.  Otherwise it is worked on in pieces, each of the lanes, and these are
    the lanes of what is left behind them, False where nothing is

    Kernels find two more:
    state_lanes : lanes of an embedding's state, which is stored as `number` is
    element : 0 of the type of an embedding's numbers, of `record.element_of`
    """

    def __init__(self, lanes, number, zero, dim, tail=None):
        self.lanes, self.number, self.zero, self.dim, self.tail = lanes, number, zero, dim, tail
        if lanes is None or isinstance(lanes, Lanes):
            last = tail.numba_type if tail else tail
            self._numba_type_ = WeightFormType(lanes and lanes.numba_type, number.dtype.name, zero.dtype.name, dim, last)

    @classmethod
    def of(cls, backend, dim, precision, compute, sums=None, pieces=False):
        """Of rows of `dim` embedding weights of a `train.precision`; types as of `backend.lanes`.

        pieces : whether an embedding is too long for one vector
        """
        number, zero = np.dtype(row_type(precision)).type(0), np.dtype(compute).type(0)
        if not pieces:
            return cls(backend.lanes(dim, precision, compute, sums) if dim else None, number, zero, dim)
        lanes, left = backend.lanes(PIECE, precision, compute, sums), dim % PIECE
        return cls(lanes, number, zero, dim, backend.lanes(left, precision, compute, sums) if left else False)


class WeightFormType(types.Type):
    """Type of a WeightForm argument.  lanes : LanesType or None;  number, zero : names of types;  tail : LanesType, False or None"""

    def __init__(self, lanes, number, zero, dim, tail=None):
        self.lanes, self.number, self.zero, self.dim, self.tail = lanes, number, zero, dim, tail
        self.state_lanes = lanes and LanesType(lanes.count, number, lanes.compute, lanes.sums)
        self.element = element_of(lanes.storage if lanes else number)
        pieces = "" if tail is None else f", {tail}"
        super().__init__(name=f"WeightForm({lanes}, {number}, {zero}, {dim}{pieces})")


@register_model(WeightFormType)
class _WeightFormModel(models.OpaqueModel):
    pass


@unbox(WeightFormType)
def _unbox(form, value, c):
    return NativeValue(c.context.get_dummy_value())


@infer_getattr
class _WeightFormAttributes(AttributeTemplate):
    key = WeightFormType

    def resolve_lanes(self, form):
        return form.lanes or types.none

    def resolve_tail(self, form):
        return form.tail or types.none

    def resolve_state_lanes(self, form):
        return form.state_lanes or types.none

    def resolve_element(self, form):
        return getattr(types, form.element.dtype.name)

    def resolve_number(self, form):
        return getattr(types, form.number)

    def resolve_zero(self, form):
        return getattr(types, form.zero)

    def resolve_dim(self, form):
        return types.int64


@lower_getattr(WeightFormType, "lanes")
@lower_getattr(WeightFormType, "state_lanes")
def _lanes(context, builder, form, value):
    return context.get_dummy_value()


@lower_getattr(WeightFormType, "tail")
def _tail(context, builder, form, value):
    return context.get_dummy_value()


@lower_getattr(WeightFormType, "element")
def _element(context, builder, form, value):
    return context.get_constant(getattr(types, form.element.dtype.name), 0)


@lower_getattr(WeightFormType, "number")
def _number(context, builder, form, value):
    return context.get_constant(getattr(types, form.number), 0.0)


@lower_getattr(WeightFormType, "zero")
def _zero(context, builder, form, value):
    return context.get_constant(getattr(types, form.zero), 0.0)


@lower_getattr(WeightFormType, "dim")
def _dim(context, builder, form, value):
    return context.get_constant(types.int64, form.dim)
