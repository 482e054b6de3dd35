"""What the ranks of one node write for each other where all read it, turn by turn: nothing is copied, neither in nor out.

A board has a slot for each rank, which that rank writes, and a part that all ranks share out among them.  It is published when it
is written, and read from then on by all, until it is their turn to write it again.

    turn       0                                  1                                  2
    rank 0     write A, published, read A       | write B, published, read B       | write A ...
    rank 1         write A, published, read A   | write B, published, read B       | write A ...
                                                             ^
                  who has published B has read A: when all have, A may be written again
"""

from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from deshpc.backend.cpu.buffers import aligned
from deshpc.comm import shared_memory
from deshpc.comm.agree import agree
from deshpc.comm.handle import Handle, complete, done
from deshpc.errors import LaunchError

_PAGE = 4096


class Board(NamedTuple):
    """of_ranks : [uint8, each rank's slot];  shared : uint8, what ranks share out;  turn : its number;  window : MPI's, None for a rank that is alone"""

    of_ranks: list
    shared: np.ndarray
    turn: int
    window: Any


class Boards:
    """The boards of the ranks of `comm`, which are all on one node, in so many turns."""

    def __init__(self, comm, turns, alone=False):
        """alone : whether this rank is the only one that is there; then the others' slots are its own, as in `comm.mirror`"""
        self._comm, self._alone, self._boards = comm, alone, [None] * turns
        self._turns = cycle(range(turns))

    def next(self, slot_bytes, shared_bytes):
        """The Board whose turn it is, with so much room at least: the same on all ranks.  What nobody has written holds anything.

        Collective where its room does not suffice; a LaunchError on all ranks where there is no memory for it.
        """
        return self._with_room(next(self._turns), slot_bytes, shared_bytes)

    def again(self, board, slot_bytes, shared_bytes):
        """A published Board, to be written once more, with so much room: when all ranks have asked for it.  Collective."""
        self.publish(board).wait()
        return self._with_room(board.turn, slot_bytes, shared_bytes)

    def _with_room(self, turn, slot_bytes, shared_bytes):
        board = self._boards[turn]
        if board is None or board.of_ranks[0].nbytes < slot_bytes or board.shared.nbytes < shared_bytes:
            self._boards[turn] = None
            self._free(board)
            self._boards[turn] = board = self._open(turn, _pages(slot_bytes), _pages(shared_bytes))
        if self._alone:
            board.shared[...] = 0  # the others' parts of it, which they do not write
        return board

    def publish(self, board):
        """Handle, which is complete when every rank has published it: then all may be read.  Collective."""
        if board.window is None:
            return done(board)
        board.window.Sync()
        request = self._comm.Ibarrier()

        def finish():
            complete(request)
            board.window.Sync()
            return board

        return Handle(finish, request)

    def close(self):
        """Give the memory back.  Collective."""
        for turn, board in enumerate(self._boards):
            self._free(board)
            self._boards[turn] = None

    def _open(self, turn, slot, shared):
        size, rank = self._comm.size, self._comm.rank
        if self._alone:
            return Board([aligned(slot, np.uint8)] * size, aligned(shared, np.uint8), turn, None)
        own = slot + (shared if rank == 0 else 0)
        window = shared_memory.window(self._comm, size * slot + shared, own)
        window.Lock_all()
        parts = [np.frombuffer(window.Shared_query(one)[0], np.uint8, slot + (shared if one == 0 else 0)) for one in range(size)]
        error = None
        try:
            shared_memory.take(parts[rank], size * slot + shared)
        except LaunchError as problem:
            error = problem
        agree(self._comm, error)
        return Board([part[:slot] for part in parts], parts[0][slot:], turn, window)

    def _free(self, board):
        if board is not None and board.window is not None:
            window = board.window
            board.of_ranks.clear()
            window.Unlock_all()
            window.Free()


def _pages(nbytes):
    """So many bytes and a quarter more, in whole pages."""
    return -(-(nbytes + nbytes // 4) // _PAGE) * _PAGE
