"""Factorization machine (Rendle's): logit = sum_j w_j x_j + sum_{i<j} <v_i, v_j> x_i x_j.

partial  A = sum v_j x_j (k numbers), c = sum (w_j x_j - |v_j|^2 x_j^2 / 2): s = k + 1 numbers whatever m is
finish   c + |A|^2 / 2, with the dense features' terms added to A and c
adjoint  dA = g A, dc = g at the top;  dw_j = g x_j, dv_j = g x_j (A - v_j x_j) at the owner
"""

import numpy as np

from deshpc.nn.parts import PARTS, part, parts_of


class FM:
    """The FM operator; its table has one linear and `dim` embedding weights a row."""

    name = "fm"
    scalars = 1

    def __init__(self, backend, n_dense, compute, precision, dim, seed, init_std):
        self._backend, self.zero, self.dim, self.width = backend, np.dtype(compute).type(0), dim, dim + 1
        self._lanes = backend.lanes(dim, precision, compute)
        self._seed, self._init_std = seed, init_std
        self.parameters = {"fm.weights": (n_dense,), "fm.factors": (n_dense, dim)}
        self._weight_sums = np.zeros((PARTS, n_dense), compute)
        self._factor_sums = np.zeros((PARTS, n_dense, dim), compute)
        self._self_sums = np.zeros((PARTS, n_dense), compute)

    def begin(self, parameters):
        """Set the dense parameters' first values: factors as a table would start rows, weights at zero."""
        factors = parameters["fm.factors"]
        generator = np.random.Generator(np.random.Philox(self._seed))
        factors[...] = (generator.random(factors.shape) * 2 - 1) * (3**0.5 * self._init_std)

    def partial(self, table, shard, state, column):
        """Write columns column .. column + k of `state` (B, width): the partial of one shard's rows."""
        self._backend.fm.partial(
            self._lanes, table.layout.number, self.zero, 1.0, self.dim, shard.offsets, shard.local, shard.values,
            shard.addresses, state, state.shape[1], column,
        )  # fmt: skip

    def finish(self, state, column, dense, parameters, logit):
        """Add this operator's share to logit (B); completes A in `state` by the dense features."""
        weights, factors = parameters["fm.weights"], parameters["fm.factors"]
        threads, samples = self._backend.threads, len(logit)
        self._backend.each(
            self._backend.fm.finish,
            [
                (self._lanes, self.zero, self.dim, state, state.shape[1], column, dense, weights, factors, logit,
                 part(samples, a)[0], part(samples, b)[0])
                for a, b in parts_of(threads)
            ],
        )  # fmt: skip

    def finish_adjoint(self, state, column, dense, parameters, gradient):
        """Turn `state` into the gradient of the loss by the state, from that by the logit (B); fill dense gradients."""
        for sums in (self._weight_sums, self._factor_sums, self._self_sums):
            sums[...] = 0

        def of_parts(first, last):
            for p in range(first, last):
                self._backend.fm.finish_adjoint(
                    self._lanes, self.zero, self.dim, state, state.shape[1], column, dense, gradient,
                    self._weight_sums[p], self._factor_sums[p], self._self_sums[p], *part(len(gradient), p),
                )  # fmt: skip

        self._backend.each(of_parts, parts_of(self._backend.threads))
        parameters.gradient_of("fm.weights")[:] = self._weight_sums.sum(axis=0)
        own = self._self_sums.sum(axis=0)[:, None] * parameters["fm.factors"]
        parameters.gradient_of("fm.factors")[:] = self._factor_sums.sum(axis=0) - own

    def partial_adjoint(self, table, shard, state, column):
        """Add the gradients of one shard's rows to its sums."""
        self._backend.fm.partial_adjoint(
            self._lanes, self.zero, 1.0, self.dim, shard.offsets, shard.local, shard.values, state, state.shape[1], column,
            shard.scalar_sums, shard.vector_sums, shard.self_sums,
        )  # fmt: skip
