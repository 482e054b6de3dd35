"""Blocks of samples on several threads, in step where they have to know something of the whole batch.

A block's work is a generator.  Most never yield.  What one yields, an array, is added up over all blocks and ranks, and the sum
is sent to all: so batch normalisation sees the global batch while everything else works on blocks that stay in the caches.
What one yields as `OverRanks`, a number of rows for its samples, is added up over ranks alone, and each gets its own rows.

    thread 0    block 0 ── yields a0 ─┐                                          ┌─ block 0 ── returns
                block 1 ── yields a1 ─┤                                          ├─ block 1 ── returns
    thread 1    block 2 ── yields a2 ─┼─ a0 + a1 + a2 + a3, over ranks as well ──┼─ block 2 ── returns
                block 3 ── yields a3 ─┘                                          └─ block 3 ── returns

All blocks of all ranks yield equally often.  So a rank without samples has a block, too, an empty one.
"""

from typing import NamedTuple

import numpy as np

from deshpc.nn.parts import shares


class OverRanks(NamedTuple):
    """Rows (n, r) of a block's n samples, to which every rank has something to add."""

    rows: np.ndarray


def lockstep(backend, walks, combine, add_over_ranks=None):
    """Run generators to their ends; returns what each returns.

    combine(arrays) : the sum of one array of every block, over all ranks as well
    add_over_ranks(rows) : the same rows (of all blocks' samples), added up over ranks
    Collective, if any generator yields.
    """
    results, running = [None] * len(walks), list(range(len(walks)))
    sending = dict.fromkeys(running)
    while running:
        yielded = {}

        def advance(members, sending=sending, yielded=yielded):
            for i in members:
                try:
                    yielded[i] = walks[i].send(sending[i])
                except StopIteration as end:
                    results[i] = end.value

        backend.each(advance, [(running[a:b],) for a, b in shares(len(running), backend.threads)])
        if not yielded:
            return results
        running = sorted(yielded)
        if isinstance(yielded[running[0]], OverRanks):
            parts = [yielded[i].rows for i in running]
            ends = np.cumsum([len(part) for part in parts])
            whole = np.split(add_over_ranks(np.concatenate(parts)), ends[:-1])
            sending = dict(zip(running, whole, strict=True))
        else:
            sending = dict.fromkeys(running, combine([yielded[i] for i in running]))
    return results
