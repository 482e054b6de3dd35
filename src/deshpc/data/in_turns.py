"""Blocks that threads of all ranks make in turns, for all of them, who take them in their order.

Either ahead of the steps, in threads of their own: where a reading waits, for a disk or for a decompressor.  Or in rounds between steps, by the threads
that compute: where it is computing, too, as of plain text, which the system reads ahead: then more threads than cores would only be in each other's way.
"""

from deshpc.comm.group import attempted
from deshpc.data.ahead import END, Ahead


class InTurns:
    """The readers of all ranks, `threads` of each, of which this rank runs its own, ahead.

    delivery : Delivery among the ranks;  rank, ranks : of them
    blocks : function of a reader's number that gives the Blocks which are its own, in their order
    """

    def __init__(self, delivery, rank, ranks, threads, blocks):
        self._delivery, self._threads, self.readers = delivery, threads, ranks * threads
        self._own = [Ahead(blocks(reader), most=1) for reader in range(rank * threads, (rank + 1) * threads)]

    def take(self, reader):
        """The next Block of a reader, on all ranks; its errors are raised on all.  Collective."""
        return self._delivery.take(reader // self._threads, lambda: self._own[reader % self._threads].take())

    def close(self):
        """Make no more.  What is under way ends by itself."""
        for one in self._own:
            one.close()


class InRounds:
    """The same, where readers are asked one after the other, round by round, and make a Block each before the first of them is asked.

    each : `Workers.each` of this rank's threads
    """

    def __init__(self, delivery, rank, ranks, threads, blocks, each):
        self._delivery, self._threads, self.readers, self._each, self._left = delivery, threads, ranks * threads, each, 0
        self._own = [iter(blocks(reader)) for reader in range(rank * threads, (rank + 1) * threads)]
        self._made = [(END, None)] * threads

    def take(self, reader):
        """The next Block of a reader, on all ranks; its errors are raised on all.  Collective."""
        if not self._left:
            self._each(self._make, [(number,) for number in range(self._threads)])
            self._left = self.readers
        self._left -= 1
        return self._delivery.take(reader // self._threads, lambda: self._taken(reader % self._threads))

    def close(self):
        """Make no more."""

    def _make(self, number):
        self._made[number] = attempted(lambda: next(self._own[number], END))

    def _taken(self, number):
        thing, error = self._made[number]
        if error:
            raise error
        return thing
