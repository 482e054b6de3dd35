"""What the CPU offers: threads, scratch arrays, and one module of kernels for each operation."""

from deshpc.backend.cpu import fm, linear, lookup, loss, routing, rows, table, update
from deshpc.backend.cpu.buffers import Buffers, aligned
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.cpu.team import Team


class CpuBackend:
    """NumPy arrays, Numba kernels, `threads` threads."""

    name = "cpu"
    fm, linear, lookup, loss, routing, rows, table, update = fm, linear, lookup, loss, routing, rows, table, update
    aligned = staticmethod(aligned)
    lanes = Lanes

    def __init__(self, threads):
        self._team = Team(threads)
        self.threads = threads

    def buffers(self):
        """A new set of reusable scratch arrays."""
        return Buffers()

    def each(self, function, arguments):
        """Call function(*a) for each a in `arguments`, one thread each; results in order."""
        return self._team.each(function, arguments)

    def close(self):
        """Let the threads go."""
        self._team.close()
