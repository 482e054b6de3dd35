"""A deep model's top: a tower of dense layers above complete pooled states, in blocks of samples.

A state's row and the sample's dense features lie side by side in one array, of which layers take columns as their input:

    [ c | E_1 .. E_F | dense ]        c : the first column, where the operator has one;   x_0 = E and dense
"""

from typing import NamedTuple

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.nn.lockstep import lockstep
from deshpc.nn.tape import Gradient, Node, Tape

BLOCK_SAMPLES = 512
"""Samples that a thread works on at a time: its matrix products then run at their best, and stay in the caches."""

_FEWEST_BLOCKS, _FEWEST_SAMPLES = 16, 32


class TopSamples(NamedTuple):
    """The samples that a rank's top works on: dense (n, n_dense) float32; step; first : number of the first one in the global
    batch;  train : whether the model learns from them."""

    dense: np.ndarray
    step: int
    first: int
    train: bool


class Inputs(NamedTuple):
    """What a tower sees of a block of samples: Nodes.  first : column c (n), None where there is none
    pooled : the other columns of the state (n, F k);  dense (n, n_dense);  x0 : pooled and dense side by side"""

    first: Node | None
    pooled: Node
    dense: Node
    x0: Node


class Tower:
    """Runs a definition's `logit` forward and back, over all samples of this rank's top.

    Samples are worked on in blocks whose number and size depend on the number of samples alone.  A thread adds up its blocks'
    gradients of parameters in a slot of `SlotSums`; in fixed point every block has one: the same bits for any number of threads.
    """

    scaled = False  # its gradients are of the compute type, whatever sums are

    def __init__(self, backend, group, whole_top, definition, rows, parameters, sums, compute, width, first, n_dense, by_block):
        """rows : `BySamples`, which knows the rows that a batch repeats, or the owners' part
        width : s, of a state;  first : columns in front of E;  by_block : a slot of `sums` for each block
        """
        self._backend, self._group, self._whole_top = backend, group, whole_top
        self._definition, self._rows, self._parameters, self._sums = definition, rows, parameters, sums
        self._dtype, self._width, self._first, self._n_dense, self._by_block = np.dtype(compute), width, first, n_dense, by_block
        self._scratch, self._buffers = backend.buffers(), []
        self._first_layers = () if definition.share else definition.first_layers
        self._under_way = []

    def forward(self, state, samples, logit):
        """Set logit (n) from complete states (n, >= s).  Collective, where a layer spans the batch."""
        n = len(logit)
        x = self._joined(state, samples.dense, n)
        gradient = None
        if samples.train:
            gradient = self._scratch.array("gradient", (n, self._width), self._dtype)
        edges = block_edges(n)
        blocks = list(zip(edges, edges[1:], strict=False))
        tapes = new_tapes(
            self._backend, self._buffers, self._parameters, self._sums, blocks, samples.step, samples.first, samples.train,
            self._by_block,
        )  # fmt: skip
        for layer in self._first_layers:
            layer.begin(self._parameters, self._rows.repeated, self._backend.threads)
        results = lockstep(
            self._backend,
            [self._forward(tape, x, gradient, a, b, logit) for tape, (a, b) in zip(tapes, blocks, strict=True)],
            lambda arrays: self._combine(arrays, "forward" if samples.train else "eval"),
        )
        self._under_way = [(tape, node, a, b) for tape, node, (a, b) in zip(tapes, results, blocks, strict=True)]
        self._gradient = gradient

    def backward(self, state, samples, gradient, scale):
        """The gradient of the loss by the states (n, s), from that by the logits (n); adds up those of the parameters.

        Collective, where a layer spans the batch.
        """
        walks = [tape.backward(node, gradient[a:b]) for tape, node, a, b in self._under_way]
        lockstep(self._backend, walks, lambda arrays: self._combine(arrays, "backward"))
        self._under_way = []
        for layer in self._first_layers:
            layer.finish(self._parameters, self._sums)
        return self._gradient

    def _forward(self, tape, x, gradient, begin, end, logit):
        if self._definition.share is None:
            walk = self._definition.logit(tape, self._inputs(tape, x[begin:end], gradient, begin, end))
        else:
            walk = self._definition.finish(tape, *self._parts(tape, x[begin:end], gradient, begin, end))
        node = yield from walk
        logit[begin:end] = node.array
        return node

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

    def _combine(self, arrays, direction):
        total = arrays[0].copy()
        for array in arrays[1:]:
            total += array
        if self._whole_top:
            return total
        return self._group.sum(total, Traffic("tower", "statistics", direction))


def new_tapes(backend, buffers, parameters, sums, blocks, step, first, train, by_block):
    """A Tape for each block (begin, end) of samples.

    buffers : list of sets of scratch arrays, of which each block keeps one;  first : number of the first sample in the batch
    by_block : a slot of `sums` for each block, otherwise one for each thread
    """
    while len(buffers) < len(blocks):
        buffers.append(backend.buffers())
    slots = range(len(blocks))
    if not by_block:  # that of the thread that works on the block (`nn.parts.shares`)
        slots = [((b + 1) * backend.threads - 1) // len(blocks) for b in slots]
    return [
        Tape(backend.products, buffers[b], parameters, sums, slots[b], step, first + begin, train, b == 0, begin)
        for b, (begin, _) in enumerate(blocks)
    ]


def block_edges(samples):
    """Where blocks of samples begin and end: blocks of BLOCK_SAMPLES, smaller ones where there would be few.  At least one."""
    blocks = max(1, -(-samples // BLOCK_SAMPLES), min(_FEWEST_BLOCKS, samples // _FEWEST_SAMPLES))
    return [samples * b // blocks for b in range(blocks + 1)]


def most_slots(threads, by_block, samples):
    """Slots of `SlotSums` that a tower needs for batches of so many samples."""
    return len(block_edges(samples)) - 1 if by_block else threads
