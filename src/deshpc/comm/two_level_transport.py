"""Arrays in host memory travel inside each node first, by shared memory, and only then between nodes.

Every number of a sum crosses between two nodes once, however many ranks these have: see `node_map.py` and `levels.py`.

    reduce-scatter   each rank puts its array into shared memory; each adds up, over its node, the shares of the ranks for which it
                     stands, and sends every other node's rank its sum; each adds up what has come, node by node
    all-gather       each rank sends its own share to its stand-in on every other node; each puts what it has into its node's
                     shared memory, where all read it
    all-to-all       messages are between two ranks: MPI takes them as they are

Sums are in rank order inside a node, and then in the order of nodes: not the bits of one level, but the same on every rank and in
every run, whatever the place of a sample.  In fixed point they are the same as of one level.
"""

import numpy as np

from deshpc.comm.handle import Handle, complete, done
from deshpc.comm.host_transport import in_order
from deshpc.comm.messages import Messages
from deshpc.comm.shares import slice_of
from deshpc.comm.slots import SharedSlots
from deshpc.comm.transport import begins_of


class TwoLevelTransport:
    """Over the communicator `comm`, whose ranks `nodes`, a NodeMap, tells apart.  Creating one is collective.

    wire : see `wire.py`; float32 arrays are halves between nodes then, and messages between any two ranks
    """

    def __init__(self, comm, nodes, wire=None):
        self.comm, self._nodes, self._wire = comm, nodes, wire
        self._near = comm.Split(nodes.number, nodes.rank)
        self._slots = SharedSlots(self._near) if len(nodes.neighbours) > 1 else None
        self._stands_for = {rank: nodes.stands_for(rank) for rank in nodes.neighbours}
        self._peers, self._messages = nodes.stand_ins_elsewhere(), Messages(comm, True)

    def sum_samples(self, array, counts):
        """See `Transport`."""
        array = np.ascontiguousarray(array)
        return self.reduce_samples(array, counts).then(lambda share: self.all_gather(share, counts, array).wait())

    def reduce_samples(self, array, counts):
        """See `Transport`."""
        array, begins = np.ascontiguousarray(array), begins_of(counts)
        begin, end = slice_of(len(array), self._nodes.size, self._nodes.rank)

        def add_here(parts):
            arrays = [part[: array.nbytes].view(array.dtype) for part in parts]
            return {
                rank: _sum([one[begins[rank] : begins[rank] + counts[rank]] for one in arrays])
                for rank in self._stands_for[self._nodes.rank]
            }

        def exchange(sums):
            own = sums.pop(self._nodes.rank)
            incoming = self._send_sums(sums, len(own), array.dtype)
            incoming.insert(self._nodes.number, own)
            return _sum(incoming).reshape(end - begin, *array.shape[1:])

        return self._put(array, array.nbytes, add_here).then(exchange)

    def all_gather(self, own, counts, whole):
        """See `Transport`."""
        own, begins, passed_on = np.ascontiguousarray(own).reshape(-1), begins_of(counts), self._stands_for[self._nodes.rank]
        most = max(int(counts[ranks].sum()) for ranks in self._stands_for.values())
        message = self._packed(own)
        nothing, held = message[:0], np.empty(int(counts[passed_on].sum()), message.dtype)
        leaving, coming = [nothing] * len(counts), [nothing] * len(counts)
        for rank in (*self._peers, self._nodes.rank):
            leaving[rank] = message  # the same to each
        for rank, begin in zip(passed_on, begins_of(counts[passed_on]).tolist(), strict=True):
            coming[rank] = held[begin : begin + int(counts[rank])]
        travelling = self._messages.start(leaving, coming, held)

        def collect(parts):
            numbers = np.ndarray(whole.size, whole.dtype, whole)  # the same memory, or an error
            for rank, part in zip(self._nodes.neighbours, parts, strict=True):
                place = 0
                for one in self._stands_for[rank]:
                    count, begin = int(counts[one]), int(begins[one])
                    numbers[begin : begin + count] = part[place : place + count * whole.itemsize].view(whole.dtype)
                    place += count * whole.itemsize
            return whole

        return travelling.then(lambda held: self._put(self._unpacked(held, whole.dtype), most * whole.itemsize, collect).wait())

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""
        message = self._packed(np.ascontiguousarray(send))
        incoming = receive if message.dtype == receive.dtype else np.empty(receive.size, message.dtype)
        travelling = self._messages.exchange(message, send_counts, incoming, receive_counts)
        return travelling if incoming is receive else travelling.then(lambda halves: self._wire.unpack(halves, receive))

    def close(self):
        """Give shared memory back.  Collective."""
        self._messages.close()
        if self._slots:
            self._slots.free()
        self._near.Free()

    def _send_sums(self, sums, own, dtype):
        """Send each rank of `sums` its sum; [(own) of every other node, in their order], what has come for this rank."""
        sending, receiving = (np.zeros(self._nodes.size, np.int64) for _ in range(2))
        for rank, numbers in sums.items():
            sending[rank] = len(numbers)
        receiving[self._peers] = own
        message = self._packed(np.concatenate([np.zeros(0, dtype), *(sums[rank] for rank in sorted(sums))]))
        incoming = np.empty(own * len(self._peers), message.dtype)
        begins = begins_of(receiving)
        self._messages.exchange(message, sending, incoming, receiving).wait()
        incoming = self._unpacked(incoming, dtype)
        return [incoming[begins[peer] : begins[peer] + own] for peer in self._peers]

    def _packed(self, numbers):
        """(n), as it travels between nodes."""
        return numbers if self._wire is None else self._wire.pack(numbers)

    def _unpacked(self, message, dtype):
        """What `_packed` was made from, as far as it is in there."""
        return message if self._wire is None else self._wire.unpack(message, np.empty(message.size, dtype))

    def _put(self, array, most_bytes, read):
        """Handle of read([the array of each rank of the node, uint8]), none of which has more than most_bytes."""
        if self._slots is None:
            return done(read([array.reshape(-1).view(np.uint8)]))
        request, finish = self._slots.put(array, most_bytes)

        def wait():
            complete(request)
            return finish(read)

        return Handle(wait, request)


def _sum(parts):
    """The sum of arrays of one shape, one after the other, as a new array."""
    return in_order(parts) if len(parts) > 1 else parts[0].copy()
