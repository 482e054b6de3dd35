"""A batch as two: the occurrences of sharded fields, which are routed, and those of replicated fields, which stay."""

from dataclasses import replace
from itertools import cycle

import numpy as np

from deshpc.backend.arguments import SparseFeatures
from deshpc.comm.shares import slice_of
from deshpc.route.routed import values_like


class FieldSelection:
    """Batches of the occurrences of some fields, of the same samples.

    fields : (F) bool, those that are wanted
    valid : batches that are valid at a time
    """

    def __init__(self, backend, fields, valid=2):
        self._backend, self._wanted = backend, fields.astype(np.uint8)
        self._sets = cycle([backend.buffers() for _ in range(valid)])

    def of(self, batch):
        """The Batch of the wanted occurrences.  Not collective."""
        kernels, buffers, wanted = self._backend.selection, next(self._sets), self._wanted
        offsets = buffers.array("offsets", len(batch) + 1, np.int64)
        parts = [slice_of(len(batch), self._backend.threads, thread) for thread in range(self._backend.threads)]
        self._backend.each(
            lambda begin, end: kernels.count_wanted(batch.sparse, wanted, offsets[1:], begin, end), parts
        )
        offsets[0] = 0
        np.cumsum(offsets, out=offsets)
        n = int(offsets[-1])
        taken = SparseFeatures(
            offsets[:-1], offsets[1:], buffers.array("keys", n, np.uint64), buffers.array("fields", n, np.uint16),
            values_like(batch.values, n, buffers),
        )  # fmt: skip
        self._backend.each(lambda begin, end: kernels.take_wanted(batch.sparse, wanted, taken, begin, end), parts)
        return replace(batch, **taken._asdict())


class WithReplicatedFields:
    """The routing of the sharded fields; occurrences of replicated fields stay with the samples of the rank's top: a `Routing`."""

    def __init__(self, routing, backend, group, fields, whole_top, valid=2):
        """routing : of the sharded fields
        fields : (F) bool, the replicated ones
        whole_top : whether the top works on all samples
        valid : batches that are valid at a time
        """
        self._routing, self._group, self.counts = routing, group, routing.counts
        self.reads_whole_batch, self.travels_ahead = routing.reads_whole_batch, routing.travels_ahead
        self._takes_share = routing.reads_whole_batch and not whole_top
        self._sharded, self._replicated = FieldSelection(backend, ~fields, valid), FieldSelection(backend, fields, valid)

    def route(self, batch, direction):
        """function() -> Handle of the RoutedBatch of the sharded fields, with the Batch of the others.  Collective as that of its routing."""
        own = batch
        if self._takes_share:
            own = batch.share(*slice_of(len(batch), self._group.size, self._group.rank))
        send = self._routing.route(self._sharded.of(batch), direction)
        return lambda: send().then(lambda routed: replace(routed, replicated=self._replicated.of(own)))
