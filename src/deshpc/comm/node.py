"""The ranks that share a node's memory: cores for each, one turn for the first, arrays held once."""

import time

import numpy as np

from deshpc.comm.cores import allocated_cores, cores_for, own_cores


class Node:
    """The ranks of one node.  Creating one is collective on `comm`."""

    def __init__(self, comm):
        from mpi4py import MPI

        self.comm = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.rank, self.size = self.comm.rank, self.comm.size
        self._windows = []

    def threads_per_rank(self):
        """Cores for this rank: its own, an equal part of those that it shares; see cores.py.  Collective on the node."""
        return cores_for(self.rank, self.comm.allgather(own_cores()), allocated_cores(self.size))

    def first_then_others(self, task):
        """Run task() on the node's first rank, then on the others.  Those that wait sleep instead of spinning.

        Collective on the node.
        """
        if self.rank == 0:
            task()
        self.sleep_until_all_are_here()
        if self.rank != 0:
            task()
        self.sleep_until_all_are_here()

    def sleep_until_all_are_here(self):
        """A barrier in which the early ranks sleep and leave their cores to the late ones.  Collective on the node."""
        request = self.comm.Ibarrier()
        while not request.Test():
            time.sleep(0.005)

    def from_first(self, thing):
        """The node's first rank's thing on every rank of the node, pickled: for set-up only.  Collective on the node."""
        return self.comm.bcast(thing)

    def share(self, array):
        """The node's first rank's array, on every rank of the node, held once in shared memory.

        array : NumPy array on the first rank, ignored on the others.  Read-only by agreement.  Collective on the node.
        """
        if self.size == 1:
            return array
        from mpi4py import MPI

        shape, dtype = self.from_first((array.shape, array.dtype.str) if self.rank == 0 else None)
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        window = MPI.Win.Allocate_shared(nbytes if self.rank == 0 else 0, 1, comm=self.comm)
        self._windows.append(window)
        memory, _ = window.Shared_query(0)
        result = np.frombuffer(memory, np.uint8, nbytes).view(dtype).reshape(shape) if nbytes else np.empty(shape, dtype)
        if self.rank == 0 and nbytes:
            result[...] = array
        self.sleep_until_all_are_here()
        return result

    def free(self):
        """Give back shared arrays and the communicator; arrays from `share` end here.  Collective on the node."""
        for window in self._windows:
            window.Free()
        self.comm.Free()
