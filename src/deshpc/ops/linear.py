"""Linear term: logit = sum_j w_j x_j over keys and dense features.

partial z = sum of w x over a rank's own keys, s = 1;  finish: z plus the dense features' terms;  adjoint dw = g x.
"""


class Linear:
    """The linear operator; its table has one linear weight a row."""

    name = "linear"
    scalars, width, own_terms, by_field = 1, 1, False, False

    def __init__(self, backend, form, n_dense):
        """form : WeightForm of the table"""
        self._backend, self._form = backend, form
        self.parameters = {"linear.weights": (n_dense,)}

    def begin(self, parameters):
        """Set the dense parameters' first values: weights start at zero."""

    def partial(self, shard, state, column, scale):
        """Write column `column` of `state` (n, width): the partial of one shard's rows."""
        weights = shard.scratch.array("linear weights", len(shard.occurrences.addresses), self._form.zero.dtype)
        self._backend.linear.partial(self._form, shard.occurrences, weights, state, column, scale)

    def finish(self, state, column, dense, parameters, logit, begin, end):
        """Add this operator's share to the logits begin .. end."""
        self._backend.linear.finish(self._form, state, column, dense, parameters["linear.weights"], logit, begin, end)

    def finish_adjoint(self, state, column, dense, parameters, gradient, scale, parts):
        """Turn `state` into the gradient of the loss by the state, from that by the logit (n); add up dense gradients: of some Parts."""
        sums = parameters.sums_of("linear.weights")
        self._backend.linear.finish_adjoint(self._form, state, column, dense, gradient, sums, scale, parts)

    def partial_adjoint(self, shard, state, column, scale):
        """Add the gradients of one shard's rows to its sums."""
        self._backend.linear.partial_adjoint(self._form, shard.occurrences, state, column, shard.sums, scale)

    def magnitude(self, shard):
        """(largest sum of |terms| of a partial of one shard's rows, its sample)."""
        return self._backend.linear.magnitude(self._form, shard.occurrences)

    def largest_term(self, state, column, gradient, parameters, largest_values, begin, end):
        """(largest |term| of gradient sums of samples begin .. end, its sample)."""
        return self._backend.linear.largest_term(gradient, largest_values, begin, end)
