"""A table: this rank's shards of the rows of one dimension and optimizer, and the gradient sums of a batch."""

from dataclasses import dataclass

import numpy as np

from deshpc.backend.record import CACHE_LINE, WEIGHTS, RecordLayout
from deshpc.hashing.partition import owners
from deshpc.table.shard import Initialisation, Rows, Shard


@dataclass(frozen=True)
class ShardRows:
    """A batch at one shard: which rows its occurrences touch, and the sums of their gradients.

    offsets (B + 1) int64, local (nnz) int32: distinct row of each occurrence, values (nnz) float32 or None,
    addresses (distinct) int64
    scalar_sums (distinct), vector_sums (distinct, dim), self_sums (distinct) or None: zero, of the compute type
    """

    offsets: np.ndarray
    local: np.ndarray
    values: np.ndarray | None
    addresses: np.ndarray
    scalar_sums: np.ndarray | None
    vector_sums: np.ndarray | None
    self_sums: np.ndarray | None


class Table:
    """Rows `[w, v_1 .. v_dim]` (w only if `scalars` = 1) split by `partition`; this rank holds its shards."""

    def __init__(self, backend, group, partition, scalars, dim, precision, compute, optimizer, seed, init_std):
        self._backend, self._group, self._partition, self.optimizer = backend, group, partition, optimizer
        state = optimizer.state_numbers
        self.layout = RecordLayout(scalars, dim, precision, state(scalars), state(dim))
        self.zero = np.dtype(compute).type(0)
        self.lanes = backend.lanes(dim, precision, compute) if dim else None
        start = Initialisation(seed, init_std, optimizer.state_start)
        self._shards = [Shard(backend, self.layout, start) for _ in range(partition.shards)]
        self._sums = [backend.buffers() for _ in self._shards]

    def __len__(self):
        """Rows at this rank."""
        return sum(map(len, self._shards))

    @property
    def nbytes(self):
        """Bytes of rows and index at this rank."""
        return sum(shard.nbytes for shard in self._shards)

    def lookup(self, routed, insert):
        """[ShardRows of each shard] of a RoutedBatch; unseen keys are inserted, or read as zeros.

        Valid until the next call.  Not collective.
        """
        return self._backend.each(self._lookup, [(s, routed, insert) for s in range(len(self._shards))])

    def update(self, shards, step):
        """Apply the optimizer to the rows that the batch touched.  Not collective."""
        self._backend.each(self._update, [(shard, step) for shard in shards])

    def export(self):
        """All rows of this rank, in key order (`Rows`)."""
        return Rows.concatenate([shard.export() for shard in self._shards])

    def load(self, rows):
        """Take from `rows` (any keys, `Rows`) those that this rank owns; returns how many.  Not collective."""
        owner = owners(self._partition, rows.keys, rows.fields)
        first, taken = self._group.rank * self._partition.shards, 0
        for s, shard in enumerate(self._shards):
            mine = owner == first + s
            shard.load(Rows(rows.keys[mine], rows.fields[mine], rows.counts[mine], rows.steps[mine], rows.numbers[mine]))
            taken += int(mine.sum())
        return taken

    def _lookup(self, s, routed, insert):
        owned, shard = routed.shards[s], self._shards[s]
        found = shard.find_or_insert(owned.keys, owned.fields, routed.step) if insert else shard.find(owned.keys)
        local = found.local
        if owned.occurrences is not None:
            self._backend.routing.through(owned.occurrences, found.local)
            local = owned.occurrences
        zeros, n, dim, compute = self._sums[s].zeros, found.distinct, self.layout.dim, self.zero.dtype
        scalar = zeros("scalar", n, compute) if self.layout.scalars else None
        vector = zeros("vector", (n, dim), compute) if dim else None
        own = None if owned.values is None or not dim else zeros("self", n, compute)
        return ShardRows(owned.offsets, local, owned.values, found.addresses, scalar, vector, own)

    def _update(self, shard, step):
        layout, size = self.layout, np.dtype(self.layout.precision).itemsize
        lines = -(-(WEIGHTS + layout.numbers * size) // CACHE_LINE)
        own = shard.scalar_sums if shard.self_sums is None else shard.self_sums
        self.optimizer.update_rows(
            self._backend.update,
            (self.lanes, layout.number, self.zero, layout.dim, lines, shard.addresses, 1.0),
            (shard.scalar_sums, shard.vector_sums, own if layout.dim else None),
            np.uint32(step),
            self.zero,
        )
