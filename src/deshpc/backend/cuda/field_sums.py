"""Sums of a field-aware factorization machine that travel, on a device: the operations of `backend.cpu.field_sums`.

See kernels/field_sums.cu.
"""

from deshpc.backend.cuda.columns import blocks_of, stretches_of
from deshpc.backend.cuda.groups import lanes_of
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width

_WARP = 32
_MOST_HELD = 4  # numbers of a lane, as in field_sums.cu


class FieldSumsOperations:
    """A call works on the samples that it names.  No `Room` is used; what the CPU takes as a `Matrix` is an array whose rows may lie apart."""

    FOUR = 1

    def __init__(self, kernels, key_sums, column_sums, pool):
        self._kernels, self._key_sums, self._column_sums, self._pool = kernels, key_sums, column_sums, pool

    def partial(self, pair, vectors, linear, occurrences, columns, state, begin, end, cleared):
        offsets, local, values = occurrences.offsets, occurrences.local, occurrences.values
        if cleared:
            self._pool.clear(state, cleared, begin, end)
        n = end - begin
        lanes = lanes_of(pair.dim, pair.number, vectors)
        self._of(pair, vectors, linear, values).partial(
            n * lanes, offsets[begin : end + 1], n, local, values, occurrences.addresses, occurrences.fields, columns, state[begin:end]
        )

    def partial_adjoint(self, pair, vectors, occurrences, columns, state, sums):
        scalars = int(sums.scalar is not None)
        kernels, numbers = self._of(pair, vectors, scalars, occurrences.values), vectors * pair.dim + scalars
        of_adjoint = state, occurrences.addresses, occurrences.fields, columns
        self._key_sums.add_by(kernels, numbers, _MOST_HELD, occurrences, of_adjoint, sums)

    def pairs(self, vectors, sums, dense, factors, room, result):
        n = len(result)
        self._of_pairs(vectors, room).pairs(n * _WARP, n, sums, dense, dense.shape[1], factors, result)

    def pairs_adjoint(self, vectors, sums, dense, factors, room, upstream, gradient, fresh, factor_sums):
        (n, width), kernels = gradient.shape, self._of_pairs(vectors, room)
        given = n, sums, dense, dense.shape[1], factors, upstream
        kernels.pairs_adjoint(n * width, *given, gradient, int(fresh))
        if factor_sums.size:
            stretches = self._column_sums.stretches(stretches_of(n), factor_sums.size, factor_sums.dtype)
            kernels.factors_adjoint.blocks(blocks_of(len(stretches), factor_sums.size), *given, stretches)
            self._column_sums.add(stretches, factor_sums.reshape(factor_sums.size))

    def _of_pairs(self, vectors, room):
        """The kernels that see no rows."""
        return self._of(vectors.one, len(room.addresses), 0, None)

    def _of(self, pair, vectors, linear, values):
        return self._kernels(
            "field_sums.cu", NUMBER=kind(pair.number), COMPUTE=kind(pair.zero), SUM=kind(pair.zero), DIM=pair.dim, FIELDS=vectors,
            VALUES=value_width(values), SCALARS=int(linear),
        )  # fmt: skip
