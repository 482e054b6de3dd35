"""A model's state and the stages of a step: route, look up, partial, exchange, finish, and the same walked back."""

from dataclasses import dataclass

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.table.routing import RoutedBatch
from deshpc.table.table import ShardRows


@dataclass(frozen=True)
class Forward:
    """What the way back needs: the routed batch, each shard's rows, the complete states (B, s), logits (B), and room
    for the gradient of the loss by the logits (B)."""

    routed: RoutedBatch
    shards: list[ShardRows]
    state: np.ndarray
    logit: np.ndarray
    gradient: np.ndarray


class Model:
    """Operators on one table, their logits added to a bias.

    The states of all operators lie side by side in one array (B, s), so that a step makes one aggregating
    collective however many operators there are.
    """

    def __init__(self, backend, group, routing, exchange, table, operators, parameters):
        self.backend, self.group, self.routing, self.exchange = backend, group, routing, exchange
        self.table, self.operators, self.parameters = table, operators, parameters
        self.zero = table.zero
        self.columns = np.cumsum([0] + [operator.width for operator in operators])
        self._scratch = backend.buffers()
        self._traffic_name = "+".join(operator.name for operator in operators)

    @property
    def width(self):
        """s, numbers of a sample's state."""
        return int(self.columns[-1])

    def forward(self, batch, train):
        """Logits of a global batch, of which `batch` is what this rank's routing reads.  Collective.

        train : insert unseen keys; otherwise they read as zeros.  Valid until the next call.
        """
        direction = "forward" if train else "eval"
        routed = self.routing.route(batch, direction)
        shards = self.table.lookup(routed, insert=train)
        state = self._partial(shards, routed.samples)
        state = self.exchange.complete(state, Traffic(self._traffic_name, "partials", direction)).wait()
        logit = self._scratch.array("logit", routed.samples, self.zero.dtype)
        logit[:] = self.parameters["bias"]
        for operator, column in zip(self.operators, self.columns[:-1], strict=True):
            operator.finish(state, int(column), routed.dense, self.parameters, logit)
        gradient = self._scratch.array("gradient", routed.samples, self.zero.dtype)
        return Forward(routed, shards, state, logit, gradient)

    def backward(self, forward):
        """Sum the gradients of all rows and dense parameters, from `forward.gradient`.  Collective."""
        gradient = forward.gradient
        for operator, column in zip(self.operators, self.columns[:-1], strict=True):
            operator.finish_adjoint(forward.state, int(column), forward.routed.dense, self.parameters, gradient)
        self.parameters.gradient_of("bias")[...] = gradient.sum()
        state = self.exchange.distribute(forward.state, Traffic(self._traffic_name, "gradients", "backward")).wait()
        self.backend.each(self._partial_adjoint, [(shard, state) for shard in forward.shards])

    def update(self, forward):
        """Apply the update rule to the rows that the batch touched and to the dense parameters.  Not collective."""
        self.table.update(forward.shards, forward.routed.step)
        self.parameters.update()

    def _partial(self, shards, samples):
        """This rank's partials (B, s): those of its shards added up."""
        states = [
            self._scratch.array(f"state {i}", (samples, self.width), self.zero.dtype) for i in range(len(shards))
        ]
        self.backend.each(self._partial_of_shard, list(zip(shards, states, strict=True)))
        for other in states[1:]:
            states[0] += other
        return states[0]

    def _partial_of_shard(self, shard, state):
        for operator, column in zip(self.operators, self.columns[:-1], strict=True):
            operator.partial(self.table, shard, state, int(column))

    def _partial_adjoint(self, shard, state):
        for operator, column in zip(self.operators, self.columns[:-1], strict=True):
            operator.partial_adjoint(self.table, shard, state, int(column))
