"""The threads of all ranks of a node as workers that share a task, such as reading a file."""

import numpy as np

from deshpc.errors import DeshpcError


class Workers:
    """`size` workers, numbered by rank of the node and by thread of the rank.

    node, group : the ranks' Node and the Group of all nodes, each of which does the same task
    each        : runs a function on the threads of this rank, as `backend.each`
    threads : as many on every rank
    """

    def __init__(self, node, group, each, threads):
        self._node, self._group, self._each = node, group, each
        self.own = range(node.rank * threads, (node.rank + 1) * threads)
        self.size = node.size * threads

    def run(self, task):
        """[task(0), task(1), ...]: each worker does its own, every rank gets all results.  Collective.

        Results are pickled: they should be small.  A DeshpcError or MemoryError of any worker is raised on all ranks of the
        group (see `Group.agree`), the first one of the first rank that met one.
        """
        own, error = None, None
        try:
            own = self._each(task, [(worker,) for worker in self.own])
        except (DeshpcError, MemoryError) as problem:
            error = problem
        self._node.sleep_until_all_are_here()
        self._group.agree(error)
        return [result for results in self._node.gather(own) for result in results]

    def shared(self, shape, dtype):
        """A new array, the same memory on all ranks of the node.  Collective."""
        return self._node.allocate(shape, dtype)

    def require(self, nbytes):
        """LaunchError where so many bytes more cannot be shared."""
        self._node.require(nbytes)

    def taken(self, part):
        """A part of a shared array, with memory behind it.  LaunchError where there is none left."""
        return self._node.taken(part)


class OneWorker:
    """The calling thread alone, as Workers: without MPI."""

    size, own = 1, range(1)

    def run(self, task):
        """[task(0)]"""
        return [task(0)]

    def shared(self, shape, dtype):
        """A new array."""
        return np.empty(shape, dtype)

    def require(self, nbytes):
        """Nothing: nothing is shared."""

    def taken(self, part):
        """The part."""
        return part
