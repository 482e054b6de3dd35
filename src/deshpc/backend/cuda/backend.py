"""What a CUDA device offers: arrays, scratch arrays, transfers, and the operations that the CPU backend has, too."""

from typing import NamedTuple

import numpy as np

from deshpc.backend.cpu.buffers import Buffers as HostBuffers
from deshpc.backend.cuda.admission import Admission
from deshpc.backend.cuda.arrays import ArrayOperations
from deshpc.backend.cuda.attention import AttentionOperations
from deshpc.backend.cuda.bi_interaction import BiInteractionOperations
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.cin import CINOperations
from deshpc.backend.cuda.columns import ColumnSums
from deshpc.backend.cuda.dense import DenseOperations
from deshpc.backend.cuda.ffm import FFMOperations
from deshpc.backend.cuda.field_sums import FieldSumsOperations
from deshpc.backend.cuda.fm import FMOperations
from deshpc.backend.cuda.history import HistoryOperations
from deshpc.backend.cuda.interaction import InteractionOperations
from deshpc.backend.cuda.key_sums import KeySums
from deshpc.backend.cuda.launch import Kernels
from deshpc.backend.cuda.linear import LinearOperations
from deshpc.backend.cuda.lookup import LookupOperations
from deshpc.backend.cuda.loss import LossOperations
from deshpc.backend.cuda.normalisation import NormalisationOperations
from deshpc.backend.cuda.pool import PoolOperations
from deshpc.backend.cuda.prefix import Prefix
from deshpc.backend.cuda.products import DeviceProducts
from deshpc.backend.cuda.rank_sums import RankSums
from deshpc.backend.cuda.routing import RoutingOperations
from deshpc.backend.cuda.rows import RowsOperations
from deshpc.backend.cuda.seats import SeatOperations
from deshpc.backend.cuda.self_attention import SelfAttentionOperations
from deshpc.backend.cuda.sending import sent
from deshpc.backend.cuda.table import TableOperations
from deshpc.backend.cuda.tasks import TaskOperations
from deshpc.backend.cuda.update import UpdateOperations
from deshpc.backend.cuda.upload import Upload
from deshpc.backend.cuda.worst import Worst


class Lanes(NamedTuple):
    """An embedding's size and types; kernels know them by their constants."""

    dim: int
    storage: str
    compute: str
    sums: str | None = None


class CudaBackend:
    """Arrays on one device, CUDA C++ and Numba CUDA kernels; a rank has one shard and one stream.

    atomic_sums : add gradients up in any order: faster where few keys are frequent, the same bits in fixed point only
    matrix_products : of `compute.matrix_products`, see `DeviceProducts`
    """

    name, threads = "cuda", 1
    overlaps = True  # the device works on a batch while the host prepares the next one
    batches_ahead = 1  # that are gathered while the next one is prepared
    key_numbers = value_tables = None  # keys and values travel whole
    lists = None  # and are sent, inside a node, too
    block_samples = 1 << 16  # that a tower works on at a time: enough for every multiprocessor, and memory for their arrays
    ready_bytes = 0  # memory of a device is there when it is given
    product_bytes = 1 << 28  # of products of embeddings that are held at a time: few launches, each of which fills the device
    lanes = Lanes
    host_buffers = HostBuffers

    def __init__(self, device, atomic_sums=False, matrix_products="auto"):
        self.device = device
        kernels = Kernels(device)
        prefix, key_sums, worst = Prefix(kernels), KeySums(kernels), Worst(kernels)
        column_sums = ColumnSums(kernels)
        self.table, self.admission, self.history = TableOperations(kernels), Admission(kernels), HistoryOperations(kernels, prefix)
        self.lookup = LookupOperations(kernels, prefix, self.table, self.admission, atomic_sums)
        self.routing = RoutingOperations(kernels, prefix, self.lookup)
        self.rows = RowsOperations(kernels, prefix)
        self.linear = LinearOperations(kernels, key_sums, worst)
        self.fm = FMOperations(kernels, key_sums, worst)
        self.ffm = FFMOperations(kernels, key_sums, column_sums)
        self.cin = CINOperations(kernels)
        self.dense = DenseOperations(kernels, column_sums)
        self.interaction = InteractionOperations(kernels, column_sums)
        self.normalisation, self.arrays = NormalisationOperations(kernels, column_sums), ArrayOperations(kernels, column_sums)
        self.pool = PoolOperations(kernels, key_sums, worst)
        self.field_sums = FieldSumsOperations(kernels, key_sums, column_sums, self.pool)
        self.bi_interaction = BiInteractionOperations(kernels, key_sums, worst)
        self.loss, self.tasks, self.update = LossOperations(kernels), TaskOperations(kernels), UpdateOperations(kernels, worst)
        self.attention, self.seats = AttentionOperations(kernels), SeatOperations(device)
        self.rank_sums, self.self_attention = RankSums(kernels), SelfAttentionOperations(kernels)
        self.products = DeviceProducts(device, self.arrays, matrix_products)
        self.upload = self._upload = Upload(device)

    def start_upload(self, arrays):
        """Start bringing a batch to the device: see `Upload.start`."""
        self._upload.start(arrays)

    def buffers(self):
        """A new set of reusable scratch arrays."""
        return Buffers(self.device)

    def aligned(self, count, dtype, what=""):
        """`count` zeros."""
        return self.device.zeros((count,), np.dtype(dtype))

    def zeros(self, shape, dtype):
        """An array of zeros."""
        return self.device.zeros(shape if isinstance(shape, tuple) else (shape,), np.dtype(dtype))

    def array(self, host):
        """A copy of a host array on the device."""
        return sent(self.device, host)

    def host(self, array):
        """A copy in host memory.  Waits for all that has been started."""
        return self.device.to_host(array)

    def read_later(self, array):
        """Function() -> the array in host memory, as it is now.  It waits for what has been started until now, not for more."""
        host = self.device.host_memory(array.shape, array.dtype)
        self.device.start_into_host(array, host)
        point = self.device.mark()

        def read():
            self.device.wait(point)
            return host

        return read

    def set(self, array, host):
        """Copy a host array to an array of the device, of the same shape and type."""
        self.device.to_device(np.asarray(host, array.dtype, order="C"), array)

    def address(self, array):
        """Where an array begins."""
        return self.device.address(array)

    def matrix(self, array):
        """How kernels take an array of two dimensions whose rows may lie apart: as it is."""
        return array

    def touch(self, array):
        """Memory of a device is there when it is given."""

    def make_ready(self, array, begin, end):
        """Memory of a device is there when it is given."""

    def release(self, array, begin, end):
        """Memory of a device is given back as a whole."""

    def each(self, function, arguments):
        """[function(*a) for each a in `arguments`]: one thread starts everything."""
        return [function(*one) for one in arguments]

    def close(self):
        """Let the thread that gathers go."""
        self._upload.close()
