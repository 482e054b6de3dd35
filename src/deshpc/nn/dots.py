"""DLRM's interaction: dot products of all pairs of a sample's embeddings and of the bottom network's output."""

import numpy as np

from deshpc.nn.tape import Operator


class Dots(Operator):
    """(embeddings (n, F k), z (n, k)) -> [z, <e_f, e_h> for all f > h] (n, k + F (F + 1) / 2), where e_F = z."""

    def __init__(self, backend, compute, dim, n_fields):
        self._backend, self._kernels, self._lanes = backend, backend.interaction, backend.lanes(dim, compute, compute)
        self._zero, self._dim, self._n_fields = np.dtype(compute).type(0), dim, n_fields
        self.outputs = dim + n_fields * (n_fields + 1) // 2

    def forward(self, tape, embeddings, z):
        result = tape.array((len(z), self.outputs), self._zero.dtype)
        result[:, : self._dim] = z
        self._kernels.dots(
            self._zero, self._dim, self._n_fields, self._backend.address(embeddings), embeddings.strides[0], z, result, self._dim
        )
        return result, (embeddings, z)

    def backward(self, tape, saved, gradient, into, into_z):
        embeddings, z = saved
        address = self._backend.address
        into_z.add(gradient)
        self._kernels.dots_adjoint(
            self._lanes, self._zero, self._dim, self._n_fields, address(embeddings), embeddings.strides[0], z, gradient, self._dim,
            address(into.array), into.array.strides[0], into.fresh, into_z.array,
        )  # fmt: skip
        into.fresh = False
