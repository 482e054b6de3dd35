"""The ranks of a run.  Every collective of deshpc goes through a Group: it counts the bytes and returns handles.

Collectives are blind to the number type: they move and add whatever array they are given.  Each method is
collective on the group's communicator, a duplicate of the caller's, so nothing here can match foreign messages.
"""

import numpy as np

from deshpc.comm.door import HostDoor, open_door
from deshpc.comm.handle import Handle, complete, done
from deshpc.comm.ledger import Ledger, Traffic
from deshpc.comm.shares import slice_of, slices
from deshpc.comm.slots import SharedSlots
from deshpc.errors import DeshpcError, RankError

_CONTROL = Traffic("batch", "control", "setup")
_SHARED_FROM = 8192  # bytes; MPI is as fast with less


def _started(request, result):
    """Handle of a request that will have filled `result`."""

    def finish():
        complete(request)
        return result

    return Handle(finish, request)


def attempted(task):
    """(task(), None), or (None, error) of the DeshpcError that it raised."""
    try:
        return task(), None
    except DeshpcError as error:
        return None, error


class Group:
    """Collective exchanges over a duplicate of `comm`, with a ledger.  Creating one is collective."""

    def __init__(self, comm):
        from mpi4py import MPI

        self._in_place = MPI.IN_PLACE
        self.comm = comm.Dup()
        self.rank, self.size = comm.rank, comm.size
        self.ledger = Ledger()
        self._room = {}
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self._slots = SharedSlots(self.comm, self.agree) if 1 < node.size == self.size else None
        node.Free()
        self._door = HostDoor()

    def take_arrays_of(self, backend):
        """Let arrays of `backend` pass, wherever it keeps them.  Not collective."""
        self._door = open_door(backend)

    def free(self):
        """Give shared memory and the duplicate back.  Collective."""
        if self._slots:
            self._slots.free()
        self.comm.Free()

    def sum_samples(self, array, traffic):
        """Add arrays (n, ...) over all ranks, in place, complete on every rank; returns a Handle of the array.

        Forward all-reduce, consumer replicated; backward identity.  Sent: 2 (N - 1) / N of the array's bytes.
        All ranks get the same bits, and those of a sample do not depend on its place, nor on the number of samples: numbers are added
        in rank order.  An MPI library adds three ranks and more in an order of its own, which depends on both, so it is
        `reduce_samples` and an all-gather of the shares; two ranks of a node read each other's array.  Collective.
        """
        if self.size == 1:
            return done(array)
        return self._sum_samples(self._door.out(array), traffic).then(lambda whole: self._door.back(whole, array))

    def _sum_samples(self, array, traffic):
        shared = self._in_shared_memory(array)
        if self.size == 2:
            own = int(self._counts(array)[self.rank])
            self.ledger.add(traffic, ((array.size - own) + (self.size - 1) * own) * array.itemsize)
            if shared:
                return self._put(array, array.nbytes, lambda parts: np.add(array, _like(array, parts[1 - self.rank]), out=array))
            return _started(self.comm.Iallreduce(self._in_place, array), array)
        return self._reduce_samples(array, traffic).then(lambda share: self._gather_samples(share, array, traffic).wait())

    def reduce_samples(self, array, traffic):
        """Add arrays (n, ...) over all ranks; each rank gets its share (`slice_of`); returns a Handle of the share.

        Forward reduce-scatter over samples; backward all-gather (`gather_samples`).  Sent: array minus own share.
        Every rank gets its share of all ranks' arrays and adds up in rank order, so the bits do not depend on the MPI
        library, and every N sends the same.  Collective.

                rank 0   rank 1            rank 0   rank 1
            s0  a        b            ->   a + b
            s1  c        d                          c + d
        """
        if self.size == 1:
            return done(array)
        host = self._door.out(array)

        def finish(share):
            self._door.sent(host)
            return self._door.new(share, array)

        return self._reduce_samples(host, traffic).then(finish)

    def _reduce_samples(self, array, traffic):
        counts = self._counts(array)
        own = int(counts[self.rank])
        self.ledger.add(traffic, (array.size - own) * array.itemsize)
        if self._in_shared_memory(array):
            begin, end = slice_of(len(array), self.size, self.rank)

            return self._put(array, array.nbytes, lambda parts: in_order([_like(array, part)[begin:end] for part in parts]))
        room = self._take_room(self.size * own, array.dtype)
        parts = room[: self.size * own]
        own_counts = np.full(self.size, own, np.int64)
        request = self.comm.Ialltoallv(
            [array, (counts, _displacements(counts))], [parts, (own_counts, _displacements(own_counts))]
        )

        def finish():
            complete(request)
            begin, end = slice_of(len(array), self.size, self.rank)
            share = in_order(parts.reshape(self.size, end - begin, *array.shape[1:]))
            self._room[array.dtype] = room
            return share

        return Handle(finish, request)

    def gather_samples(self, own, array, traffic):
        """All-gather the ranks' shares (b, ...) of samples into `array` (B, ...) on every rank; Handle of it.

        Forward all-gather; backward each rank keeps its share.  Sent: (N - 1) times the share.  Collective.
        """
        host, room = self._door.out(own), self._door.room(array)

        def finish(whole):
            self._door.sent(host)
            return self._door.back(whole, array)

        return self._gather_samples(host, room, traffic).then(finish)

    def _gather_samples(self, own, array, traffic):
        counts = self._counts(array)
        self.ledger.add(traffic, (self.size - 1) * own.nbytes)
        if self.size > 1 and self._in_shared_memory(array):

            def collect(parts):
                for rank, part in enumerate(parts):
                    share = array[slice(*slice_of(len(array), self.size, rank))]
                    share[...] = own if rank == self.rank else _like(share, part)
                return array

            return self._put(own, int(counts.max()) * array.itemsize, collect)
        return _started(self.comm.Iallgatherv(own, [array, (counts, _displacements(counts))]), array)

    def exchange_counts(self, counts, traffic):
        """Row r of `counts` (N, ...) goes to rank r; returns the rows received, row r from rank r.  Collective."""
        received = np.empty_like(counts)
        self.ledger.add(traffic, counts.nbytes // self.size * (self.size - 1))
        complete(self.comm.Ialltoall(counts, received))
        return received

    def exchange_bytes(self, send, send_bytes, receive, receive_bytes, traffic):
        """All-to-all-v of bytes: `send` holds the ranks' messages one after another; returns a Handle of `receive`.

        send, receive : (..) uint8
        send_bytes, receive_bytes : (N) int64, both sides known.
        traffic : list of (Traffic, (N) int64 bytes per destination), what the messages consist of.
        Forward i -> j; the adjoint sends j -> i.  Collective.
        """
        for entry, parts in traffic:
            self.ledger.add(entry, int(parts.sum() - parts[self.rank]))
        host, room = self._door.out(send), self._door.room(receive)
        request = self.comm.Ialltoallv(
            [host, (send_bytes, _displacements(send_bytes))], [room, (receive_bytes, _displacements(receive_bytes))]
        )

        def finish(received):
            self._door.sent(host)
            return self._door.back(received, receive)

        return _started(request, room).then(finish)

    def gather_bytes(self, own, counts, whole, traffic):
        """All-gather the ranks' messages, counts (N) int64 bytes each, one after another into `whole`; Handle of it.

        own, whole : uint8.  Sent: (N - 1) times the own message.  Collective.
        """
        self.ledger.add(traffic, (self.size - 1) * own.nbytes)
        begins, most = _displacements(counts), int(counts.max())
        if self._slots is None or most < _SHARED_FROM:
            return _started(self.comm.Iallgatherv(own, [whole, (counts, begins)]), whole)

        def collect(parts):
            for part, begin, count in zip(parts, begins, counts, strict=True):
                whole[begin : begin + count] = part[:count]
            return whole

        return self._put(own, most, collect)

    def sum(self, numbers, traffic=_CONTROL):
        """Sums over ranks, in rank order, of a few float64 or int64 numbers, as an array.  Collective."""
        return self.gather_numbers(numbers, traffic).wait().sum(axis=0)

    def gather_numbers(self, numbers, traffic=_CONTROL):
        """Handle of (N, k): the k float64 or int64 numbers of every rank.  Sent: (N - 1) times them.  Collective."""
        numbers = np.atleast_1d(np.asarray(numbers))
        result = np.empty((self.size, len(numbers)), numbers.dtype)
        self.ledger.add(traffic, (self.size - 1) * numbers.nbytes)
        return _started(self.comm.Iallgather(numbers, result), result)

    def gather(self, thing):
        """[thing of rank 0, thing of rank 1, ...] on every rank, pickled: for set-up and reports only.  Collective."""
        return self.comm.allgather(thing)

    def from_first(self, thing):
        """Rank 0's thing on every rank, pickled: for set-up only.  Collective."""
        return self.comm.bcast(thing)

    def agree(self, error):
        """Raise on every rank if any rank brings an error (None: all is well).  Collective.

        Errors of one kind are raised as that kind, once, naming the ranks that met it.
        """
        errors = self.gather(error)
        bad = [rank for rank, one in enumerate(errors) if one is not None]
        if not bad:
            return
        first = errors[bad[0]]
        what = "out of memory" if isinstance(first, MemoryError) else type(first).__name__
        where = f"rank {bad[0]}" if len(bad) == 1 else f"ranks {', '.join(map(str, bad))}"
        if not isinstance(first, DeshpcError):
            first = RankError(f"{where}: {what}: {first}")
        elif len(bad) < self.size:
            first = type(first)(f"{first} ({where})")
        raise first.shared_by(self.size)

    def together(self, task):
        """Return task(); a DeshpcError of any rank's task is raised on every rank (see `agree`).  Collective."""
        result, error = attempted(task)
        self.agree(error)
        return result

    def _in_shared_memory(self, array):
        """Whether an exchange of so large an array (the same size on all ranks) goes through shared memory."""
        return self._slots is not None and array.nbytes >= _SHARED_FROM

    def _put(self, array, most_bytes, read):
        """Handle of read([every rank's array, uint8]): `array` is this rank's, none has more than most_bytes."""
        request, finish = self._slots.put(array, most_bytes)

        def wait():
            complete(request)
            return finish(read)

        return Handle(wait, request)

    def _counts(self, array):
        """Numbers of every rank's share of an array (n, ...)."""
        return slices(len(array), self.size) * int(np.prod(array.shape[1:], dtype=np.int64))

    def _take_room(self, count, dtype):
        """Room for `count` numbers, until it is put back: other exchanges may be under way."""
        room = self._room.pop(dtype, None)
        return np.empty(count + count // 2, dtype) if room is None or len(room) < count else room


def in_order(parts):
    """The sum of arrays of one shape, one after the other: NumPy's own sums add in an order that depends on the shape."""
    total = np.add(parts[0], parts[1])
    for part in parts[2:]:
        total += part
    return total


def _like(array, part):
    """The beginning of `part`, uint8, as an array of the shape and type of `array`."""
    return part[: array.nbytes].view(array.dtype).reshape(array.shape)


def _displacements(counts):
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
