"""A batch as two: the occurrences of sharded fields, which are routed, and those of replicated fields, which stay."""

from dataclasses import replace
from itertools import cycle

import numpy as np

from deshpc.comm.group import slice_of
from deshpc.table.routed import values_like


class FieldSelection:
    """Batches of the occurrences of some fields, of the same samples.

    fields : (F) bool, those that are wanted
    """

    def __init__(self, backend, fields):
        self._backend, self._wanted = backend, fields.astype(np.uint8)
        self._sets = cycle([backend.buffers(), backend.buffers()])

    def of(self, batch):
        """The Batch of the wanted occurrences; valid until the call after the next one.  Not collective."""
        kernels, buffers, wanted = self._backend.selection, next(self._sets), self._wanted
        offsets = buffers.array("offsets", len(batch) + 1, np.int64)
        parts = [slice_of(len(batch), self._backend.threads, thread) for thread in range(self._backend.threads)]
        self._backend.each(
            lambda begin, end: kernels.count_wanted(batch.begins, batch.ends, batch.fields, wanted, offsets[1:], begin, end), parts
        )
        offsets[0] = 0
        np.cumsum(offsets, out=offsets)
        n, begins = int(offsets[-1]), offsets[:-1]
        keys, fields = buffers.array("keys", n, np.uint64), buffers.array("fields", n, np.uint16)
        values = values_like(batch.values, n, buffers)
        self._backend.each(
            lambda begin, end: kernels.take_wanted(
                batch.begins, batch.ends, batch.keys, batch.fields, batch.values, wanted, begins, keys, fields, values, begin, end
            ),
            parts,
        )
        return replace(batch, begins=begins, ends=offsets[1:], keys=keys, fields=fields, values=values)
