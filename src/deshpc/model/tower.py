"""A deep model's top: a tower of dense layers above complete pooled states, in blocks of samples.

A state's row and the sample's dense features lie side by side in one array, of which layers take columns as their input:

    [ c | E_1 .. E_F | dense ]        c : the first column, where the operator has one;   x_0 = E and dense
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.nn.lockstep import lockstep
from deshpc.nn.tape import Gradient, Node, Tape

BLOCK_SAMPLES = 2048
"""Samples at most that a thread works on at a time: more of them share a split of the weights, fewer stay in the caches."""

_FIXED_BLOCKS, _FEWEST_SAMPLES = 16, 32


class TopSamples(NamedTuple):
    """The samples that a rank's top works on.

    dense (n, n_dense) float32;  step;  first : number of the first one in the global batch
    slopes : where the model learns from them, function(begin, end, logit, gradient) that sets the gradient of the loss by the
        logits of samples begin .. end;  otherwise None
    """

    dense: np.ndarray
    step: int
    first: int
    slopes: Callable | None

    @property
    def train(self):
        return self.slopes is not None


class Inputs(NamedTuple):
    """What a tower sees of a block of samples: Nodes.  first : column c (n), None where there is none
    pooled : the other columns of the state (n, F k);  dense (n, n_dense);  x0 : pooled and dense side by side"""

    first: Node | None
    pooled: Node
    dense: Node
    x0: Node


class Tower:
    """Runs a definition's `logit` over all samples of this rank's top, and back where the model learns.

    Samples are worked on in blocks.  A block is walked back as soon as its logits are known, while its arrays are in the caches; the
    next block of the same thread gets the same memory.  A thread adds up its blocks' gradients of parameters in a slot of `SlotSums`;
    in fixed point every block has one, and there are as many for any number of threads: the same bits.
    """

    scaled = False  # its gradients are of the compute type, whatever sums are

    def __init__(self, backend, group, whole_top, definition, rows, parameters, sums, compute, width, first, n_dense, by_block):
        """rows : `BySamples`, which knows the rows that a batch repeats, or the owners' part
        width : s, of a state;  first : columns in front of E;  by_block : a slot of `sums` for each block
        """
        self._backend, self._group, self._whole_top = backend, group, whole_top
        self._definition, self._rows, self._parameters, self._sums = definition, rows, parameters, sums
        self._dtype, self._width, self._first, self._n_dense, self._by_block = np.dtype(compute), width, first, n_dense, by_block
        self._scratch, self._of_threads = backend.buffers(), [backend.buffers() for _ in range(backend.threads)]
        self._first_layers = () if definition.share else definition.first_layers

    def forward(self, state, samples, logit):
        """Set logit (n) from complete states (n, >= s); where the model learns, find the gradients for `backward`, too.

        Collective, where a layer spans the batch.
        """
        n = len(logit)
        x = self._joined(state, samples.dense, n)
        gradient = None
        if samples.train:
            gradient = self._scratch.array("gradient", (n, self._width), self._dtype)
        edges = block_edges(n, self._backend.threads, self._by_block)
        blocks = list(zip(edges, edges[1:], strict=False))
        tapes = new_tapes(
            self._backend, self._of_threads, self._parameters, self._sums, blocks, samples.step, samples.first, samples.train,
            self._by_block,
        )  # fmt: skip
        self._sums.clear()
        self._direction = "forward" if samples.train else "eval"
        for layer in self._first_layers:
            layer.begin(self._parameters, self._rows.repeated, self._backend.threads)
        walks = [self._walk(tape, x, gradient, a, b, samples, logit) for tape, (a, b) in zip(tapes, blocks, strict=True)]
        lockstep(self._backend, walks, self._combine)
        self._gradient = gradient

    def backward(self, state, samples, gradient, scale):
        """The gradient of the loss by the states (n, s); those of the parameters are added up."""
        for layer in self._first_layers:
            layer.finish(self._parameters, self._sums)
        return self._gradient

    def _walk(self, tape, x, gradient, begin, end, samples, logit):
        """Forward, and back where the model learns: a generator, see `nn.lockstep`."""
        if self._definition.share is None:
            walk = self._definition.logit(tape, self._inputs(tape, x[begin:end], gradient, begin, end))
        else:
            walk = self._definition.finish(tape, *self._parts(tape, x[begin:end], gradient, begin, end))
        node = yield from walk
        logit[begin:end] = node.array
        if samples.train:
            slope = np.empty(end - begin, self._dtype)
            samples.slopes(begin, end, node.array, slope)
            self._direction = "backward"  # all blocks get here between the same two yields
            yield from tape.backward(node, slope)
        tape.close()

    def _inputs(self, tape, x, gradient, begin, end):
        first, state_end = self._first, self._width
        of_first = of_pooled = None
        if gradient is not None:
            of_pooled = Gradient(gradient[begin:end, first:])
            of_first = Gradient(gradient[begin:end, 0]) if first else None
        dense_end = state_end + self._n_dense
        return Inputs(
            tape.input(x[:, 0], of_first) if first else None, tape.input(x[:, first:state_end], of_pooled),
            tape.input(x[:, state_end:dense_end]), tape.input(x[:, first:dense_end], of_pooled),
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

    def _joined(self, state, dense, n):
        """(n, s + n_dense): the states with the dense features behind them, in the same array if there is room."""
        if state.shape[1] < self._width + self._n_dense:
            joined = self._scratch.array("joined", (n, self._width + self._n_dense), self._dtype)
            joined[:, : self._width] = state
            state = joined
        state[:, self._width :] = dense
        return state

    def _combine(self, arrays):
        total = arrays[0].copy()
        for array in arrays[1:]:
            total += array
        if self._whole_top:
            return total
        return self._group.sum(total, Traffic("tower", "statistics", self._direction))


def new_tapes(backend, of_threads, parameters, sums, blocks, step, first, train, by_block):
    """A Tape for each block (begin, end) of samples.

    of_threads : each thread's scratch arrays;  first : number of the first sample in the batch
    by_block : a slot of `sums` for each block, otherwise one for each thread
    """
    threads = [((b + 1) * backend.threads - 1) // len(blocks) for b in range(len(blocks))]  # of `nn.parts.shares`
    return [
        Tape(
            backend.products, of_threads[thread], parameters, sums, b if by_block else thread, step, first + begin, train, b == 0, begin
        )
        for b, (thread, (begin, _)) in enumerate(zip(threads, blocks, strict=True))
    ]


def block_edges(samples, threads, by_block):
    """Where blocks of samples begin and end: as many for every thread, or independent of threads with `by_block`.  At least one."""
    at_once = _FIXED_BLOCKS if by_block else threads
    blocks = max(1, min(at_once, samples // _FEWEST_SAMPLES))
    if samples > blocks * BLOCK_SAMPLES:
        blocks *= -(-samples // (blocks * BLOCK_SAMPLES))
    return [samples * b // blocks for b in range(blocks + 1)]


def most_slots(threads, by_block, samples):
    """Slots of `SlotSums` that a tower needs for batches of so many samples."""
    return len(block_edges(samples, threads, by_block)) - 1 if by_block else threads
