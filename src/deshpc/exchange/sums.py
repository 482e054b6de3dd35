"""Owners' partials of every sample are added up over ranks: nothing else travels."""

from deshpc.comm.ledger import Traffic
from deshpc.exchange.contract import Partials


class AllReduce:
    """Every rank gets all B complete states and repeats the cheap top.

    Forward: all-reduce, consumer replicated.  Backward: identity, since every rank has computed the gradient of all B
    states itself.

            rank 0        rank 1                rank 0          rank 1
        s0  a             b            ->   s0  a + b           a + b
        s1  c             d                 s1  c + d           c + d
    """

    whole_top, moves_rows = True, False

    def __init__(self, backend, group, operators):
        self._group, self._operators = group, operators

    def start(self, found, scale):
        """Start the all-reduce of partials.  Collective."""
        samples, stays = found.routed.samples, self._group.size == 1
        state = self._operators.partial(found.rows, samples, scale, found, stays)
        traffic = Traffic(self._operators.name, "partials", found.direction)
        return self._group.sum_samples(state, traffic).then(lambda whole: Partials(whole, found.rows))

    def give_back(self, found, partials, gradient, scale):
        """Add the gradients of own rows, from the gradients (B, s) of all states.  Not collective."""
        self._operators.partial_adjoint(found.rows, gradient, scale)
        return found.rows


class ReduceScatter:
    """Every rank gets the complete states of its own samples; the top is data-parallel.

    Forward: reduce-scatter over samples.  Backward: all-gather of the states' gradients.

            rank 0        rank 1                rank 0          rank 1             rank 0     rank 1
        s0  a             b            ->   s0  a + b                      ->  s0  ds0        ds0
        s1  c             d                 s1                  c + d          s1  ds1        ds1
    """

    whole_top, moves_rows = False, False

    def __init__(self, backend, group, operators):
        self._group, self._operators, self._scratch = group, operators, backend.buffers()

    def start(self, found, scale):
        """Start the reduce-scatter of partials.  Collective."""
        state = self._operators.partial(found.rows, found.routed.samples, scale, found)
        traffic = Traffic(self._operators.name, "partials", found.direction)
        return self._group.reduce_samples(state, traffic).then(lambda share: Partials(share, found.rows))

    def give_back(self, found, partials, gradient, scale):
        """Add the gradients of own rows, from the gradients (b, s) of this rank's samples' states.  Collective."""
        whole = self._scratch.array("gradient", (found.routed.samples, gradient.shape[1]), gradient.dtype)
        traffic = Traffic(self._operators.name, "gradients", "backward")
        self._operators.partial_adjoint(found.rows, self._group.gather_samples(gradient, whole, traffic).wait(), scale)
        return found.rows
