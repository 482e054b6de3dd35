"""The distinct keys of a share of a batch, which its home rank asks for or sends once each."""

from typing import NamedTuple

import numpy as np

from deshpc.backend.values import value_shape

_FEWEST_BUCKETS = 64


class UniqueKeys(NamedTuple):
    """keys, fields, ranks (unique): key, field and owner rank of each distinct key, in order of first appearance

    offsets (n + 1) int64 : the occurrences of each sample;  occurrences (nnz) int32 : each one's distinct key
    values : of the occurrences, or None
    """

    keys: np.ndarray
    fields: np.ndarray
    ranks: np.ndarray
    offsets: np.ndarray
    occurrences: np.ndarray
    values: np.ndarray | None


class Deduplication:
    """Finds the distinct keys of shares of batches, on several threads if need be."""

    def __init__(self, kernels, partition):
        self._kernels, self._partition = kernels, partition
        self._buckets = _FEWEST_BUCKETS  # as the batches so far have needed them: what they hold is cleared every time

    def __call__(self, batch, buffers, modulus=1, residue=0, with_values=False):
        """The UniqueKeys of those of `batch` whose owner is `residue` modulo `modulus`, in `buffers`."""
        nnz, array = batch.occurrences, buffers.array
        keys, fields = array("unique keys", nnz + 1, np.uint64), array("unique fields", nnz + 1, np.uint16)
        ranks, occurrences = array("unique ranks", nnz + 1, np.int32), array("occurrences", nnz, np.int32)
        offsets, values = array("offsets", len(batch) + 1, np.int64), None
        if with_values and batch.values is not None:
            values = array("values", value_shape(batch.values, nnz), np.float32)
        count, taken, buckets = -1, 0, self._buckets
        while count < 0:
            count, taken = self._kernels.deduplicate(
                batch.begins, batch.ends, batch.keys, batch.fields, None if values is None else batch.values, self._partition,
                modulus, residue, array("buckets", 8 * buckets, np.uint64), keys, fields, ranks, offsets, occurrences, values,
            )  # fmt: skip
            buckets *= 1 if count >= 0 else 2
        self._buckets = max(self._buckets, buckets)
        return UniqueKeys(
            keys[:count], fields[:count], ranks[:count], offsets, occurrences[:taken], None if values is None else values[:taken]
        )
