"""One operator on one table whose partials are computed by samples: each thread reads rows of all shards of its rank.

So every number of a state is written by one thread, where states are wide: shards' states need not be added up.
"""

from deshpc.nn.parts import shares
from deshpc.ops.operator_set import worst


class BySamples:
    """The same interface to exchanges as an `OperatorSet`; what is above the states is a tower's affair."""

    layer_width = 0

    def __init__(self, backend, group, table, operator, room, repeats):
        """room : columns behind the states that the tower wants in the same array
        repeats : whether the tower can make use of `repeated`
        """
        self._backend, self._group, self.table, self.operator, self.room = backend, group, table, operator, room
        self._scratch, self.repeats = backend.buffers(), repeats
        self.repeated = None  # RepeatedRows of the last partials, where there are some and they stay
        self.name = operator.name

    @property
    def width(self):
        """s, numbers of a sample's state."""
        return self.operator.width

    def partial(self, shards, samples, scale, found=None, stays=False):
        """Partials (samples, s) of the ShardRows `shards`; with columns behind them if they stay.  Valid until the next call.

        Collective where rows may repeat.
        """
        shape = samples, self.width + (self.room if stays and self.table.sums_type.kind == "f" else 0)
        state = self._scratch.array("state", shape, self.table.sums_type)
        group = self._group if self.repeats and stays and found.train else None
        self.repeated = self.operator.begin(shards, group)
        self._backend.each(
            lambda begin, end: self.operator.partial(shards, state, scale, begin, end),
            shares(samples, self._backend.threads),
        )
        return state

    def partial_adjoint(self, shards, state, scale):
        """Add the gradients of the rows of `shards` to their sums; state (samples, s) is the states' gradient."""
        self._backend.each(
            lambda shard: self.operator.partial_adjoint(shard, state, scale), [(shard,) for shard in shards]
        )

    def magnitude(self, shards):
        """(largest sum of |terms| of any partial, its sample) over shards; NaN counts as largest."""
        return worst(self._backend.each(self.operator.magnitude, [(shard,) for shard in shards]))

    def largest_term(self, state, gradient, parameters, largest_values, begin, end):
        """(bound of all |terms| of gradient sums of samples begin .. end but for a factor, its sample).

        gradient : (n, s), of whole states, to which other ranks may add columns of their own fields;  NaN counts as largest
        """
        return self._backend.pool.largest_term(gradient, gradient.shape[1], largest_values, begin, end)

    def largest_factor(self, state, begin, end):
        """By how much the bound has to be multiplied."""
        return self.operator.largest_factor(state, begin, end)
