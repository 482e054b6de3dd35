"""The operators of a model side by side: their states are columns of one array, so one exchange serves them all."""

import numpy as np


class OperatorSet:
    """Operators on one table.  width : s, numbers of a sample's state

    Sums have the accumulation type; `scale` is that of fixed-point sums and means nothing in floating point.
    """

    # nothing is added up between layers, and no row has a product of its own: see `ops.owner_tower` and `ops.by_samples`
    layer_width, repeats = 0, False

    def __init__(self, backend, table, operators):
        columns = [int(c) for c in np.cumsum([0] + [operator.width for operator in operators])]
        self._backend, self.table, self.width = backend, table, columns[-1]
        self._placed = list(zip(operators, columns, strict=False))
        self._scratch = backend.buffers()
        self.name = "+".join(operator.name for operator in operators)

    def partial(self, shards, samples, scale, found=None, stays=False):
        """Partials (samples, s) of the ShardRows `shards`, added up: integers exactly.  Valid until the next call.

        found : the batch
        stays : the partials are complete and go nowhere
        """
        states = [
            self._scratch.array(f"state {i}", (samples, self.width), self.table.sums_type) for i in range(len(shards))
        ]

        def of_shard(shard, state):
            for operator, column in self._placed:
                operator.partial(shard, state, column, scale)

        self._backend.each(of_shard, list(zip(shards, states, strict=True)))
        for other in states[1:]:
            self._backend.arrays.put(other, states[0], add=True)
        return states[0]

    def finish(self, state, dense, parameters, logit, parts):
        """Add to logit (n), of some Parts of the samples, what complete states (n, s) give; the adjoint needs these as this leaves them."""
        begin, end = int(parts.edges[parts.begin]), int(parts.edges[parts.end])
        for operator, column in self._placed:
            operator.finish(state, column, dense, parameters, logit, begin, end)

    def finish_adjoint(self, state, dense, parameters, gradient, scale, parts):
        """Turn `state` into the gradient of the loss by it, from that by the logit (n); add up dense gradients: of some Parts."""
        for operator, column in self._placed:
            operator.finish_adjoint(state, column, dense, parameters, gradient, scale, parts)

    def partial_adjoint(self, shards, state, scale):
        """Add the gradients of the rows of `shards` to their sums; state (samples, s) is the states' gradient."""

        def of_shard(shard):
            for operator, column in self._placed:
                operator.partial_adjoint(shard, state, column, scale)

        self._backend.each(of_shard, [(shard,) for shard in shards])

    def magnitude(self, shards):
        """(largest sum of |terms| of any partial, its sample) over shards and operators; NaN counts as largest."""
        found = self._backend.each(
            lambda shard: [operator.magnitude(shard) for operator, _ in self._placed],
            [(shard,) for shard in shards],
        )
        return worst(one for of_shard in found for one in of_shard)

    def largest_term(self, state, gradient, parameters, largest_values, begin, end):
        """(bound of all |terms| of gradient sums of samples begin .. end, its sample); NaN counts as largest."""
        return worst(
            operator.largest_term(state, column, gradient, parameters, largest_values, begin, end)
            for operator, column in self._placed
        )

    def largest_factor(self, state, begin, end):
        """1: the bounds are whole."""
        return 1.0


def worst(found):
    """The (number, sample) of the largest number, NaN before all."""
    return max(found, key=lambda one: (one[0] != one[0], one[0]))
