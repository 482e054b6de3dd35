"""Arrays of a device travel by NCCL, in the order of the device's stream: the host waits for nothing.

NCCL moves bytes, to every rank and from every rank in one group of calls; what is added up is added by a kernel, but for integers, whose
sum has the same bits in any order.  A handle's result may be given to the device at once: whatever uses it comes later in the stream.
"""

import numpy as np

from deshpc.comm.direct_transport import DirectTransport
from deshpc.comm.handle import done
from deshpc.comm.transport import begins_of
from deshpc.errors import LaunchError, RankError


class NcclTransport(DirectTransport):
    """communicator : NcclCommunicator of this rank among all of them; see `open_nccl`"""

    def __init__(self, nccl, communicator, rank, size, backend):
        super().__init__(rank, size, backend)
        self._nccl, self._communicator = nccl, communicator

    def sum_samples(self, array, counts):
        """See `Transport`."""
        if array.dtype != np.int64:
            return super().sum_samples(array, counts)
        address = self.device.address(self.device.lend(array, writes=True))
        add = self._communicator.allReduce
        self._call(lambda: add(address, address, array.size, self._nccl.NCCL_INT64, self._nccl.NCCL_SUM, self.device.stream))
        return done(array)

    def all_gather(self, own, counts, whole):
        """See `Transport`."""
        self._exchange(own, np.full(self.size, own.size, np.int64), np.zeros(self.size, np.int64), whole, counts)
        return done(whole)

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""
        self._exchange(send, send_counts, begins_of(send_counts), receive, receive_counts)
        return done(receive)

    def begin_all(self):
        """Nothing: an exchange begins where it is asked for."""

    def close(self):
        """Wait for what is under way, and leave the communicator.  Collective."""
        self._call(self._communicator.destroy)

    def _exchange(self, send, send_counts, send_begins, receive, receive_counts):
        """Give every rank its numbers of `send`, and put what comes one after another into `receive`; what stays is copied."""
        begins, size, own = begins_of(receive_counts), send.dtype.itemsize, self.rank
        kept, count = int(send_begins[own]), int(send_counts[own])
        if count:
            source, target = send.reshape(-1), receive.reshape(-1)
            self.device.copy(source[kept : kept + count], target[int(begins[own]) : int(begins[own]) + count])
        outgoing, incoming = self.device.lend(send), self.device.lend(receive, writes=True)
        from_here, to_here = self.device.address(outgoing), self.device.address(incoming)

        def calls():
            self._nccl.groupStart()
            for peer in range(self.size):
                if peer != own:
                    self._send(from_here + size * int(send_begins[peer]), size * int(send_counts[peer]), peer)
                    self._receive(to_here + size * int(begins[peer]), size * int(receive_counts[peer]), peer)
            self._nccl.groupEnd()

        self._call(calls)

    def _send(self, address, nbytes, peer):
        if nbytes:
            self._communicator.send(address, nbytes, self._nccl.NCCL_UINT8, peer, self.device.stream)

    def _receive(self, address, nbytes, peer):
        if nbytes:
            self._communicator.recv(address, nbytes, self._nccl.NCCL_UINT8, peer, self.device.stream)

    def _call(self, task):
        """task(), after a look at what has failed since the last call: NCCL's calls only start something."""
        try:
            self._communicator.check_async_error()
            task()
        except self._nccl.NcclError as error:
            raise RankError(f"rank {self.rank}: NCCL: {error}; NCCL_DEBUG=WARN says more; compute.transport = 'host' does without") from None


def open_nccl(comm, backend, together):
    """The NcclTransport of all ranks of `comm`.  Collective; a LaunchError on all ranks where NCCL cannot be used.

    together : see `Group.together`
    """
    from mpi4py import MPI

    device = backend.device
    nccl = together(device.nccl)
    places = comm.allgather((MPI.Get_processor_name(), device.place))
    together(lambda: _require_distinct(places))
    identity = together(lambda: _attempt(nccl, nccl.get_unique_id) if comm.rank == 0 else None)
    identity = comm.bcast(identity)
    communicator = together(lambda: _attempt(nccl, lambda: nccl.NcclCommunicator(comm.size, identity, comm.rank)))
    return NcclTransport(nccl, communicator, comm.rank, comm.size, backend)


def _require_distinct(places):
    seen = {}
    for rank, place in enumerate(places):
        if place in seen:
            raise LaunchError(
                f"compute.transport = 'nccl': ranks {seen[place]} and {rank} share device {place[1]} of {place[0]}, which NCCL does not "
                "allow; start one rank for each device, or choose 'host'"
            )
        seen[place] = rank


def _attempt(nccl, task):
    try:
        return task()
    except nccl.NcclError as error:
        raise LaunchError(f"compute.transport = 'nccl': NCCL does not start: {error}; NCCL_DEBUG=WARN says more; or choose 'host'") from None
