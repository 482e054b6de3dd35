"""What single ranks want of all between two batches, and how they agree on it without waiting for each other.

A signal may reach one rank alone, and only rank 0 looks at the clock.  So now and then each rank tells all others what it wants, in two
numbers.  A meeting is begun between two batches and completed between two later ones: the numbers travel while batches are computed.
How many batches lie between is agreed on there, too: as many as take a quarter of a second on the slowest rank.
"""

import time

import numpy as np

_EVERY_S = 0.25
_MOST_BATCHES = 4096


class Meetings:
    """Meetings of a group's ranks.  All of them pass the same batches, so all begin and complete a meeting at the same ones.

    wish : function that gives what this rank wants, an integer; 0: nothing.  The largest of all ranks counts
    agreed : the wish on which ranks have agreed since the last batch, 0 without one
    """

    def __init__(self, group, wish, clock=time.perf_counter):
        self._group, self._wish, self._clock = group, wish, clock
        self._under_way, self._begun, self._left, self._passed, self._length = None, 0.0, 0, 0, 1
        self.agreed = 0

    def before_each(self, batches):
        """Yield batches, and end before one of them where ranks have agreed on a wish.  Collective."""
        batches = iter(batches)
        while not self._between():
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def last(self):
        """The wish of all ranks now.  They wait for each other.  Collective."""
        self.close()
        self._begin()
        self.close()
        return self.agreed

    def close(self):
        """Complete what is under way.  Collective."""
        if self._under_way is not None:
            told, self._under_way = self._under_way.wait(), None
            self.agreed = int(told[:, 0].max())
            self._length = int(min(max(_EVERY_S / max(told[:, 1].max(), 1e-9), 1.0), _MOST_BATCHES))

    def _between(self):
        """What is agreed on between two batches."""
        self._left, self._passed, self.agreed = self._left - 1, self._passed + 1, 0
        if self._left > 0:
            return 0
        self.close()
        if self.agreed:  # what is wanted is done first, and its time is not that of batches
            self._left, self._length, self._begun = 1, 1, 0.0
        else:
            self._begin()
        return self.agreed

    def _begin(self):
        now = self._clock()
        seconds = (now - self._begun) / self._passed if self._begun and self._passed else _EVERY_S
        self._begun, self._passed, self._left = now, 0, self._length
        self._under_way = self._group.gather_numbers(np.array([self._wish(), seconds]))
