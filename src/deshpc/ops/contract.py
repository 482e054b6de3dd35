"""What owners compute, and what an exchange asks of it."""

from typing import Protocol


class Operators(Protocol):
    """What owners compute of a batch: `OperatorSet`, `BySamples` of towers, `OwnerTower` of the owners' part of one.

    A ShardRows is a batch at one shard, see `table.table`.
    """

    name: str
    """Of the messages, in the ledger."""

    width: int
    """s, numbers of a sample's state."""

    layer_width: int
    """Numbers a sample that are added up over ranks between the owners' layers."""

    repeats: bool
    """Whether rows that a batch repeats are looked for, which ranks agree on."""

    def partial(self, shards, samples, scale, found=None, stays=False):
        """Partials (samples, >= s) of the rows `shards`, added up.  Valid until the next call.

        shards : [ShardRows]
        samples : of which the rows are
        scale : of terms in fixed point
        found : Found, the batch
        stays : whether the partials are complete as they are, and go nowhere
        Collective, where owners' layers or repeated rows span ranks.
        """

    def partial_adjoint(self, shards, state, scale):
        """Add the gradients of the rows `shards` to their sums.

        shards : as of `partial`
        state : (samples, s), the gradient of the states
        scale : of sums in fixed point
        """


class BoundedOperators(Operators, Protocol):
    """Operators whose sums can be in fixed point: `OperatorSet`, `BySamples`.  In both answers NaN counts as largest."""

    def magnitude(self, shards):
        """(largest sum of |terms| of any partial, its sample)."""

    def largest_term(self, state, gradient, parameters, largest_values, begin, end):
        """(bound of all |terms| of sums of gradients, its sample), but for the factor that `largest_factor` has.

        state : (n, >= s), complete
        gradient : (n) by the logits, or (n, s) by the states where a tower has found it
        parameters : the dense ones
        largest_values : (b) largest |value| of each sample of this rank's share
        begin, end : samples of `state` that are this rank's share
        """

    def largest_factor(self, state, begin, end):
        """By how much the largest term of all ranks has to be multiplied, by the largest factor of all, to be a bound.

        state, begin, end : of `largest_term`
        A device is waited for, where states decide.
        """
