"""Blocks of samples that layers work on, one thread each: where they begin and end, their tapes, what they see of a sample."""

from typing import NamedTuple

from deshpc.nn.parts import PARTS
from deshpc.nn.tape import Node, Tape

_FEWEST_SAMPLES = 32


class Inputs(NamedTuple):
    """What a tower sees of a block of samples: Nodes.  scalar : column c (n, 1), None where there is none
    pooled : the other columns of the state (n, F k);  dense (n, n_dense)
    x0 : pooled and dense side by side
    lengths : (n, S) int32, how many values of each sequence that stays apart there are, None where there is none"""

    scalar: Node | None
    pooled: Node
    dense: Node
    x0: Node
    lengths: Node | None = None


def new_tapes(backend, of_threads, parameters, sums, blocks, step, first_sample, train, by_block):
    """A Tape for each block (begin, end) of samples.

    of_threads : each thread's scratch arrays
    first_sample : its number in the global batch
    by_block : a slot of `sums` for each block, otherwise one for each thread
    """
    threads = [((b + 1) * backend.threads - 1) // len(blocks) for b in range(len(blocks))]  # of `nn.parts.shares`
    return [
        Tape(
            backend, of_threads[thread], parameters, sums, b if by_block else thread, step, first_sample + begin, train, b == 0,
            begin,
        )
        for b, (thread, (begin, _)) in enumerate(zip(threads, blocks, strict=True))
    ]


def block_edges(samples, backend):
    """Where blocks of samples begin and end: as many for every thread.  At least one."""
    blocks, most = max(1, min(backend.threads, samples // _FEWEST_SAMPLES)), backend.block_samples
    if samples > blocks * most:
        blocks *= -(-samples // (blocks * most))
    return [samples * b // blocks for b in range(blocks + 1)]


def fixed_edges(samples, backend, ranks=1, rank=0):
    """Where the blocks of a rank's share begin and end, counted from its first sample.

    samples : of the global batch
    ranks : among which the batch is divided; they divide PARTS
    The batch has the same blocks for any number of threads and ranks, as many in each of its PARTS.  Some may be empty.
    """
    blocks = PARTS * max(1, -(-samples // (PARTS * backend.block_samples)))
    edges = [samples * b // blocks for b in range(blocks * rank // ranks, blocks * (rank + 1) // ranks + 1)]
    return [edge - edges[0] for edge in edges]
