"""Exchanges of device arrays that have been asked for, and begin when MPI may have the arrays.

MPI reads an array when the device has filled it.  To wait for that where an exchange is asked for would keep the host from preparing
what comes next.  So an exchange waits in a queue until its result is wanted, or another collective is called:

    host      ask (a) | launches of the next stage ... | a.wait: begin, complete | launches ...
    stream    ... fill a | next stage .............................................
    copies              | copy a |

MPI wants the collectives of a communicator in one order on all ranks.  They begin as they were asked for, and at places in the program
that are the same on all ranks: never because one rank's device was faster.
"""

from collections import deque

from deshpc.comm.handle import Handle


class Turns:
    """The queue of one communicator, for arrays of `device`."""

    def __init__(self, device):
        self._device, self._asked = device, deque()

    def ask(self, point, begin, read):
        """Handle of the result of the Handle that begin() returns, which is called when the device has passed `point`.

        point : of `mark` or `copy_out`
        read : the array that the device reads until then; it is held, so that its memory belongs to nobody else
        """
        asked = _Asked(point, begin, read)
        self._asked.append(asked)

        def finish():
            while asked.handle is None:
                self._begin_next()
            return asked.handle.wait()

        return Handle(finish, asked)

    def begin_all(self):
        """Begin whatever has been asked for: another collective is to follow.  Collective."""
        while self._asked:
            self._begin_next()

    def _begin_next(self):
        asked = self._asked.popleft()
        self._device.wait(asked.point)
        asked.begin()


class _Asked:
    """One exchange; `handle` is None until it has begun."""

    def __init__(self, point, begin, read):
        self.point, self._begin, self._read, self.handle = point, begin, read, None

    def begin(self):
        self.handle, self._read = self._begin(), None

    def Test(self):
        """What `Handle.poke` calls of a request."""
        if self.handle is not None:
            self.handle.poke()
