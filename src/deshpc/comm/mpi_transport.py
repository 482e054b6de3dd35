"""Arrays of a device are given to an MPI library that knows CUDA: no copy in host memory is made here.

MPI knows nothing of streams.  So an array is given to it when the device has done all that was started before the exchange was asked
for, and what has come is used when MPI's request is complete.
"""

from deshpc.comm.direct_transport import DirectTransport
from deshpc.comm.handle import started
from deshpc.comm.transport import begins_of
from deshpc.comm.turns import Turns


class MpiTransport(DirectTransport):
    """Over the communicator `comm`.  Whether its library knows CUDA has been found out: `cuda_support.py`."""

    def __init__(self, comm, backend):
        super().__init__(comm.rank, comm.size, backend)
        self._comm, self._turns = comm, Turns(self.device)

    def all_gather(self, own, counts, whole):
        """See `Transport`."""

        def begin():
            room = [self.device.lend(whole, writes=True), (counts, begins_of(counts))]
            return started(self._comm.Iallgatherv(self.device.lend(own), room), whole)

        return self._turns.ask(self.device.mark(), begin, own)

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""

        def begin():
            message = [self.device.lend(send), (send_counts, begins_of(send_counts))]
            room = [self.device.lend(receive, writes=True), (receive_counts, begins_of(receive_counts))]
            return started(self._comm.Ialltoallv(message, room), receive)

        return self._turns.ask(self.device.mark(), begin, send)

    def begin_all(self):
        """Begin what has been asked for, before another collective.  Collective."""
        self._turns.begin_all()

    def close(self):
        """Nothing is held but device memory, which goes with the transport."""
