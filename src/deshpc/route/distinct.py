"""The distinct keys of a share of a batch, which its home rank asks for or sends once each."""

import numpy as np

from deshpc.backend.arguments import UniqueKeys
from deshpc.backend.values import value_shape

_FEWEST_BUCKETS = 64


class Deduplication:
    """Finds the distinct keys of shares of batches, on several threads if need be."""

    def __init__(self, kernels, partition, ranks, n_fields):
        self._kernels, self._partition, self._counts = kernels, partition, (ranks, n_fields + 1)
        self._buckets = _FEWEST_BUCKETS  # as the batches so far have needed them: what they hold is cleared every time

    def __call__(self, batch, buffers, modulus=1, residue=0, with_values=False, whole=False):
        """(UniqueKeys of those of `batch` whose owner is `residue` modulo `modulus`, in `buffers`; header (N, F + 1) int32: how many of
        them each owner rank has of each field and, if `whole`, how many occurrences).
        """
        nnz, array, sparse, values = batch.occurrences, buffers.array, batch.sparse, None
        if with_values and sparse.values is not None:
            values = array("values", value_shape(sparse.values, nnz), np.float32)
        if values is None:
            sparse = sparse._replace(values=None)
        unique = UniqueKeys(
            array("unique keys", nnz + 1, np.uint64), array("unique fields", nnz + 1, np.uint16),
            array("unique ranks", nnz + 1, np.int32), array("offsets", len(batch) + 1, np.int64),
            array("occurrences", nnz, np.int32), values,
        )  # fmt: skip
        count, taken, buckets, header = -1, 0, self._buckets, np.empty(self._counts, np.int32)
        while count < 0:
            room = array("buckets", 8 * buckets, np.uint64)
            count, taken = self._kernels.deduplicate(sparse, self._partition, modulus, residue, room, unique, header, whole)
            buckets *= 1 if count >= 0 else 2
        self._buckets = max(self._buckets, buckets)
        keys, fields, ranks, offsets, occurrences, values = unique
        values = None if values is None else values[:taken]
        return UniqueKeys(keys[:count], fields[:count], ranks[:count], offsets, occurrences[:taken], values), header
