"""Linear term: logit = sum_j w_j x_j over keys and dense features.

partial z = sum of w x over a rank's own keys, s = 1;  finish: z plus the dense features' terms;  adjoint dw = g x.
"""

import numpy as np

from deshpc.nn.parts import edges, parts_of


class Linear:
    """The linear operator; its table has one linear weight a row."""

    name = "linear"
    scalars, dim, width, own_terms, by_field = 1, 0, 1, False, False

    def __init__(self, backend, n_dense, compute):
        self._backend, self.zero = backend, np.dtype(compute).type(0)
        self.parameters = {"linear.weights": (n_dense,)}

    def begin(self, parameters):
        """Set the dense parameters' first values: weights start at zero."""

    def partial(self, table, shard, state, column, scale):
        """Write column `column` of `state` (B, width): the partial of one shard's rows."""
        weights = shard.scratch.array("linear weights", len(shard.addresses), self.zero.dtype)
        self._backend.linear.partial(
            table.layout.number, self.zero, scale, shard.offsets, shard.local, shard.values, shard.addresses, weights,
            state, state.shape[1], column,
        )  # fmt: skip

    def finish(self, state, column, dense, parameters, logit):
        """Add this operator's share to logit (n)."""
        weights = parameters["linear.weights"]
        places = edges(len(logit))
        self._backend.each(
            self._backend.linear.finish,
            [
                (self.zero, state, state.shape[1], column, dense, weights, logit, places[a], places[b])
                for a, b in parts_of(self._backend.threads)
            ],
        )

    def finish_adjoint(self, state, column, dense, parameters, gradient, scale):
        """Turn `state` into the gradient of the loss by the state, from that by the logit (n); add up dense gradients."""

        sums, places = parameters.sums_of("linear.weights"), edges(len(gradient))
        self._backend.each(
            self._backend.linear.finish_adjoint,
            [
                (self.zero, scale, state, state.shape[1], column, dense, gradient, sums, places, a, b)
                for a, b in parts_of(self._backend.threads)
            ],
        )

    def partial_adjoint(self, table, shard, state, column, scale):
        """Add the gradients of one shard's rows to its sums."""
        self._backend.linear.partial_adjoint(
            self.zero, scale, shard.offsets, shard.local, shard.values, shard.grouping, state, state.shape[1], column,
            shard.scalar_sums,
        )  # fmt: skip

    def magnitude(self, table, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._backend.linear.magnitude(
            table.layout.number, shard.offsets, shard.local, shard.values, shard.addresses
        )

    def largest_term(self, state, column, gradient, parameters, largest_values, begin, end):
        """(largest |term| of gradient sums of samples begin .. end, its sample)."""
        return self._backend.linear.largest_term(gradient, largest_values, begin, end)
