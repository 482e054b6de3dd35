"""Complete pooled embeddings travel to the samples' home ranks, where every field's keys belong to one rank (field split)."""

import numpy as np

from deshpc.comm.ledger import Traffic
from deshpc.comm.shares import slices
from deshpc.exchange.contract import Partials


class PooledExchange:
    """All-to-all of the fields' embeddings, complete as they are: nothing is added up but the first column, if there is one.

    Forward: owner -> home, (b, c and own fields' E) of every home rank's samples.  Backward: home -> owner, their gradients.

            rank 0 (field f)   rank 1 (field g)         home 0     home 1
        s0  f0                 g0                 ->    f0 g0
        s1  f1                 g1                                  f1 g1

    Sent by a rank in a step, both directions: (B - b) times the numbers of its own fields and as many of each other rank's: about
    2 b F k (N - 1) / N of them.
    """

    whole_top, moves_rows = False, False

    def __init__(self, backend, group, operators):
        self._backend, self._group, self._operators, self._scratch = backend, group, operators, backend.buffers()
        operator = operators.operator
        self._embeddings_at, self._places = operator.embeddings_at, operator.places_of_ranks()
        self._widths = np.array([self._embeddings_at + sum(end - begin for begin, end in own) for own in self._places], np.int64)

    def start(self, found, scale):
        """Start sending the pooled embeddings.  Collective."""
        group, samples = self._group, found.routed.samples
        own = self._operators.partial(found.rows, samples, scale, found)
        sending = slices(samples, group.size) * self._widths[group.rank] * own.dtype.itemsize
        home = len(found.routed.home)
        incoming = self._scratch.array("pooled", home * int(self._widths.sum()), own.dtype)
        travelling = group.exchange_bytes(
            own.reshape(-1).view(np.uint8), sending, incoming.view(np.uint8), home * self._widths * own.dtype.itemsize,
            [(Traffic(self._operators.name, "pooled", found.direction), sending)],
        )  # fmt: skip
        return travelling.then(lambda _: Partials(self._joined(incoming, home), found.rows))

    def give_back(self, found, partials, gradient, scale):
        """Send the gradients of the pooled embeddings to their owners, which add up those of their rows.  Collective."""
        group, home, samples = self._group, len(gradient), found.routed.samples
        message = self._scratch.array("gradients out", home * int(self._widths.sum()), gradient.dtype)
        arrays = self._backend.arrays
        for part, own in self._parts(message, home):
            arrays.put(gradient[:, : self._embeddings_at], part[:, : self._embeddings_at])
            for begin, end, place in own:
                arrays.put(gradient[:, begin:end], part[:, place : place + end - begin])
        own = self._scratch.array("gradients in", (samples, int(self._widths[group.rank])), gradient.dtype)
        sending, receiving = (
            counts * gradient.dtype.itemsize for counts in (home * self._widths, slices(samples, group.size) * self._widths[group.rank])
        )
        traffic = Traffic(self._operators.name, "pooled", "backward")
        group.exchange_bytes(
            message.view(np.uint8), sending, own.reshape(-1).view(np.uint8), receiving, [(traffic, sending)]
        ).wait()
        self._operators.partial_adjoint(found.rows, own, scale)
        return found.rows

    def _joined(self, incoming, home):
        """(home, s): what has come from every rank, side by side, with room for the tower's dense features behind."""
        columns = int((self._widths - self._embeddings_at).sum()) + self._embeddings_at
        whole = self._scratch.array("state", (home, columns + self._operators.room), incoming.dtype)
        arrays, scalars = self._backend.arrays, whole[:, : self._embeddings_at]
        arrays.fill(scalars, 0)
        for part, own in self._parts(incoming, home):
            arrays.put(part[:, : self._embeddings_at], scalars, add=True)
            for begin, end, place in own:
                arrays.put(part[:, place : place + end - begin], whole[:, begin:end])
        return whole

    def _parts(self, message, home):
        """Yield each rank's part of a message, (home, its numbers), and [(begin, end, place)]: which columns of a whole state lie where in it."""
        first = 0
        for width, stretches in zip(self._widths.tolist(), self._places, strict=True):
            place, own = self._embeddings_at, []
            for begin, end in stretches:
                own.append((begin, end, place))
                place += end - begin
            yield message[first : first + home * width].reshape(home, width), own
            first += home * width
