"""Pooled embeddings of fields whose rows are in several tables: one `Pool` for each, whose states are columns of one array.

partial  [c | E_1 .. E_F], E_f of as many numbers as field f's embeddings have
"""


class PoolSet:
    """The operator; every Pool has the columns of its own table's fields, and -1 for the others."""

    name, by_field = "pool", True

    def __init__(self, backend, pools, width):
        """pools : {Table: Pool}
        width : numbers of a sample's state"""
        self._backend, self._pools, self.width = backend, pools, width
        self.embeddings_at = next(iter(pools.values())).embeddings_at

    def begin(self, shards, group):
        """No row is worth a product of its own."""

    def partial(self, shards, state, scale, begin, end):
        """Write samples begin .. end of the first columns of `state`: the partials of all `shards`' rows, added up."""
        cleared = self.width
        for shard in shards:
            self._pools[shard.table].add(shard, state, scale, begin, end, cleared)
            cleared = 0

    def partial_adjoint(self, shard, state, scale):
        """Add the gradients of one shard's rows to its sums; state : gradient of the states."""
        self._pools[shard.table].partial_adjoint(shard, state, scale)

    def magnitude(self, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._pools[shard.table].magnitude(shard)

    def largest_factor(self, state, begin, end):
        """1, as of every Pool."""
        return 1.0
