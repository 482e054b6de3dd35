"""The ranks that share a node's memory: cores for each, one turn for the first, arrays held once."""

import time

import numpy as np

from deshpc.backend.cpu.buffers import aligned
from deshpc.comm import shared_memory
from deshpc.comm.cores import allocated_cores, cores_for, own_cores
from deshpc.comm.group import attempted

_SHORTEST_SLEEP_S, _LONGEST_SLEEP_S = 5e-5, 5e-3

class Node:
    """The ranks of one node.  Creating one is collective on `comm`."""

    def __init__(self, comm):
        from mpi4py import MPI

        self.comm = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.rank, self.size = self.comm.rank, self.comm.size
        self._windows, self._shared_bytes = [], 0

    def threads_per_rank(self):
        """Cores for this rank: its own, an equal part of those that it shares; see cores.py.  Collective on the node."""
        return cores_for(self.rank, self.comm.allgather(own_cores()), allocated_cores(self.size))

    def first_then_others(self, task, group):
        """Run task() on each node's first rank, then on the others.  Those that wait sleep instead of spinning.

        A DeshpcError of any rank is raised on all ranks of `group`, those of all nodes; after one of the first rank, the others of
        its node do not begin.  Collective on the group.
        """
        error = attempted(task)[1] if self.rank == 0 else None
        self.sleep_until_all_are_here()
        if not self.from_first(error is not None) and self.rank != 0:
            error = attempted(task)[1]
        self.sleep_until_all_are_here()
        group.agree(error)

    def sleep_until_all_are_here(self):
        """A barrier in which the early ranks sleep and leave their cores to the late ones.  Collective on the node."""
        request, seconds = self.comm.Ibarrier(), _SHORTEST_SLEEP_S
        while not request.Test():
            time.sleep(seconds)
            seconds = min(2 * seconds, _LONGEST_SLEEP_S)

    def from_first(self, thing):
        """The node's first rank's thing on every rank of the node, pickled: for set-up only.  Collective on the node."""
        return self.comm.bcast(thing)

    def gather(self, thing):
        """[thing of rank 0, thing of rank 1, ...] on every rank of the node, pickled.  Collective on the node."""
        return self.comm.allgather(thing)

    def share(self, array):
        """The node's first rank's array, on every rank of the node, held once in shared memory.

        array : NumPy array on the first rank, ignored on the others.  Read-only by agreement.  Collective on the node.
        """
        if self.size == 1:
            return array
        result = self.allocate(*self.from_first((array.shape, array.dtype.str) if self.rank == 0 else None))
        if self.rank == 0:
            self.taken(result)[...] = array
        self.sleep_until_all_are_here()
        return result

    def allocate(self, shape, dtype):
        """A new array that all ranks of the node may write, held once in shared memory.  Collective on the node."""
        count = int(np.prod(shape, dtype=np.int64))
        if self.size == 1:
            return aligned(count, dtype).reshape(shape)
        nbytes = count * np.dtype(dtype).itemsize
        window = shared_memory.window(self.comm, nbytes, nbytes if self.rank == 0 else 0)
        self._windows.append(window)
        self._shared_bytes += nbytes
        memory, _ = window.Shared_query(0)
        return np.frombuffer(memory, np.uint8, nbytes).view(dtype).reshape(shape) if nbytes else np.empty(shape, dtype)

    def require(self, nbytes):
        """LaunchError where so many bytes more cannot be shared."""
        if self.size > 1:
            shared_memory.require(nbytes)

    def taken(self, part):
        """A part of an array from `allocate`, with memory behind it: to be asked for before the part is written.

        LaunchError where there is no memory left.
        """
        if self.size > 1:
            shared_memory.take(part, self._shared_bytes)
        return part

    def free(self):
        """Give back shared arrays and the communicator; arrays from `share` and `allocate` end here.  Collective on the node."""
        for window in self._windows:
            window.Free()
        self.comm.Free()
