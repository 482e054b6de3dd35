"""What the CPU offers: threads, arrays, scratch arrays, and one module of kernels for each operation."""

import numpy as np
from threadpoolctl import threadpool_limits

from deshpc.backend.arguments import Matrix
from deshpc.backend.cpu import (
    admission,
    arrays,
    attention,
    bi_interaction,
    cin,
    dense,
    ffm,
    field_sums,
    fm,
    history,
    interaction,
    key_numbers,
    linear,
    lists,
    lookup,
    loss,
    normalisation,
    pool,
    repeated,
    routing,
    rows,
    seats,
    selection,
    self_attention,
    table,
    tasks,
    update,
    value_tables,
)
from deshpc.backend.cpu.buffers import Buffers, aligned
from deshpc.backend.cpu.fresh_memory import FreshMemory, release
from deshpc.backend.cpu.products import open_products
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.cpu.team import Team

_PAGE = 4096  # bytes


class CpuBackend:
    """NumPy arrays, Numba kernels, `threads` threads."""

    name, device = "cpu", None
    batches_ahead = 0  # a batch is read where it lies
    overlaps = False  # what is prepared inside a node pushes the running batch out of the caches
    block_samples = 2048  # that a tower works on at a time: more of them share a split of the weights, fewer stay in the caches
    product_bytes = 1 << 22  # of products of embeddings that are held at a time: they stay in the caches
    admission, arrays, cin, key_numbers, normalisation = admission, arrays, cin, key_numbers, normalisation
    bi_interaction, dense, ffm, field_sums, fm, history, interaction = bi_interaction, dense, ffm, field_sums, fm, history, interaction
    linear, lookup = linear, lookup
    loss, pool, repeated, routing, rows, seats, selection, table = loss, pool, repeated, routing, rows, seats, selection, table
    attention, self_attention = attention, self_attention
    lists, tasks, update, value_tables = lists, tasks, update, value_tables
    aligned, release = staticmethod(aligned), staticmethod(release)
    ready_bytes = 16 << 20  # of memory that a table grows into which are made ready at a time
    lanes = Lanes
    matrix = Matrix.of

    def __init__(self, threads, matrix_products="auto"):
        """matrix_products : see `open_products`

        From now until `close` a matrix product of this process runs on the thread that asks for it: each of the team asks for
        its own, and a library's workers would fight with it for the cores."""
        self._team, self._library_threads = Team(threads), threadpool_limits(1, user_api="blas")
        self.products = open_products(matrix_products)
        self.threads = threads
        self._fresh = FreshMemory()
        self.make_ready = self._fresh.make_ready

    def buffers(self):
        """A new set of reusable scratch arrays."""
        return Buffers()

    host_buffers = buffers

    def upload(self, arrays):
        """The arrays of a batch where the backend computes: here."""
        return arrays

    def zeros(self, shape, dtype):
        """An array of zeros."""
        return np.zeros(shape, dtype)

    def array(self, host):
        """A host array where the backend computes."""
        return host

    def host(self, array):
        """A copy of an array in host memory."""
        return array.copy()

    def read_later(self, array):
        """Function() -> the array in host memory, as it is now; it must not change before that is called."""
        return lambda: array

    def set(self, array, host):
        """Copy a host array to an array of the backend."""
        array[...] = host

    def address(self, array):
        """Where an array begins."""
        return array.ctypes.data

    def touch(self, array):
        """Have the system give all memory of an array now, not when it is first used."""
        array.view(np.uint8)[::_PAGE] += np.uint8(0)

    def each(self, function, arguments):
        """Call function(*a) for each a in `arguments`, one thread each; results in order."""
        return self._team.each(function, arguments)

    def close(self):
        """Let the threads go."""
        self._team.close()
        self._fresh.close()
        self._library_threads.restore_original_limits()
