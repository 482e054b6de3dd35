"""The pairs of a field-aware factorization machine from the complete sums of all fields.

S_f g = sum x v_g over the keys of field f, F fields with G vectors of k numbers each, G = F and dense features;  dense feature d is field F + d,
S_{F + d} = x_d times its factors.

    sum over f < g of <S_f g, S_g f>, and 1/2 sum of |S_f f|^2 over the F fields;  what that has too much has come with the first column
"""

import numpy as np

from deshpc.backend.arguments import Room, Vectors
from deshpc.backend.weight_form import WeightForm
from deshpc.nn.tape import Operator


class FieldAwarePairs(Operator):
    """(S (n, F G k), dense (n, n_dense)) -> (n); the factors (n_dense, G k) of dense features are a parameter."""

    learns = True

    def __init__(self, backend, factors, compute, dim, vectors):
        """factors : name of the parameter
        dim : k
        vectors : G"""
        self._kernels, self._matrix = backend.field_sums, backend.matrix
        one, four = (WeightForm.of(backend, count * dim, compute, compute) for count in (1, backend.field_sums.FOUR))
        self._vectors, self._fields, self._factors = Vectors(one, four), vectors, factors

    def forward(self, tape, sums, dense):
        result = tape.array((len(sums),), self._vectors.one.zero.dtype)
        self._kernels.pairs(self._vectors, *self._given(tape, sums, dense), result)
        return result, (sums, dense)

    def backward(self, tape, saved, gradient, into, _):
        given = self._given(tape, *saved)

        def of_factors(out):
            self._kernels.pairs_adjoint(self._vectors, *given, gradient, self._matrix(into.array), into.fresh, out)

        tape.add(self._factors, of_factors)
        into.mark_written()

    def _given(self, tape, sums, dense):
        """What kernels take: Matrices of the sums and the dense features, the factors, and a Room."""
        kind, fields = self._vectors.one.zero.dtype, self._fields
        array = tape.scratch.array
        room = Room(
            array("counts", 0, np.int32), array("fields", 0, np.int64), array("addresses", fields, np.int64),
            array("of fields", (fields, self._vectors.one.dim), kind), array("sums", (0, 0), kind),
        )  # fmt: skip
        return self._matrix(sums), self._matrix(dense), tape.parameters[self._factors], room
