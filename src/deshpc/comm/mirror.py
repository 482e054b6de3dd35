"""A group of ranks of which only this one is there: what the others would send is made from what this one sends.

By it a rank meets all the code of a run of N ranks without waiting for any of them, such as to have its kernels compiled.  Whatever this rank
sends to another, that one sends to it, and sums have this rank's numbers alone.  So sizes and types are those of a real exchange where all
ranks have as many samples; the numbers mean nothing.
"""

import numpy as np

from deshpc.comm.handle import done
from deshpc.comm.shares import slice_of


class MirrorComm:
    """What a Group asks of a communicator, for `rank` of `size` ranks of which the others are not there."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def allgather(self, thing):
        """[thing] of all ranks: this one's."""
        return [thing] * self.size

    def bcast(self, thing):
        """This rank's thing."""
        return thing

    def Iallgather(self, own, whole):
        """Fill (N, ...) with this rank's array; a request that is complete."""
        whole[...] = own
        return _Complete()

    def Ialltoall(self, send, receive):
        """Row r comes from rank r: the one that was to go there; a request that is complete."""
        receive[...] = send
        return _Complete()

    def Free(self):
        """Nothing is held."""


class _Complete:
    def Test(self):
        return True


class MirrorTransport:
    """A `Transport` between `rank` of `size` ranks and the others, which are not there.  comm : MirrorComm"""

    def __init__(self, comm):
        self.comm = comm

    def sum_samples(self, array, counts):
        """See `Transport`."""
        return done(array)

    def reduce_samples(self, array, counts):
        """See `Transport`."""
        begin, end = slice_of(len(array), self.comm.size, self.comm.rank)
        return done(array[begin:end].copy())

    def all_gather(self, own, counts, whole):
        """See `Transport`."""
        return done(_filled(whole, own))

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""
        return done(_filled(receive, send))

    def close(self):
        """See `Transport`."""


def _filled(whole, part):
    """`whole`, in which the numbers of `part` are, again and again; zeros where there are none."""
    whole.reshape(-1)[...] = np.resize(part.reshape(-1), whole.size) if part.size else 0
    return whole
