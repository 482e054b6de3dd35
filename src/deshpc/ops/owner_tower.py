"""The part of a deep model that owners compute: from the embeddings that a rank's rows give to a partial of a few columns.

    pooled rows (B, F_p k_p) -> the definition's `partial` -> (B, s)   added up over ranks by an exchange
                             <- its adjoint                <- the gradient of the complete states

Owners see all B samples.  Gradients of the parameters that they use are sums over own rows alone: `Parameters.take_owner_sums`.
"""

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.nn.blocks import Inputs, block_edges, new_tapes
from deshpc.nn.lockstep import lockstep
from deshpc.nn.parts import shares
from deshpc.nn.tape import Gradient


class OwnerTower:
    """The interface of an `OperatorSet` to exchanges, on one table and one pooling operator."""

    repeats = False

    def __init__(self, backend, group, table, operator, definition, parameters, sums, compute, n_dense):
        """operator : `Pool` of this rank's fields and columns
        sums : `SlotSums` of the parameters that `partial` uses"""
        self._group = group
        self._backend, self.table, self._operator, self._definition = backend, table, operator, definition
        self._parameters, self._sums, self._dtype, self._n_dense = parameters, sums, np.dtype(compute), n_dense
        self._scratch, self._under_way = backend.buffers(), []
        self._of_threads = [backend.buffers() for _ in range(backend.threads)]
        self.name, self.width, self.layer_width = operator.name, sum(definition.partial_widths), definition.layer_width

    def partial(self, shards, samples, scale, found, stays=False):
        """Partials (samples, s) of the ShardRows `shards`.  Valid until the next call."""
        pooled = self._scratch.array("pooled", (samples, self._operator.width), self._dtype)
        self._backend.each(
            lambda begin, end: self._operator.partial(shards, pooled, scale, begin, end),
            shares(samples, self._backend.threads),
        )
        gradient = self._scratch.array("gradient", pooled.shape, self._dtype) if found.train else None
        state = self._scratch.array("state", (samples, self.width), self._dtype)
        dense = self._dense(found, samples)
        edges = block_edges(samples, self._backend)
        blocks = list(zip(edges, edges[1:], strict=False))
        tapes = new_tapes(
            self._backend, self._of_threads, self._parameters, self._sums, blocks, found.routed.step, 0, found.train, False
        )
        walks = [self._partial(tape, pooled, gradient, dense, state, a, b) for tape, (a, b) in zip(tapes, blocks, strict=True)]
        nodes = lockstep(self._backend, walks, None, lambda rows: self._over_ranks(rows, found.direction))
        self._under_way = list(zip(tapes, nodes, blocks, strict=True)) if found.train else []
        self._gradient = gradient
        return state

    def partial_adjoint(self, shards, state, scale):
        """Add the gradients of the rows of `shards` to their sums; state (samples, s) is the states' gradient."""
        walks = [self._backward(tape, nodes, state[a:b]) for tape, nodes, (a, b) in self._under_way]
        lockstep(self._backend, walks, None, lambda rows: self._over_ranks(rows, "backward"))
        self._under_way = []
        self._backend.each(
            lambda shard: self._operator.partial_adjoint(shard, self._gradient, scale), [(shard,) for shard in shards]
        )

    def _over_ranks(self, rows, direction):
        """Rows (B, r) of all samples, added up over ranks.  Collective."""
        return self._group.sum_samples(rows, Traffic(self.name, "layers", direction)).wait()

    def _dense(self, found, samples):
        """Dense features of all samples, where the definition's `partial` takes them: all ranks read whole batches then."""
        if not self._definition.owners_take_dense:
            return self._scratch.array("no dense", (samples, 0), self._dtype)
        dense = self._scratch.array("dense", (samples, self._n_dense), self._dtype)
        self._backend.arrays.put(found.routed.shards[0].batch.dense, dense)
        return dense

    def _partial(self, tape, pooled, gradient, dense, state, begin, end):
        embeddings_at = self._operator.embeddings_at
        of_scalar = of_pooled = None
        if gradient is not None:
            of_pooled = Gradient(gradient[begin:end, embeddings_at:])
            of_scalar = Gradient(gradient[begin:end, :1]) if embeddings_at else None
        embeddings = tape.input(pooled[begin:end, embeddings_at:], of_pooled)
        inputs = Inputs(
            tape.input(pooled[begin:end, :1], of_scalar) if embeddings_at else None, embeddings, tape.input(dense[begin:end]),
            embeddings,
        )
        nodes = yield from self._definition.partial(tape, inputs)
        column = 0
        for node, width in zip(nodes, self._definition.partial_widths, strict=True):
            self._backend.arrays.put(node.array.reshape(end - begin, width), state[begin:end, column : column + width])
            column += width
        if not tape.train:
            tape.close()
        return nodes

    def _backward(self, tape, nodes, gradient):
        column, pairs = 0, []
        for node, width in zip(nodes, self._definition.partial_widths, strict=True):
            part = tape.array((len(gradient), width), gradient.dtype)
            self._backend.arrays.put(gradient[:, column : column + width], part)
            pairs.append((node, part.reshape(node.array.shape)))
            column += width
        yield from tape.backward_from(pairs)
        tape.close()
