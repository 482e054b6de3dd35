"""A deep model's top: a tower of dense layers above complete pooled states, in blocks of samples.

A state's row and the sample's dense features lie side by side in one array, of which layers take columns as their input:

    [ c | E_1 .. E_F | dense ]        c : the first column, where the operator has one;   x_0 = E and dense
"""

from functools import partial

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slice_of
from deshpc.nn.blocks import Inputs, block_edges, fixed_edges, new_tapes
from deshpc.nn.lockstep import lockstep
from deshpc.nn.loss import BlockLosses
from deshpc.nn.parts import PARTS
from deshpc.nn.tape import Gradient
from deshpc.nn.task_losses import TaskLosses
from deshpc.top.contract import Learnt


class Tower:
    """A `Top`: runs a definition's `logit` over all samples of this rank's top, and back where the model learns.

    Samples are worked on in blocks.  A block is walked back as soon as its logits are known, while its arrays are in the caches; the
    next block of the same thread gets the same memory.  A thread adds up its blocks' gradients of parameters in a slot of `SlotSums`.
    Gradients are of the compute type, whatever sums are.

    In fixed point the global batch has the same blocks for any number of ranks and threads, and every block has a slot.  So products have
    the same bits, and what blocks add up to is added as integers, or in the order of the batch's PARTS.
    """

    def __init__(
        self, backend, group, whole_top, definition, rows, parameters, sums, accumulation, objective, *, width, embeddings_at,
        n_dense, by_block,
    ):  # fmt: skip
        """rows : `BySamples`, which knows the rows that a batch repeats, or the owners' part
        objective : `nn.loss.Objective`
        width : s, of a state
        embeddings_at : columns in front of E
        by_block : whether blocks are those of fixed point, and each has a slot of `sums`
        """
        self._backend, self._group, self._whole_top = backend, group, whole_top
        self._definition, self._rows, self._parameters, self._sums = definition, rows, parameters, sums
        self._accumulation, self._objective, self._zero = accumulation, objective, rows.table.form.zero
        self._width, self._embeddings_at, self._n_dense, self._by_block = width, embeddings_at, n_dense, by_block
        self._scratch, self._of_threads = backend.buffers(), [backend.buffers() for _ in range(backend.threads)]
        self._first_layers = () if definition.share else definition.first_layers
        self._outputs = (len(objective.tasks),) if objective.tasks else ()  # of a sample, beside one
        self._division = (1, 0) if whole_top else (group.size, group.rank)

    def score(self, found, partials):
        """Logits (n), or (n, T), of the compute type: see `Top`."""
        state = self._accumulation.numbers(partials.state)
        self._accumulation.check(found, partials.rows)
        walk = partial(self._scored, self._joined(state, found.routed), found.routed)
        return self._run(found, walk, "eval", False)

    def learn(self, found, partials):
        """Learnt, found block by block: see `Top`."""
        routed = found.routed
        n = len(routed.labels)
        x = self._joined(self._accumulation.numbers(partials.state), routed)
        gradient = self._scratch.array("gradient", (n, self._width), self._zero.dtype)
        losses = (TaskLosses if self._outputs else BlockLosses)(
            self._backend, self._objective, self._zero, len(self._blocks(routed)), routed.samples
        )
        logit = self._run(found, partial(self._learnt, x, gradient, losses, routed), "forward", True)
        for layer in self._first_layers:
            layer.finish(self._parameters, self._sums)
        largest = self._parameters.close_slots()
        scale, dense_scale = self._accumulation.gradient_scales(found, partials.rows, x, gradient, largest)
        self._parameters.add_slots(dense_scale)
        return Learnt(losses.terms, logit, gradient, scale, dense_scale)

    def _run(self, found, walk, direction, train):
        """Logits (n), or (n, T), of all samples.  walk : function(number of the block, tape, begin, end, logit) that gives its generator"""
        routed = found.routed
        n, before = len(routed.labels), 0
        if not self._whole_top:
            before = slice_of(routed.samples, self._group.size, self._group.rank)[0]
        logit, blocks = self._scratch.array("logit", (n, *self._outputs), self._zero.dtype), self._blocks(routed)
        tapes = new_tapes(
            self._backend, self._of_threads, self._parameters, self._sums, blocks, routed.step, before, train, self._by_block
        )
        self._sums.clear()
        self._direction = direction
        for layer in self._first_layers:
            layer.begin(self._parameters, self._rows.repeated, self._backend.threads)
        walks = [walk(b, tape, *block, logit) for b, (tape, block) in enumerate(zip(tapes, blocks, strict=True))]
        lockstep(self._backend, walks, self._combine)
        return logit

    def _blocks(self, routed):
        if self._by_block:
            edges = fixed_edges(routed.samples, self._backend, *self._division)
        else:
            edges = block_edges(len(routed.labels), self._backend)
        return list(zip(edges, edges[1:], strict=False))

    def _scored(self, x, routed, block, tape, begin, end, logit):
        """A generator, see `nn.lockstep`."""
        node = yield from self._logit(tape, x[begin:end], None, routed, begin, end)
        self._backend.arrays.put(node.array, logit[begin:end])
        tape.close()

    def _learnt(self, x, gradient, losses, routed, block, tape, begin, end, logit):
        """Forward and back: a generator, see `nn.lockstep`."""
        node = yield from self._logit(tape, x[begin:end], gradient, routed, begin, end)
        self._backend.arrays.put(node.array, logit[begin:end])
        slope = tape.array((end - begin, *self._outputs), self._zero.dtype)
        weights = None if routed.weights is None else routed.weights[begin:end]
        losses.slopes(block, node.array, routed.labels[begin:end], weights, slope)
        self._direction = "backward"  # all blocks get here between the same two yields
        yield from tape.backward(node, slope)
        tape.close()

    def _logit(self, tape, x, gradient, routed, begin, end):
        if self._definition.share is None:
            return self._definition.logit(tape, self._inputs(tape, x, gradient, routed.lengths, begin, end))
        return self._definition.finish(tape, *self._parts(tape, x, gradient, begin, end))

    def _inputs(self, tape, x, gradient, lengths, begin, end):
        embeddings_at, state_end = self._embeddings_at, self._width
        of_scalar = of_pooled = None
        if gradient is not None:
            of_pooled = Gradient(gradient[begin:end, embeddings_at:])
            of_scalar = Gradient(gradient[begin:end, :1]) if embeddings_at else None
        dense_end = state_end + self._n_dense
        return Inputs(
            tape.input(x[:, :1], of_scalar) if embeddings_at else None, tape.input(x[:, embeddings_at:state_end], of_pooled),
            tape.input(x[:, state_end:dense_end]), tape.input(x[:, embeddings_at:dense_end], of_pooled),
            None if lengths is None else tape.input(lengths[begin:end]),
        )  # fmt: skip

    def _parts(self, tape, x, gradient, begin, end):
        """Nodes of the dense features, and of what each of the owners' Nodes has added up to."""
        nodes, column = [tape.input(x[:, self._width : self._width + self._n_dense])], 0
        for width in self._definition.partial_widths:
            after = column + width
            target = None if gradient is None else Gradient(gradient[begin:end, column:after])
            nodes.append(tape.input(x[:, column:after], target))
            column = after
        return nodes

    def _joined(self, state, routed):
        """(n, s + n_dense): the states with the dense features behind them, in the same array if there is room."""
        arrays = self._backend.arrays
        if state.shape[1] < self._width + self._n_dense:
            joined = self._scratch.array("joined", (len(routed.labels), self._width + self._n_dense), self._zero.dtype)
            arrays.put(state, joined[:, : self._width])
            state = joined
        arrays.put(routed.dense, state[:, self._width :])
        return state

    def _combine(self, arrays):
        """The sum of the blocks' arrays, over all ranks as well; in fixed point added in the order of the batch's PARTS."""
        own = PARTS // self._division[0] if self._by_block else 1
        of_part = len(arrays) // own
        sums = [self._added(f"part {p}", arrays[p * of_part : (p + 1) * of_part]) for p in range(own)]
        if not self._whole_top:
            host = np.concatenate([self._backend.host(one) for one in sums])
            of_ranks = self._group.gather_numbers(host, Traffic("tower", "statistics", self._direction)).wait()
            sums = [self._backend.array(one) for one in of_ranks.reshape(-1, len(arrays[0]))]
        return self._added("statistics", sums)

    def _added(self, name, arrays):
        total = self._scratch.array(name, arrays[0].shape, arrays[0].dtype)
        for i, array in enumerate(arrays):
            self._backend.arrays.put(array, total, add=i > 0)
        return total
