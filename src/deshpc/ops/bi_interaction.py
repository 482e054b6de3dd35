"""NFM's bi-interaction: sum_{i<j} x_i v_i * x_j v_j = 1/2 (A * A - Q), coordinate by coordinate.

partial  c = sum w_j xl_j, A = sum v_j x_j, Q = sum v_j^2 x_j^2: s = 2 k + 1 numbers whatever m is
finish   the tower's affair (`nn.pairs.BiInteraction`), which gives dA, dQ and g = dc
adjoint  dv_j = x_j dA + 2 x_j^2 v_j dQ, dw_j = g xl_j at the owner
"""

import numpy as np

from deshpc.ops.operator_set import worst


class BiInteraction:
    """The operator; its table has one linear and `dim` embedding weights a row."""

    name = "bi_interaction"
    scalars, own_terms, by_field, first = 1, False, False, 1

    def __init__(self, backend, compute, lanes, dim):
        self._backend, self.zero, self.dim, self._lanes = backend, np.dtype(compute).type(0), dim, lanes
        self.width = 1 + 2 * dim

    def begin(self, table, shards, group):
        """No row is worth a product of its own."""

    def partial(self, table, shards, state, scale, begin, end):
        """Write samples begin .. end of the first columns of `state`: the partials of all `shards`' rows, added up."""
        self._backend.pool.clear(state, self.width, begin, end)
        for shard in shards:
            self._backend.bi_interaction.partial(
                self._lanes, table.layout.number, self.zero, scale, self.dim, shard.offsets, shard.local, shard.values,
                shard.addresses, state, state.shape[1], begin, end,
            )  # fmt: skip

    def partial_adjoint(self, table, shard, state, scale):
        """Add the gradients of one shard's rows to its sums; state : gradient of the states."""
        self._backend.bi_interaction.partial_adjoint(
            self._lanes, self.zero, scale, self.dim, shard.offsets, shard.local, shard.values, shard.addresses, state,
            state.shape[1], shard.scalar_sums, shard.vector_sums,
        )  # fmt: skip

    def magnitude(self, table, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._backend.bi_interaction.magnitude(*self._rows(table, shard))

    def largest_term(self, table, shards, state, largest_values, begin, end):
        """(bound of the |terms| of gradient sums of `shards`' rows, its sample); state : gradient of the states."""
        return worst(
            self._backend.bi_interaction.largest_term(*self._rows(table, shard), state, state.shape[1]) for shard in shards
        )

    def _rows(self, table, shard):
        return (
            self._lanes, table.layout.number, self.zero, self.dim, shard.offsets, shard.local, shard.values, shard.addresses,
        )  # fmt: skip
