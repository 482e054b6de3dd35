"""Factorization machine (Rendle's): logit = sum_j w_j x_j + sum_{i<j} <v_i, v_j> x_i x_j.

An occurrence may have an x of its own for the linear weight, xl, where a field pools the two in different ways.

partial  A = sum v_j x_j (k numbers), c = sum (w_j xl_j - |v_j|^2 x_j^2 / 2): s = k + 1 numbers whatever m is
finish   c + |A|^2 / 2, with the dense features' terms added to A and c
adjoint  dA = g A, dc = g at the top;  dw_j = g xl_j, dv_j = g x_j (A - v_j x_j) at the owner
"""

import numpy as np


class FM:
    """The FM operator; its table has one linear and `dim` embedding weights a row."""

    name = "fm"
    scalars, own_terms, by_field = 1, True, False

    def __init__(self, backend, form, n_dense, seed, init_std):
        """form : WeightForm of the table"""
        self._backend, self._form, self.width = backend, form, form.dim + 1
        self._seed, self._init_std = seed, init_std
        self.parameters = {"fm.weights": (n_dense,), "fm.factors": (n_dense, form.dim)}

    def begin(self, parameters):
        """Set the dense parameters' first values: factors as a table would start rows, weights at zero."""
        n_dense, dim = parameters["fm.factors"].shape
        parameters.set("fm.factors", first_factors(self._seed, n_dense, dim, self._init_std))

    def partial(self, shard, state, column, scale):
        """Write columns column .. column + k of `state` (n, width): the partial of one shard's rows."""
        self._backend.fm.partial(self._form, shard.occurrences, state, column, scale)

    def finish(self, state, column, dense, parameters, logit, begin, end):
        """Add this operator's share to the logits begin .. end; completes A in `state` by the dense features."""
        weights, factors = parameters["fm.weights"], parameters["fm.factors"]
        self._backend.fm.finish(self._form, state, column, dense, weights, factors, logit, begin, end)

    def finish_adjoint(self, state, column, dense, parameters, gradient, scale, parts):
        """Turn `state` into the gradient of the loss by the state, from that by the logit (n); add up dense gradients: of some Parts."""
        factors, sums = parameters["fm.factors"], (parameters.sums_of("fm.weights"), parameters.sums_of("fm.factors"))
        self._backend.fm.finish_adjoint(self._form, state, column, dense, factors, gradient, *sums, scale, parts)

    def partial_adjoint(self, shard, state, column, scale):
        """Add the gradients of one shard's rows to its sums."""
        self._backend.fm.partial_adjoint(self._form, shard.occurrences, state, column, shard.sums, scale)

    def magnitude(self, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._backend.fm.magnitude(self._form, shard.occurrences)

    def largest_term(self, state, column, gradient, parameters, largest_values, begin, end):
        """(bound of all |terms| of gradient sums of samples begin .. end, its sample)."""
        return self._backend.fm.largest_term(
            self._form, state, column, gradient, parameters["fm.factors"], largest_values, begin, end
        )


def first_factors(seed, n_dense, dim, std):
    """First factors (n_dense, k) float64 of dense features."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (generator.random((n_dense, dim)) * 2 - 1) * (3**0.5 * std)
