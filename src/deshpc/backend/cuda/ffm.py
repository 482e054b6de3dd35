"""Field-aware factorization machine on a device: the operations of `backend.cpu.ffm`.  See kernels/ffm.cu."""

from typing import Any, NamedTuple

import numpy as np

from deshpc.backend.cuda.columns import blocks_of, stretches_of
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width

_WARP = 32
_MOST_HELD = 1  # numbers of a lane, as in ffm.cu


class FieldTerms(NamedTuple):
    """The occurrences of whole samples, in the order of their fields.

    by_field : (n, F + 1) int32, where those of each field begin, and end
    addresses : (nnz) int64, of the rows' embeddings
    values : (nnz) float32, by which they are multiplied;  None where all are 1
    kernels : of this kind of rows and values
    """

    by_field: Any
    addresses: Any
    values: Any
    kernels: Any


class FFMOperations:
    """A call works on all samples, whose keys are in one shard.  No `Room` is used: a device keeps no sums of fields."""

    FOUR = 1

    def __init__(self, kernels, key_sums, column_sums):
        self._kernels, self._key_sums, self._column_sums = kernels, key_sums, column_sums

    def new_terms(self, vectors, fields, n_dense, linear, shards, samples, buffers):
        (one,), values, array = shards, shards[0].values, buffers.array
        kernels = self._kernels(
            "ffm.cu", NUMBER=kind(vectors.one.number), COMPUTE=kind(vectors.one.zero), SUM=kind(vectors.one.zero), DIM=vectors.one.dim,
            FIELDS=fields, VALUES=value_width(values), SCALARS=int(linear),
        )  # fmt: skip
        count = one.local.size
        of_terms = None if values is None else array("values", count, np.float32)
        by_field = array("by field", (samples, fields - n_dense + 1), np.int32)
        return FieldTerms(by_field, array("addresses", count, np.int64), of_terms, kernels), None

    def collect(self, vectors, linear, occurrences, terms, places, state, begin, end):
        n = len(terms.by_field)
        terms.kernels.collect(
            n * _WARP, occurrences.offsets, n, occurrences.local, occurrences.values, occurrences.addresses, occurrences.fields,
            terms.by_field.shape[1] - 1, *terms[:3], state,
        )  # fmt: skip

    def partial(self, vectors, terms, dense, factors, room, state, begin, end):
        n = len(terms.by_field)
        terms.kernels.partial(n * _WARP, n, *terms[:3], dense, dense.shape[1], factors, state)

    def partial_adjoint(self, vectors, occurrences, terms, dense, factors, room, state, sums):
        numbers = sums.vector.shape[1] + int(sums.scalar is not None)
        of_adjoint = state, occurrences.addresses, occurrences.fields, *terms[:3], dense, dense.shape[1], factors
        self._key_sums.add_by(terms.kernels, numbers, _MOST_HELD, occurrences, of_adjoint, sums)

    def factors_adjoint(self, vectors, terms, dense, factors, room, state, sums, begin, end):
        n, columns = len(terms.by_field), sums.size
        stretches = self._column_sums.stretches(stretches_of(n), columns, sums.dtype)
        terms.kernels.factors_adjoint.blocks(
            blocks_of(len(stretches), columns), n, *terms[:3], dense, dense.shape[1], factors, state, stretches
        )
        self._column_sums.add(stretches, sums.reshape(columns))
