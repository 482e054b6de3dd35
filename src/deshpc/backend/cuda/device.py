"""One CUDA device through CuPy: memory, transfers, compilation and launches, all on one stream of its own.

Everything is ordered by the stream, and only `to_host` and `wait` let the host wait for it.  Tests put another object with
these methods in its place.
"""

import numpy as np

from deshpc.backend.cuda.source import FOLDER
from deshpc.errors import LaunchError

_OPTIONS = ("-std=c++17", "--fmad=false")  # sums and products are fused only where kernels say so


class CupyDevice:
    """The device `number`, as CUDA counts those that this process may use; `cupy` is the module."""

    name = "cuda"

    def __init__(self, cupy, number):
        self._cupy = cupy
        self._cupy.cuda.Device(number).use()
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._stream.use()
        self._numba_stream = None

    def empty(self, shape, dtype):
        """An array on the device; contents are whatever was there."""
        return self._cupy.empty(shape, dtype)

    def zeros(self, shape, dtype):
        """An array of zeros on the device."""
        return self._cupy.zeros(shape, dtype)

    def host_memory(self, shape, dtype):
        """A NumPy array in pinned memory, from which transfers do not wait."""
        dtype, count = np.dtype(dtype), int(np.prod(shape, dtype=np.int64))
        memory = self._cupy.cuda.alloc_pinned_memory(max(1, count * dtype.itemsize))
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def to_device(self, host, target):
        """Copy a NumPy array to an array of the device, of the same shape and type.

        Memory that `host_memory` gave must stay as it is until the stream has passed; any other may change at once.
        """
        target.set(host, stream=self._stream)

    def to_host(self, array):
        """A copy in host memory.  Waits for all that has been started."""
        result = np.empty(array.shape, array.dtype)
        array.get(stream=self._stream, out=result)
        self._stream.synchronize()
        return result

    def into_host(self, array, host):
        """Copy to a NumPy array, in pinned memory or not.  Waits for all that has been started."""
        array.get(stream=self._stream, out=host)
        self._stream.synchronize()

    def copy(self, source, target):
        """Copy an array of the device to another one, of the same size."""
        target.data.copy_from_device_async(source.data, source.nbytes, self._stream)

    def address(self, array):
        """Where an array begins."""
        return array.data.ptr

    def mark(self):
        """A point in the stream, for `wait`."""
        return self._stream.record()

    def wait(self, point):
        """Wait until the stream has passed a point of `mark`."""
        point.synchronize()

    def compile(self, name, source, constants):
        """The kernels of a file, compiled for this device; CuPy keeps them on disk."""
        defines = tuple(f"-D{key}={value}" for key, value in constants.items())
        module = self._cupy.RawModule(code=source, options=(*_OPTIONS, f"-I{FOLDER}", *defines), backend="nvrtc")
        return _Compiled(module)

    def launch(self, function, blocks, threads, arguments):
        """Start a kernel; arguments are arrays of the device, NumPy scalars of the parameters' types, or None."""
        null = np.uint64(0)
        function((blocks,), (threads,), tuple(null if one is None else one for one in arguments), stream=self._stream)

    def elementwise(self, body):
        """Function(count, *arguments) that starts the kernel of an elementwise body (`numba_kernels.py`)."""
        from numba import cuda

        from deshpc.backend.cuda.numba_kernels import THREADS, compiled

        kernel = compiled(body.__name__)
        if self._numba_stream is None:
            self._numba_stream = cuda.external_stream(self._stream.ptr)

        def start(count, *arguments):
            if count:
                kernel[-(-count // THREADS), THREADS, self._numba_stream](np.int64(count), *arguments)

        return start


def open_device(node_rank):
    """The CupyDevice of a rank: the ranks of a node take the devices in turns.  LaunchError where there is none."""
    cupy = _import_cupy()
    return CupyDevice(cupy, node_rank % _device_count(cupy))


class _Compiled:
    def __init__(self, module):
        self.function = module.get_function


def _import_cupy():
    try:
        import cupy
    except ImportError as error:
        raise LaunchError(
            "compute.backend = 'cuda' needs CuPy (pip install 'deshpc[cuda]', or the cupy package of the site's CUDA): "
            f"{error}"
        ) from None
    return cupy


def _device_count(cupy):
    why = "CUDA finds none"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        count, why = 0, str(error)
    if count == 0:
        raise LaunchError(f"compute.backend = 'cuda': this process has no CUDA device ({why}); choose 'cpu'")
    return count
