"""Linear term: logit = sum_j w_j x_j over keys and dense features.

partial z = sum of w x over a rank's own keys, s = 1;  finish: z plus the dense features' terms;  adjoint dw = g x.
"""

import numpy as np

from deshpc.nn.parts import PARTS, part, parts_of


class Linear:
    """The linear operator; its table has one linear weight a row."""

    name = "linear"
    scalars, dim, width = 1, 0, 1

    def __init__(self, backend, n_dense, compute):
        self._backend, self.zero = backend, np.dtype(compute).type(0)
        self.parameters = {"linear.weights": (n_dense,)}
        self._weight_sums = np.zeros((PARTS, n_dense), compute)

    def begin(self, parameters):
        """Set the dense parameters' first values: weights start at zero."""

    def partial(self, table, shard, state, column):
        """Write column `column` of `state` (B, width): the partial of one shard's rows."""
        self._backend.linear.partial(
            table.layout.number, self.zero, 1.0, shard.offsets, shard.local, shard.values, shard.addresses,
            state, state.shape[1], column,
        )  # fmt: skip

    def finish(self, state, column, dense, parameters, logit):
        """Add this operator's share to logit (B)."""
        weights = parameters["linear.weights"]
        threads, samples = self._backend.threads, len(logit)
        self._backend.each(
            self._backend.linear.finish,
            [
                (self.zero, state, state.shape[1], column, dense, weights, logit, part(samples, a)[0], part(samples, b)[0])
                for a, b in parts_of(threads)
            ],
        )

    def finish_adjoint(self, state, column, dense, parameters, gradient):
        """Turn `state` into the gradient of the loss by the state, from that by the logit (B); fill dense gradients."""
        self._weight_sums[:] = 0

        def of_parts(first, last):
            for p in range(first, last):
                self._backend.linear.finish_adjoint(
                    self.zero, state, state.shape[1], column, dense, gradient, self._weight_sums[p], *part(len(gradient), p)
                )

        self._backend.each(of_parts, parts_of(self._backend.threads))
        parameters.gradient_of("linear.weights")[:] = self._weight_sums.sum(axis=0)

    def partial_adjoint(self, table, shard, state, column):
        """Add the gradients of one shard's rows to its sums."""
        self._backend.linear.partial_adjoint(
            self.zero, 1.0, shard.offsets, shard.local, shard.values, state, state.shape[1], column, shard.scalar_sums
        )
