"""An all-to-all whose messages leave in pieces, in turns, a few at a time: between ranks on several nodes.

        piece 1 of 0 -> 1,  piece 1 of 0 -> 2,  piece 1 of 0 -> 3,  piece 2 of 0 -> 1,  ...
        piece 1 of 1 -> 2,  piece 1 of 1 -> 3,  piece 1 of 1 -> 0,  piece 2 of 1 -> 2,  ...

MPI libraries send all messages at once.  N - 1 ranks then fill the link of one receiver, and its switch drops what it cannot hold:
messages of megabytes use about 85 % of a link so, and 96 % in pieces (docs/network.md).  All ranks are served alike, so none that
computes longer holds the others up.
"""

import threading
from itertools import islice, zip_longest

_PIECE_BYTES, _MOST_PIECES = 65_536, 64  # of a message
_UNDER_WAY = 6  # pieces that a rank sends at once


class Pieces:
    """A started all-to-all, of the interface of an MPI request: `Test`."""

    def __init__(self, comm, tag, leaving, coming, before=None):
        """comm : communicator of all ranks
        tag : the same on all ranks, and of no other message under way
        leaving, coming : [array (..) without gaps] the message to each rank, and room for each rank's
        before : Pieces that leave first, if any are under way
        """
        from mpi4py import MPI

        coming[comm.rank][...] = leaving[comm.rank]
        self._comm, self._tag, self._all_done = comm, tag, MPI.Request.Testall
        self._receiving = [comm.Irecv(piece, rank, tag) for piece, rank in _in_turns(coming, comm.rank, -1)]
        self._to_send, self._sending = _in_turns(leaving, comm.rank, 1), []
        self._begun = self._whole = False
        self._before, self._lock = before, threading.Lock()
        self.Test()

    def Test(self):
        """Go on as far as pieces have left and come; returns whether all have.  Any thread may call it."""
        with self._lock:
            if not self._whole:
                self._send()
                self._whole = self._begun and not self._sending and self._all_done(self._receiving)
            return self._whole

    def all_begun(self):
        """Go on; whether all pieces have left or are about to."""
        self.Test()
        return self._begun

    def _send(self):
        self._sending = [request for request in self._sending if not request.Test()]
        if self._begun or (self._before and not self._before.all_begun()):
            return
        self._before, room = None, _UNDER_WAY - len(self._sending)
        for piece, rank in islice(self._to_send, room):
            self._sending.append(self._comm.Isend(piece, rank, self._tag))
        self._begun = len(self._sending) < _UNDER_WAY


def _in_turns(messages, rank, step):
    """Yield (piece, other rank), in the order in which this rank sends them (step 1), or they come to it (-1)."""
    others = [(rank + step * k) % len(messages) for k in range(1, len(messages))]
    for turn in zip_longest(*(_cut(messages[other]) for other in others)):
        for piece, other in zip(turn, others, strict=True):
            if piece is not None:
                yield piece, other


def _cut(message):
    """Yield the pieces of a message, as both sides cut it."""
    piece = max(_PIECE_BYTES // message.itemsize, -(-len(message) // _MOST_PIECES))
    for begin in range(0, len(message), piece):
        yield message[begin : begin + piece]
