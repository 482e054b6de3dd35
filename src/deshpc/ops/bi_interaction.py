"""NFM's bi-interaction: sum_{i<j} x_i v_i * x_j v_j = 1/2 (A * A - Q), coordinate by coordinate.

partial  c = sum w_j xl_j, A = sum v_j x_j, Q = sum v_j^2 x_j^2: s = 2 k + 1 numbers whatever m is
finish   the tower's affair (`nn.pairs.BiInteraction`), which gives dA, dQ and g = dc
adjoint  dv_j = x_j dA + 2 x_j^2 v_j dQ, dw_j = g xl_j at the owner
"""

import math

import numpy as np

_ROUNDED = 2.0**-10
"""More than the rounding of a sample's terms takes away from Q in fixed point: 2^-33 of each."""


class BiInteraction:
    """The operator; its table has one linear and `dim` embedding weights a row."""

    name = "bi_interaction"
    scalars, own_terms, by_field, embeddings_at = 1, False, False, 1

    def __init__(self, backend, form):
        """form : WeightForm of the table"""
        self._backend, self._form, self.width = backend, form, 1 + 2 * form.dim
        self._scratch = backend.buffers()

    def begin(self, shards, group):
        """No row is worth a product of its own."""

    def partial(self, shards, state, scale, begin, end):
        """Write samples begin .. end of the first columns of `state`: the partials of all `shards`' rows, added up."""
        self._backend.pool.clear(state, self.width, begin, end)
        for shard in shards:
            self._backend.bi_interaction.partial(self._form, shard.occurrences, state, scale, begin, end)

    def partial_adjoint(self, shard, state, scale):
        """Add the gradients of one shard's rows to its sums; state : gradient of the states."""
        self._backend.bi_interaction.partial_adjoint(self._form, shard.occurrences, state, shard.sums, scale)

    def magnitude(self, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._backend.bi_interaction.magnitude(self._form, shard.occurrences)

    def largest_factor(self, state, begin, end):
        """1 + 2 max |v x|: terms are g xl and x (dA + 2 x v dQ), and of every occurrence v^2 x^2 <= Q, up to rounding."""
        dim, ones = (self.width - 1) // 2, self._scratch.array("ones", end - begin, np.float64)
        self._backend.arrays.fill(ones, 1)
        squares, _ = self._backend.pool.largest_term(state[:, 1 + dim : self.width], dim, ones, begin, end)
        return 1.0 + 2.0 * math.sqrt(squares + _ROUNDED)
