"""Embeddings added up field by field, on a device: the operations of `backend.cpu.pool`.  See kernels/pool.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.key_sums import POOL, SEATED
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width

_WARP = 32
_MOST_MAGNITUDE_BLOCKS = 512  # so that sums by field of a sample that is worked on take little room


class PoolOperations:
    """A call works on the samples that it names; columns are an array of the device."""

    def __init__(self, kernels, key_sums, worst):
        self._kernels, self._key_sums, self._worst = kernels, key_sums, worst
        self._scratch = Buffers(kernels.device)

    def clear(self, state, columns, begin, end):
        n, compute = end - begin, "double" if kind(state) == "double" else "float"
        self._of_states(compute, kind(state)).clear(n * _WARP, state[begin:end], n, columns)

    def partial(self, form, linear, squares, occurrences, columns, state, scale, begin, end, cleared):
        offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
        n = end - begin
        if cleared:
            self.clear(state, cleared, begin, end)
        self._of(form, linear, squares, state, occurrences).partial(
            n * lanes_of(form.dim, form.number), offsets[begin : end + 1], n, local, values, occurrences.addresses,
            _fields(occurrences), columns, scale, state[begin:end],
        )  # fmt: skip

    def partial_adjoint(self, form, occurrences, columns, state, sums, scale):
        self._key_sums.add(POOL if occurrences.seats is None else SEATED, form, occurrences, state, 0, sums, scale, columns)

    def magnitude(self, form, linear, squares, n_fields, occurrences):
        offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
        samples, kernels = offsets.size - 1, self._of(form, linear, squares, form.zero, occurrences)
        groups = kernels.magnitude.threads // lanes_of(form.dim, form.number)  # of a block
        blocks = min(-(-samples // groups), _MOST_MAGNITUDE_BLOCKS)
        sizes = self._scratch.array("sizes", samples, np.float64)
        of_field = self._scratch.array("of field", (blocks * groups, n_fields), np.float64)
        kernels.magnitude.blocks(
            blocks, offsets, samples, local, values, occurrences.addresses, _fields(occurrences), n_fields, of_field, sizes
        )
        return self._worst(sizes)

    def largest_term(self, gradient, width, largest_values, begin, end):
        n = end - begin
        terms = self._scratch.array("terms", n, np.float64)
        kernels = self._of_states(kind(gradient), kind(gradient))
        kernels.largest_term(n * _WARP, gradient[begin:end], width, largest_values, n, terms)
        term, sample = self._worst(terms)
        return term, begin + sample

    def _of_states(self, compute, sums):
        """The kernels that see no rows."""
        return self._kernels("pool.cu", NUMBER="float", COMPUTE=compute, SUM=sums, DIM=1, VALUES=0, LINEAR=0, SQUARES=0, SEATED=0)

    def _of(self, form, linear, squares, sums, occurrences):
        return self._kernels(
            "pool.cu", NUMBER=kind(form.number), COMPUTE=kind(form.zero), SUM=kind(sums), DIM=form.dim,
            VALUES=value_width(occurrences.values), LINEAR=int(linear), SQUARES=int(squares), SEATED=int(occurrences.seats is not None),
        )  # fmt: skip


def _fields(occurrences):
    """The fields of the rows, or the seats of the occurrences, where they have some."""
    return occurrences.fields if occurrences.seats is None else occurrences.seats
