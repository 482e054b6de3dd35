"""The form of a row's weights, as kernels take it: one argument that costs nothing.

Inside a kernel `form.lanes`, `.number`, `.zero` and `.dim` are constants of the argument's type, so that Numba compiles one machine
code for each form.  The type is found once, when a form is made: a call need not look at it.
"""

import numpy as np
from numba.core import types
from numba.extending import NativeValue, intrinsic, models, overload_attribute, register_model, unbox

from deshpc.backend.cpu.simd import Lanes


class WeightForm:
    """How the weights of rows are stored and computed with.

    lanes : of `backend.lanes`, None where rows have no embedding
    number : 0 of the storage type
    zero : 0 of the compute type
    dim : k, weights of an embedding
    """

    def __init__(self, lanes, number, zero, dim):
        self.lanes, self.number, self.zero, self.dim = lanes, number, zero, dim
        if lanes is None or isinstance(lanes, Lanes):
            self._numba_type_ = WeightFormType(lanes and lanes.numba_type, number.dtype.name, zero.dtype.name, dim)

    @classmethod
    def of(cls, backend, dim, precision, compute, sums=None):
        """Of rows of `dim` embedding weights of the type `precision`; types as of `backend.lanes`."""
        lanes = backend.lanes(dim, precision, compute, sums) if dim else None
        return cls(lanes, np.dtype(precision).type(0), np.dtype(compute).type(0), dim)


class WeightFormType(types.Type):
    """Type of a WeightForm argument.  lanes : LanesType or None;  number, zero : names of types"""

    def __init__(self, lanes, number, zero, dim):
        self.lanes, self.number, self.zero, self.dim = lanes, number, zero, dim
        super().__init__(name=f"WeightForm({lanes}, {number}, {zero}, {dim})")


@register_model(WeightFormType)
class _WeightFormModel(models.OpaqueModel):
    pass


@unbox(WeightFormType)
def _unbox(form, value, c):
    return NativeValue(c.context.get_dummy_value())


@intrinsic
def _lanes_of(typing_context, form):
    return form.lanes(form), lambda context, builder, signature, arguments: context.get_dummy_value()


@overload_attribute(WeightFormType, "lanes", inline="always")
def _lanes(form):
    if form.lanes is None:
        return lambda form: None
    return lambda form: _lanes_of(form)


@overload_attribute(WeightFormType, "number", inline="always")
def _number(form):
    number = np.dtype(form.number).type(0)
    return lambda form: number


@overload_attribute(WeightFormType, "zero", inline="always")
def _zero(form):
    zero = np.dtype(form.zero).type(0)
    return lambda form: zero


@overload_attribute(WeightFormType, "dim", inline="always")
def _dim(form):
    dim = form.dim
    return lambda form: dim
