"""Blocks of samples that layers work on, one thread each: where they begin and end, their tapes, what they see of a sample."""

from typing import NamedTuple

from deshpc.nn.tape import Node, Tape

_FIXED_BLOCKS, _FEWEST_SAMPLES = 16, 32


class Inputs(NamedTuple):
    """What a tower sees of a block of samples: Nodes.  scalar : column c (n, 1), None where there is none
    pooled : the other columns of the state (n, F k);  dense (n, n_dense)
    x0 : pooled and dense side by side"""

    scalar: Node | None
    pooled: Node
    dense: Node
    x0: Node


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


def block_edges(samples, backend, by_block):
    """Where blocks of samples begin and end: as many for every thread, or independent of threads with `by_block`.  At least one."""
    at_once, most = _FIXED_BLOCKS if by_block else backend.threads, backend.block_samples
    blocks = max(1, min(at_once, samples // _FEWEST_SAMPLES))
    if samples > blocks * most:
        blocks *= -(-samples // (blocks * most))
    return [samples * b // blocks for b in range(blocks + 1)]


def most_slots(backend, by_block, samples):
    """Slots of `SlotSums` that a tower needs for batches of so many samples."""
    return len(block_edges(samples, backend, by_block)) - 1 if by_block else backend.threads
