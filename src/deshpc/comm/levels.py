"""How many bytes, or numbers, a rank sends in each collective, by level.

    OneLevel    "flat"                  every rank sends to every other alike
    TwoLevels   "inside", "between"     inside nodes by shared memory, then between nodes: see `two_level_transport.py`

N ranks on M nodes of R ranks, arrays of B samples of s numbers, b = B / N of them a rank's; sent by a rank:

    collective           flat             inside           between
    reduce-scatter       (N - 1) b s      (R - 1) M b s    (M - 1) b s
    all-gather           (N - 1) b s      (R - 1) M b s    (M - 1) b s
    all-to-all           all but its own  to its node      to other nodes

What is read in a node's shared memory counts as sent by the rank that has put it there, once for each that reads it.
"""


class OneLevel:
    """All ranks are alike.  size : N;  rank : of this process"""

    names = ("flat",)

    def __init__(self, size, rank):
        self._size, self._rank = size, rank

    def of_reduce(self, counts):
        """{level: numbers sent} by a reduce-scatter of an array of which rank r gets counts[r] numbers, (N) int64."""
        return {"flat": int(counts.sum() - counts[self._rank])}

    def of_gather(self, counts):
        """{level: numbers sent} by an all-gather of counts[r] numbers of each rank r, (N) int64."""
        return {"flat": (self._size - 1) * int(counts[self._rank])}

    def of_messages(self, counts):
        """{level: numbers sent} by messages of counts[r] numbers to each rank r, (N) int64; what stays here is not sent."""
        return {"flat": int(counts.sum() - counts[self._rank])}


class TwoLevels:
    """Ranks of one node are near.  nodes : NodeMap"""

    names = ("inside", "between")

    def __init__(self, nodes):
        self._rank, self._near = nodes.rank, nodes.is_near
        self._others_here, self._other_nodes = len(nodes.neighbours) - 1, len(nodes.members) - 1
        self._stands_for = nodes.stands_for(nodes.rank)

    def of_reduce(self, counts):
        """As `OneLevel.of_reduce`."""
        whole, kept = int(counts.sum()), int(counts[self._stands_for].sum())
        return {"inside": self._others_here and whole - kept, "between": kept - int(counts[self._rank])}

    def of_gather(self, counts):
        """As `OneLevel.of_gather`."""
        passed_on = int(counts[self._stands_for].sum())
        return {"inside": self._others_here * passed_on, "between": self._other_nodes * int(counts[self._rank])}

    def of_messages(self, counts):
        """As `OneLevel.of_messages`."""
        near = int(counts[self._near].sum())
        return {"inside": near - int(counts[self._rank]), "between": int(counts.sum()) - near}
