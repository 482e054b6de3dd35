"""Messages of every rank to every other, cut into parts that travel one after another: one is written while another travels.

    part 0                    part 1
    to rank 0 | to rank 1     to rank 0 | to rank 1       inside a rank shard by shard
    e0 e1     | e0            e2 e3     | e1 e2           elements of a shard in their order
"""

import numpy as np


class PartedMessage:
    """Where elements lie.  Both sides know it from the counts alone: no byte is sent for it.

    counts (P, N, S) : elements of each part, rank and shard
    rank_bytes (P, N) : of each part, to or from each rank
    nbytes : of all
    """

    def __init__(self, counts, sizes, parts):
        """counts (N, S) int64 : elements of each rank and shard
        sizes (S) : bytes of an element
        parts : P
        """
        edges = counts * np.arange(parts + 1).reshape(-1, 1, 1) // parts
        self.counts, self._edges = np.diff(edges, axis=0), edges
        self._firsts = np.cumsum(counts, axis=0) - counts
        lengths = self.counts * sizes
        ends = np.cumsum(lengths.ravel())
        self._begins, self.nbytes = (ends - lengths.ravel()).reshape(lengths.shape), int(lengths.sum())
        self.rank_bytes = lengths.sum(axis=2)

    def of_part(self, part):
        """slice of the message's bytes"""
        end = int(self.rank_bytes[: part + 1].sum())
        return slice(end - int(self.rank_bytes[part].sum()), end)

    def stretches(self, s):
        """(begins (N P) bytes, counts (N P)) of the elements of shard s, in their order, which is that of ranks."""
        return self._begins[:, :, s].T.ravel(), self.counts[:, :, s].T.ravel()

    def ranges(self, part, s):
        """[slice] of the elements of shard s that a part holds: one for each rank."""
        if len(self.counts) == 1:
            return [slice(0, int(self.counts[0, :, s].sum()))]
        edges = (self._firsts + self._edges[part : part + 2])[:, :, s]
        return [slice(int(begin), int(end)) for begin, end in edges.T if begin < end]
