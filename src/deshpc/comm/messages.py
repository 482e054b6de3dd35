"""Messages of every rank to every other, by the way that suits where the ranks are."""

from itertools import count

from deshpc.comm.handle import started
from deshpc.comm.pieces import Pieces
from deshpc.comm.progress import Progress
from deshpc.comm.transport import begins_of

_TAGS = 1 << 14  # every MPI library has as many; exchanges under way at once are a few
_IN_PIECES = 65_536  # bytes that are gathered; with less, messages wait for each other more than for the link
_WATCHED = 131_072  # bytes that leave: less is on its way at once, and a thread that looks on would only take turns with who computes
_PATIENCE_S = 1e-3  # what takes longer than this is waited for asleep: the core is for ranks that compute, and for what the system sends


class Messages:
    """All-to-alls among the ranks of `comm`.  Creating one is collective.

    far : whether ranks are on several nodes: then messages leave in pieces, and move on while ranks compute
    """

    def __init__(self, comm, far):
        self._far, self._begun, self._progress = far and comm.size > 1, count(), Progress()
        self._comm, self._last = comm.Dup() if self._far else comm, None  # no other message has these tags

    def exchange(self, send, send_counts, receive, receive_counts):
        """Start to send the stretches of `send` to the ranks, theirs to `receive`; Handle of `receive`.  Collective.

        send, receive : arrays without gaps, of one type
        send_counts, receive_counts : (N) int64 numbers
        """
        if self._far:
            return self.start(_stretches(send, send_counts), _stretches(receive, receive_counts), receive)
        message = [send, (send_counts, begins_of(send_counts))]
        return started(self._comm.Ialltoallv(message, [receive, (receive_counts, begins_of(receive_counts))]), receive)

    def gather(self, own, counts, whole):
        """Start to bring the arrays of all ranks, counts (N) int64 numbers each, into `whole`; Handle of it.  Collective."""
        if self._far and whole.nbytes >= _IN_PIECES:
            return self.start([own.reshape(-1)] * len(counts), _stretches(whole, counts), whole)
        return started(self._comm.Iallgatherv(own, [whole, (counts, begins_of(counts))]), whole)

    def start(self, leaving, coming, result):
        """Start to send leaving[r] to each rank r, and its message to coming[r], between nodes; Handle of `result`.  Collective.

        leaving, coming : [array (..) without gaps], of one type
        """
        self._last = Pieces(self._comm, next(self._begun) % _TAGS, leaving, coming, self._last)
        if sum(message.nbytes for message in leaving) >= _WATCHED:
            self._progress.watch(self._last)
        return started(self._last, result, _PATIENCE_S)

    def close(self):
        """End the thread and give the duplicate back.  Collective."""
        self._progress.close()
        if self._far:
            self._comm.Free()


def _stretches(array, counts):
    """[the numbers of each rank's message], parts of a one-dimensional view of `array`."""
    numbers = array.reshape(-1)
    return [numbers[begin : begin + count] for begin, count in zip(begins_of(counts).tolist(), counts.tolist(), strict=True)]
