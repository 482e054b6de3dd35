"""DLRM's interaction: dot products of all pairs of a sample's embeddings and of the bottom network's output."""

import numpy as np

from deshpc.nn.tape import Operator

_LANES = 16


class Dots(Operator):
    """(embeddings (n, F k), z (n, k)) -> [z, <e_f, e_h> for all f > h] (n, k + F (F + 1) / 2), where e_F = z.

    beside : whether z itself is there, in front
    """

    def __init__(self, backend, compute, dim, n_fields, beside=True):
        self._backend, self._kernels, self._lanes = backend, backend.interaction, backend.lanes(dim, compute, compute)
        self._zero, self._dim, self._n_fields = np.dtype(compute).type(0), dim, n_fields
        self._wide, self._padded = backend.lanes(_LANES, compute, compute), -(-(n_fields + 1) // _LANES) * _LANES
        self._first = dim if beside else 0
        self.outputs = self._first + n_fields * (n_fields + 1) // 2

    def forward(self, tape, embeddings, z):
        result = tape.array((len(z), self.outputs), self._zero.dtype)
        if self._first:
            result[:, : self._dim] = z
        self._kernels.dots(
            self._wide, _LANES, self._zero, self._dim, self._n_fields, self._backend.address(embeddings), embeddings.strides[0], z,
            tape.scratch.array("by coordinate", (self._dim + 1, self._padded), self._zero.dtype), result, self._first,
        )  # fmt: skip
        return result, (embeddings, z)

    def backward(self, tape, saved, gradient, into, into_z):
        embeddings, z = saved
        address = self._backend.address
        if self._first:
            into_z.add(gradient)
        else:
            into_z.zero_if_fresh()
        self._kernels.dots_adjoint(
            self._lanes, self._zero, self._dim, self._n_fields, address(embeddings), embeddings.strides[0], z, gradient, self._first,
            address(into.array), into.array.strides[0], into.fresh, into_z.array,
        )  # fmt: skip
        into.mark_written()
