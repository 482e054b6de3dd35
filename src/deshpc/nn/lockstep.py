"""Blocks of samples on several threads, in step where they have to know something of the whole batch.

A block's work is a generator.  Most never yield.  What one yields, an array, is added up over all blocks and ranks, and the sum
is sent to all: so batch normalisation sees the global batch while everything else works on blocks that stay in the caches.
"""

from deshpc.nn.parts import shares


def lockstep(backend, walks, combine):
    """Run generators to their ends; returns what each returns.

    combine(arrays) : the sum of one array of every block, over all ranks as well.  Collective, if any generator yields.
    """
    results, sending, running = [None] * len(walks), [None] * len(walks), list(range(len(walks)))
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
        total = combine([yielded[i] for i in running])
        sending = [total] * len(walks)
    return results
