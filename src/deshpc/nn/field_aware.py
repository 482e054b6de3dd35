"""The pairs of a field-aware factorization machine from the complete sums of all fields.

S_f g = sum x v_g over the keys of field f, F fields with G vectors of k numbers each, G = F and dense features;  dense feature d is field F + d,
S_{F + d} = x_d times its factors.

    sum over f < g of <S_f g, S_g f>, and 1/2 sum of |S_f f|^2 over the F fields;  what that has too much has come with the first column
"""

from deshpc.backend.arguments import Room
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
        self._pair, self._factors, self._vectors = WeightForm.of(backend, dim, compute, compute), factors, vectors

    def forward(self, tape, sums, dense):
        result = tape.array((len(sums),), self._pair.zero.dtype)
        self._kernels.all_pairs(self._pair, *self._given(tape, sums, dense), result)
        return result, (sums, dense)

    def backward(self, tape, saved, gradient, into, _):
        given = self._given(tape, *saved)

        def of_factors(out):
            self._kernels.all_pairs_adjoint(self._pair, *given, gradient, self._matrix(into.array), into.fresh, out)

        tape.add(self._factors, of_factors)
        into.mark_written()

    def _given(self, tape, sums, dense):
        """What kernels take: Matrices of the sums and the dense features, the factors, and a Room."""
        kind, vectors = self._pair.zero.dtype, self._vectors
        array = tape.scratch.array
        room = Room(
            array("counts", 0, "int32"), array("fields", vectors + 1, "int64"), array("addresses", vectors, "int64"), array("of fields", vectors, kind),
            array("sums", (0, 0), kind),
        )  # fmt: skip
        return self._matrix(sums), self._matrix(dense), tape.parameters[self._factors], room
