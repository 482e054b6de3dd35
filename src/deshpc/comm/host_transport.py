"""Arrays in host memory travel over MPI; large ones of ranks that are all on one node through shared memory."""

import numpy as np

from deshpc.comm.handle import Handle, complete, started
from deshpc.comm.messages import Messages
from deshpc.comm.shares import slice_of
from deshpc.comm.transport import begins_of

_SHARED_FROM = 8192  # bytes; MPI is as fast with less


class HostTransport:
    """Over the communicator `comm`, and `slots`, the ranks' SharedSlots, or None where they are on several nodes.

    MPI libraries add three ranks and more in an order of their own, which depends on the length of an array and on the place in it.
    So every rank gets its share of all ranks' arrays, adds up in rank order, and the shares are gathered.
    """

    def __init__(self, comm, slots):
        from mpi4py import MPI

        self.comm, self._slots, self._in_place = comm, slots, MPI.IN_PLACE
        self._rank, self._size = comm.rank, comm.size
        self._room, self._messages = {}, Messages(comm, slots is None)

    def sum_samples(self, array, counts):
        """See `Transport`."""
        array = np.ascontiguousarray(array)
        if self._size > 2:
            return self._reduce(array, counts).then(lambda share: self._gather(share, counts, array).wait())
        if self._in_shared_memory(array.nbytes):
            return self._put(array, array.nbytes, lambda parts: np.add(array, _like(array, parts[1 - self._rank]), out=array))
        return started(self.comm.Iallreduce(self._in_place, array), array)

    def reduce_samples(self, array, counts):
        """See `Transport`."""
        return self._reduce(np.ascontiguousarray(array), counts)

    def all_gather(self, own, counts, whole):
        """See `Transport`."""
        return self._gather(np.ascontiguousarray(own), counts, whole)

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""
        return self._messages.exchange(np.ascontiguousarray(send), send_counts, receive, receive_counts)

    def close(self):
        """Give shared memory back.  Collective."""
        self._messages.close()
        if self._slots:
            self._slots.free()

    def _reduce(self, array, counts):
        begin, end = slice_of(len(array), self._size, self._rank)
        if self._in_shared_memory(array.nbytes):
            return self._put(array, array.nbytes, lambda parts: in_order([_like(array, part)[begin:end] for part in parts]))
        own = int(counts[self._rank])
        room = self._take_room(self._size * own, array.dtype)
        parts, own_counts = room[: self._size * own], np.full(self._size, own, np.int64)

        def add(parts):
            share = in_order(parts.reshape(self._size, end - begin, *array.shape[1:]))
            self._room[array.dtype] = room
            return share

        return self._messages.exchange(array, counts, parts, own_counts).then(add)

    def _gather(self, own, counts, whole):
        if self._size == 1 or not self._in_shared_memory(whole.nbytes):
            return self._messages.gather(own, counts, whole)

        def collect(parts):
            numbers = np.ndarray(whole.size, whole.dtype, whole)  # the same memory, or an error
            for rank, (part, begin, count) in enumerate(zip(parts, begins_of(counts), counts, strict=True)):
                stretch = numbers[begin : begin + count]
                stretch[...] = own.reshape(-1) if rank == self._rank else _like(stretch, part)
            return whole

        return self._put(own, int(counts.max()) * whole.itemsize, collect)

    def _in_shared_memory(self, nbytes):
        """Whether an exchange of so many bytes (the same on all ranks) goes through shared memory."""
        return self._slots is not None and nbytes >= _SHARED_FROM

    def _put(self, array, most_bytes, read):
        """Handle of read([every rank's array, uint8]): `array` is this rank's, none has more than most_bytes."""
        request, finish = self._slots.put(array, most_bytes)

        def wait():
            complete(request)
            return finish(read)

        return Handle(wait, request)

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
