"""Which ranks share a node, and who stands for whom where exchanges go node by node.

A rank's *stand-in* on another node adds up, or passes on, what concerns it there: so every pair of nodes has as many messages as
one of them has ranks, and each number crosses between them once.

        node 0: ranks 0 1        node 1: ranks 2 3 4

        on node 0 stand for      0: 0 2 4    1: 1 3
        on node 1 stand for      2: 0 2      3: 1 3      4: 4
"""

import numpy as np


class NodeMap:
    """Nodes are numbered by their first ranks.

    rank : of this process
    numbers : (N) int, of each rank's node, from 0
    members : of each node, its ranks in order
    """

    def __init__(self, rank, leaders):
        """leaders : of each rank, any number that the ranks of its node have and others have not"""
        self.rank, first = rank, {}
        self.numbers = [first.setdefault(leader, len(first)) for leader in leaders]
        self.members = [[r for r, number in enumerate(self.numbers) if number == node] for node in range(len(first))]

    @classmethod
    def of(cls, comm):
        """The map of a communicator's ranks.  Collective."""
        from mpi4py import MPI

        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        leaders = comm.allgather(node.bcast(comm.rank))
        node.Free()
        return cls(comm.rank, leaders)

    @property
    def size(self):
        """N, the ranks of all nodes."""
        return len(self.numbers)

    @property
    def number(self):
        """Of this rank's node."""
        return self.numbers[self.rank]

    @property
    def neighbours(self):
        """The ranks of this rank's node, itself among them."""
        return self.members[self.number]

    @property
    def is_near(self):
        """(N) bool: which ranks are on this rank's node."""
        return np.array([number == self.number for number in self.numbers])

    def stand_in(self, node, rank):
        """The rank of a node that stands for a rank: itself on its own node."""
        members, home = self.members[node], self.members[self.numbers[rank]]
        return members[home.index(rank) % len(members)]

    def stands_for(self, rank):
        """The ranks for which a rank stands on its node, in order, itself among them."""
        return [one for one in range(self.size) if self.stand_in(self.numbers[rank], one) == rank]

    def stand_ins_elsewhere(self):
        """The ranks that stand for this one on the other nodes, in the order of these."""
        return [self.stand_in(node, self.rank) for node in range(len(self.members)) if node != self.number]
