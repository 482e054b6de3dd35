"""The ranks of a run.  Every collective of deshpc goes through a Group: it counts the bytes and returns handles.

Collectives are blind to the number type: they move and add whatever array they are given.  Each method is
collective on the group's communicator, a duplicate of the caller's, so nothing here can match foreign messages.
"""

from functools import lru_cache

import numpy as np

from deshpc.comm.agree import agree
from deshpc.comm.boards import Boards
from deshpc.comm.door import HostDoor, open_door
from deshpc.comm.handle import complete, done, started
from deshpc.comm.host_transport import HostTransport
from deshpc.comm.ledger import Ledger, Traffic
from deshpc.comm.levels import OneLevel, TwoLevels
from deshpc.comm.mirror import MirrorComm, MirrorTransport
from deshpc.comm.narrow_transport import NarrowTransport
from deshpc.comm.node_map import NodeMap
from deshpc.comm.shares import number_counts
from deshpc.comm.slots import SharedSlots
from deshpc.comm.two_level_transport import TwoLevelTransport
from deshpc.comm.wire import DIRECTIONS, KINDS, open_wire
from deshpc.errors import DeshpcError

_CONTROL = Traffic("batch", "control", "setup")


def attempted(task):
    """(task(), None), or (None, error) of the DeshpcError that it raised."""
    try:
        return task(), None
    except DeshpcError as error:
        return None, error


class Group:
    """Collective exchanges over a duplicate of `comm`, with a ledger.  Creating one is collective."""

    def __init__(self, comm, levels="one", wire="full"):
        """levels, wire : of `train.levels` and `train.wire`; see `levels.py` and `wire.py`"""
        own, nodes = comm.Dup(), NodeMap.of(comm)
        one_node, wire = len(nodes.members) == 1, open_wire(wire) if comm.size > 1 else None
        if not one_node and (levels == "two" or (levels == "auto" and len(nodes.members) < comm.size)):
            self._take(nodes, TwoLevels(nodes), TwoLevelTransport(own, nodes), wire and TwoLevelTransport(own, nodes, wire), False)
        else:
            narrow = wire and NarrowTransport(HostTransport(own, None), comm.rank, comm.size, wire)
            self._take(nodes, OneLevel(comm.size, comm.rank), HostTransport(own, SharedSlots(own) if one_node and comm.size > 1 else None), narrow, comm.size == 1)

    @classmethod
    def mirrored(cls, nodes, wire="full"):
        """A Group of the ranks of a NodeMap, of which only this one is there: see `comm.mirror`.  Not collective."""
        group, inner, wire = cls.__new__(cls), MirrorTransport(MirrorComm(nodes.rank, nodes.size)), open_wire(wire) if nodes.size > 1 else None
        group._take(nodes, OneLevel(nodes.size, nodes.rank), inner, wire and NarrowTransport(inner, nodes.rank, nodes.size, wire), True)
        return group

    def _take(self, nodes, levels, host, narrow, alone):
        self.nodes, self.rank, self.size = nodes, nodes.rank, nodes.size
        self.levels, self.ledger = levels, Ledger()
        self._host, self._narrow = host, narrow
        self._door, self._boards, self._alone = HostDoor(host, narrow), [], alone
        self._shared_out = lru_cache(64)(self._share_out)

    @property
    def comm(self):
        """The duplicate, for other collectives among the same ranks."""
        return self._door.comm

    def take_arrays_of(self, backend, transport="host"):
        """Let arrays of `backend` pass, wherever it keeps them; those of a device by a transport of `compute.transport`.

        Collective, where the transport is "cuda-aware" or "nccl"; a LaunchError on all ranks where it cannot be had.
        """
        self._door.close()
        self._door = open_door(backend, transport, self._host, self._narrow, self.together)

    def free(self):
        """Give shared memory and the duplicate back.  Collective."""
        for boards in self._boards:
            boards.close()
        self._door.close()
        self._host.close()
        if self._narrow:
            self._narrow.close()
        self._door.comm.Free()

    def sum_samples(self, array, traffic):
        """Add arrays (n, ...) over all ranks, in place, complete on every rank; returns a Handle of the array.

        Forward all-reduce, consumer replicated; backward identity.  Sent: 2 (N - 1) / N of the array's bytes, see `levels.py`.
        All ranks get the same bits, and those of a sample do not depend on its place, nor on the number of samples, nor on the
        transport: numbers are added in rank order, or node by node in rank order.  Collective.
        """
        if self.size == 1:
            return done(array)
        counts, *parts = self._shared_out(array.shape)
        for sent in parts:
            self._count(traffic, sent, array)
        return self._way(array, traffic).sum_samples(array, counts)

    def reduce_samples(self, array, traffic):
        """Add arrays (n, ...) over all ranks; each rank gets its share (`slice_of`); returns a Handle of the share.

        Forward reduce-scatter over samples; backward all-gather (`gather_samples`).  Sent: array minus own share.
        Numbers are added as by `sum_samples`, and every N sends the same.  Collective.

                rank 0   rank 1            rank 0   rank 1
            s0  a        b            ->   a + b
            s1  c        d                          c + d
        """
        if self.size == 1:
            return done(array)
        counts, reduced, _ = self._shared_out(array.shape)
        self._count(traffic, reduced, array)
        return self._way(array, traffic).reduce_samples(array, counts)

    def gather_samples(self, own, array, traffic):
        """All-gather the ranks' shares (b, ...) of samples into `array` (B, ...) on every rank; Handle of it.

        Forward all-gather; backward each rank keeps its share.  Sent: (N - 1) times the share.  Collective.
        """
        counts, _, gathered = self._shared_out(array.shape)
        self._count(traffic, gathered, own)
        return self._way(array, traffic).all_gather(own, counts, array)

    def exchange_counts(self, counts, traffic):
        """Row r of `counts` (N, ...) goes to rank r; returns the rows received, row r from rank r.  Collective."""
        received = np.empty_like(counts)
        self._count(traffic, self.levels.of_messages(self._to_each(counts.nbytes // self.size)))
        complete(self._door.comm.Ialltoall(counts, received))
        return received

    def exchange_bytes(self, send, send_bytes, receive, receive_bytes, traffic, *, whole=False):
        """All-to-all-v of bytes: `send` holds the ranks' messages one after another; returns a Handle of `receive`.

        send, receive : (..) uint8
        send_bytes, receive_bytes : (N) int64, both sides known.
        traffic : list of (Traffic, (N) int64 bytes per destination), what the messages consist of.
        whole : they travel as they are, though numbers of their kind are halved.
        Forward i -> j; the adjoint sends j -> i.  Collective.
        """
        if not whole and any(self._narrows(entry, np.float32) for entry, _ in traffic):
            return self._exchange_numbers(send, send_bytes, receive, receive_bytes, traffic)
        for entry, parts in traffic:
            self._count(entry, self.levels.of_messages(np.asarray(parts)))
        return self._door.of(receive).all_to_all(send, send_bytes, receive, receive_bytes)

    def gather_bytes(self, own, counts, whole, traffic):
        """All-gather the ranks' messages, counts (N) int64 bytes each, one after another into `whole`; Handle of it.

        own, whole : uint8.  Sent: (N - 1) times the own message.  Collective.
        """
        self._count(traffic, self.levels.of_gather(np.asarray(counts)))
        return self._door.of(whole).all_gather(own, counts, whole)

    def boards(self, turns):
        """`Boards` of all ranks, which are on one node, until the group ends: where the others are not there, of this one alone."""
        self._boards.append(Boards(self._door.comm, turns, self._alone))
        return self._boards[-1]

    def count_flat(self, traffic, sent_bytes):
        """Note in the ledger what this rank has written for all others to read, who are on its node.  Not collective."""
        if sent_bytes:
            self.ledger.add(traffic, sent_bytes)

    def sum(self, numbers, traffic=_CONTROL):
        """Sums over ranks, in rank order, of a few float64 or int64 numbers, as an array.  Collective."""
        return self.gather_numbers(numbers, traffic).wait().sum(axis=0)

    def gather_numbers(self, numbers, traffic=_CONTROL):
        """Handle of (N, k): the k float64 or int64 numbers of every rank.  Sent: (N - 1) times them.  Collective."""
        numbers = np.atleast_1d(np.asarray(numbers))
        result = np.empty((self.size, len(numbers)), numbers.dtype)
        self._count(traffic, self.levels.of_messages(self._to_each(numbers.nbytes)))
        return started(self._door.comm.Iallgather(numbers, result), result)

    def gather(self, thing):
        """[thing of rank 0, thing of rank 1, ...] on every rank, pickled: for set-up and reports only.  Collective."""
        return self._door.comm.allgather(thing)

    def from_first(self, thing):
        """Rank 0's thing on every rank, pickled: for set-up only.  Collective."""
        return self._door.comm.bcast(thing)

    def agree(self, error):
        """Raise on every rank if any rank brings an error (None: all is well).  Collective.

        Errors of one kind are raised as that kind, once, naming the ranks that met it.
        """
        agree(self._door.comm, error)

    def together(self, task):
        """Return task(); a DeshpcError of any rank's task is raised on every rank (see `agree`).  Collective."""
        result, error = attempted(task)
        self.agree(error)
        return result

    def _exchange_numbers(self, send, send_bytes, receive, receive_bytes, traffic):
        """As `exchange_bytes`, of float32 numbers that travel as halves."""
        for entry, parts in traffic:
            self._count(entry, self.levels.of_messages(np.asarray(parts) // 2))
        numbers, came = send.view(np.float32), receive.view(np.float32)
        return self._door.of(came, narrow=True).all_to_all(numbers, send_bytes // 4, came, receive_bytes // 4).then(lambda _: receive)

    def _narrows(self, traffic, dtype):
        """Whether numbers travel as halves: in training alone."""
        return self._narrow is not None and traffic.kind in KINDS and traffic.direction in DIRECTIONS and dtype == np.float32

    def _way(self, array, traffic):
        """The transport of an array."""
        return self._door.of(array, self._narrows(traffic, array.dtype))

    def _count(self, traffic, sent, array=None):
        """Note in the ledger what was sent of `traffic`: {level: numbers of `array`}, or bytes.  Inside a node nothing is narrow."""
        size = 1 if array is None else array.dtype.itemsize
        for level, numbers in sent.items():
            narrow = array is not None and level != "inside" and self._narrows(traffic, array.dtype)
            self.ledger.add(traffic._replace(level=level), numbers * (2 if narrow else size))

    def _share_out(self, shape):
        """(numbers (N) int64 of each rank's share of an array, {level: numbers sent} by a reduce-scatter of it, and by an all-gather)."""
        counts = number_counts(shape, self.size)
        return counts, self.levels.of_reduce(counts), self.levels.of_gather(counts)

    def _to_each(self, nbytes):
        """(N) int64: as many bytes to each rank."""
        return np.full(self.size, nbytes, np.int64)
