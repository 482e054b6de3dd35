"""Sums and sums of squares of embeddings, on a device: the operations of `backend.cpu.bi_interaction`.

See kernels/bi_interaction.cu.
"""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.key_sums import BI_INTERACTION
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width


class BiInteractionOperations:
    """A call works on the samples that it names."""

    def __init__(self, kernels, key_sums, worst):
        self._kernels, self._key_sums, self._worst = kernels, key_sums, worst
        self._scratch = Buffers(kernels.device)

    def partial(self, form, occurrences, state, scale, begin, end):
        offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
        n = end - begin
        self._of(form, state, values).partial(
            n * lanes_of(form.dim, form.number), offsets[begin : end + 1], n, local, values, addresses, scale,
            state[begin:end],
        )  # fmt: skip

    def partial_adjoint(self, form, occurrences, state, sums, scale):
        self._key_sums.add(BI_INTERACTION, form, occurrences, state, 0, sums, scale)

    def magnitude(self, form, occurrences):
        offsets, local, values, addresses = occurrences.offsets, occurrences.local, occurrences.values, occurrences.addresses
        samples = offsets.size - 1
        sizes = self._scratch.array("sizes", samples, np.float64)
        self._of(form, form.zero, values).magnitude(
            samples * lanes_of(form.dim, form.number), offsets, samples, local, values, addresses, sizes
        )
        return self._worst(sizes)

    def _of(self, form, sums, values):
        return self._kernels(
            "bi_interaction.cu", NUMBER=kind(form.number), COMPUTE=kind(form.zero), SUM=kind(sums), DIM=form.dim,
            VALUES=value_width(values),
        )  # fmt: skip
