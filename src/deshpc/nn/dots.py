"""DLRM's interaction: dot products of all pairs of a sample's embeddings and of the bottom network's output."""

from deshpc.backend.weight_form import WeightForm
from deshpc.nn.tape import Operator

_LANES = 16


class Dots(Operator):
    """(embeddings (n, F k), z (n, k)) -> [z, <e_f, e_h> for all f > h] (n, k + F (F + 1) / 2), where e_F = z.

    beside : whether z itself is there, in front
    """

    def __init__(self, backend, compute, dim, n_fields, beside=True):
        self._kernels, self._matrix = backend.interaction, backend.matrix
        self._form, self._n_fields = WeightForm.of(backend, dim, compute, compute), n_fields
        self._side, self._padded = WeightForm.of(backend, _LANES, compute, compute), -(-(n_fields + 1) // _LANES) * _LANES
        self._column = dim if beside else 0  # where the products begin
        self.outputs = self._column + n_fields * (n_fields + 1) // 2

    def forward(self, tape, embeddings, z):
        kind, dim = self._form.zero.dtype, self._form.dim
        result = tape.array((len(z), self.outputs), kind)
        if self._column:
            tape.arrays.put(z, result[:, :dim])
        by_coordinate = tape.scratch.array("by coordinate", (dim + 1, self._padded), kind)
        self._kernels.dots(self._side, self._n_fields, self._matrix(embeddings), z, by_coordinate, result, self._column)
        return result, (embeddings, z)

    def backward(self, tape, saved, gradient, into, into_z):
        embeddings, z = saved
        if self._column:
            into_z.add(tape, gradient)
        else:
            into_z.zero_if_fresh(tape)
        self._kernels.dots_adjoint(
            self._form, self._n_fields, self._matrix(embeddings), z, gradient, self._column, self._matrix(into.array), into.fresh,
            into_z.array,
        )  # fmt: skip
        into.mark_written()
