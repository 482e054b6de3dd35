"""What the ranks of one node give each other, side by side in shared memory: read in place instead of sent.

MPI copies a message into its own memory and out again, piece by piece, and both sides take part in every piece.  Here each
rank copies its array to its slot once, and the others read it when all are there.

    exchange   0: slots A                     1: slots B                   2: slots A again
    rank 0     copy, barrier ......... read A | copy, barrier ..... read B | copy, barrier ..
    rank 1        copy, barrier .. read A | copy, barrier ......... read B | copy, barrier ..
                                                                  ^
               all ranks have begun exchange 1, so all have read A: its slots may be written again

Where two exchanges are under way at once, each has slots of its own.
"""

import numpy as np

from deshpc.comm import shared_memory
from deshpc.comm.agree import agree
from deshpc.errors import LaunchError


class _Slots:
    """A slot of `capacity` bytes for every rank.  Creating one is collective; LaunchError on all where there is no room."""

    def __init__(self, comm, capacity):
        self.capacity = capacity
        self.window = shared_memory.window(comm, comm.size * capacity, capacity)
        self.window.Lock_all()
        self.of_ranks = [np.frombuffer(self.window.Shared_query(rank)[0], np.uint8, capacity) for rank in range(comm.size)]
        error = None
        try:
            shared_memory.take(self.of_ranks[comm.rank], comm.size * capacity)
        except LaunchError as problem:
            error = problem
        agree(comm, error)

    def free(self):
        """Give the memory back.  Collective."""
        self.of_ranks.clear()
        self.window.Unlock_all()
        self.window.Free()


class SharedSlots:
    """Slots for the ranks of `comm`, which are all on one node.

    Slots are written again when every rank has read them: when an exchange is complete that was started after they had been read
    here.  All ranks start and complete exchanges in one order, so they agree on that without a word.
    """

    def __init__(self, comm):
        self._comm = comm
        self._free, self._read, self._started = [], [], 0

    def put(self, array, most_bytes):
        """Copy a contiguous array to this rank's slot; returns (MPI request, function).

        most_bytes : of any rank's array, the same on all ranks
        The request is complete when all ranks' arrays are there.  function(read) then returns read([slot of every rank, uint8]),
        after which the slots belong to others.  Collective.
        """
        slots = self._take(most_bytes)
        slots.of_ranks[self._comm.rank][: array.nbytes] = array.reshape(-1).view(np.uint8)
        slots.window.Sync()
        request, number = self._comm.Ibarrier(), self._started
        self._started += 1

        def finish(read):
            slots.window.Sync()
            result = read(slots.of_ranks)
            self._free += [one for before, one in self._read if before <= number]
            self._read = [(before, one) for before, one in self._read if before > number]
            self._read.append((self._started, slots))
            return result

        return request, finish

    def free(self):
        """Give all memory back; nothing may be under way.  Collective."""
        for slots in [*self._free, *(one for _, one in self._read)]:
            slots.free()
        self._free, self._read = [], []

    def _take(self, size):
        for slots in self._free:
            if slots.capacity >= size:
                self._free.remove(slots)
                return slots
        for slots in self._free:  # too small by now
            slots.free()
        self._free.clear()
        return _Slots(self._comm, size + size // 2)
