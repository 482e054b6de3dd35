"""One CUDA device through CuPy: memory, transfers, compilation and launches, all on one stream of its own.

Everything is ordered by the stream, but for the copies of `copy_out`, which have another one.  `to_host`, `into_host` and `wait` let
the host wait for it; `to_device` does so only when too many copies are under way.  Tests put another object with these methods in its place.
"""

import hashlib
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from deshpc.backend.cuda.cublas import multiply
from deshpc.backend.cuda.staging import StagingRing, is_pinned, pinned_memory
from deshpc.backend.versions import unmet
from deshpc.errors import DeshpcError, LaunchError
from deshpc.jit import cache_directory

_OPTIONS = ("-std=c++17", "--fmad=false")  # sums and products are fused only where kernels say so
_DIGEST_BYTES = 32


class CupyDevice:
    """The device `number`, as CUDA counts those that this process may use; `cupy` is the module.

    For the thread that makes it: to CUDA and CuPy, device and stream in use are those of a thread.
    """

    name = "cuda"

    def __init__(self, cupy, number):
        self._cupy, self.number = cupy, number
        device = self._cupy.cuda.Device(number)
        device.use()
        self._device, self._capability = device, int(device.compute_capability)
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._stream.use()
        self._copies = self._cupy.cuda.Stream(non_blocking=True)
        self._ring = StagingRing(cupy, self._stream)
        self._numba_stream = None

    def empty(self, shape, dtype):
        """An array on the device; contents are whatever was there.  MemoryError where there is no room."""
        try:
            return self._cupy.empty(shape, dtype)
        except MemoryError as error:  # CuPy's does not say whose memory it is
            raise MemoryError(f"on the CUDA device: {error}") from None

    def zeros(self, shape, dtype):
        """An array of zeros on the device."""
        array = self.empty(shape, dtype)
        array.data.memset_async(0, array.nbytes, self._stream)
        return array

    def host_memory(self, shape, dtype):
        """A NumPy array in pinned memory, from which and to which transfers go directly.

        Whoever has it keeps it until the stream has passed the last of them.
        """
        return pinned_memory(self._cupy, shape, dtype)

    def to_device(self, host, target):
        """Start copying a NumPy array to an array of the device, of the same shape and type.

        host : memory that `host_memory` gave must stay as it is until the stream has passed a `mark` made after this;
            any other may change at once, since it is copied to pinned memory first
        """
        if host.nbytes == 0 or (host.flags.c_contiguous and is_pinned(self._cupy, host)):
            target.set(host, stream=self._stream)
        else:
            self._ring.send(host, target)

    def to_host(self, array):
        """A copy in host memory.  Waits for all that has been started."""
        result = np.empty(array.shape, array.dtype)
        self.into_host(array, result)
        return result

    def into_host(self, array, host):
        """Copy to a NumPy array, in pinned memory or not.  Waits for all that has been started."""
        array.get(stream=self._stream, out=host)  # waits for the stream

    def start_into_host(self, array, host):
        """Start copying to a NumPy array of `host_memory`, whose contents are valid when the stream has passed a `mark` made after this."""
        array.get(stream=self._stream, out=host, blocking=False)

    def copy_out(self, array, host):
        """Start copying to a NumPy array of `host_memory`, after all that has been started, and beside what is started from now on.

        Returns a point for `wait` and `passed`: behind it the copy is there.  Until then nothing may write to the array.
        """
        self._copies.wait_event(self.mark())
        array.get(stream=self._copies, out=host, blocking=False)
        return self._copies.record(self._cupy.cuda.Event(disable_timing=True))

    def copy(self, source, target):
        """Copy an array of the device to another one, of the same size."""
        target.data.copy_from_device_async(source.data, source.nbytes, self._stream)

    def address(self, array):
        """Where an array begins."""
        return array.data.ptr

    def lend(self, array, writes=False):
        """What a library that knows CUDA takes for an array: MPI the object, by its `__cuda_array_interface__`, NCCL its `address`.

        writes : whether the library writes to it
        """
        return array

    @property
    def stream(self):
        """The stream as CUDA's number for it, for a library that is to work in its order."""
        return self._stream.ptr

    @property
    def place(self):
        """Text that ranks of one host have in common if they use the same device."""
        return self._device.pci_bus_id

    def nccl(self):
        """The module that CuPy reaches NCCL by.  LaunchError where NCCL is not there."""
        return _import_nccl()

    def mark(self):
        """A point in the stream, behind all that has been started: for `wait` and `passed`."""
        return self._stream.record(self._cupy.cuda.Event(disable_timing=True))

    def passed(self, point):
        """Whether the stream has passed a point of `mark`."""
        return point.done

    def wait(self, point):
        """Wait until the stream has passed a point of `mark`."""
        point.synchronize()

    def multiply(self, a, b, out, add, arithmetic):
        """Start out = a b, or out += a b: see `cublas.multiply`."""
        multiply(self._cupy, a, b, out, add, arithmetic)

    def compile(self, name, source, constants):
        """The kernels of a file, compiled for this device and kept on disk."""
        defines = (f"-D{key}={value}" for key, value in constants.items())
        module = self._cupy.cuda.function.Module()
        module.load(_binary(self._cupy.cuda.nvrtc, self._capability, name, source, (*_OPTIONS, *defines)))
        return _Compiled(module)

    def launch(self, function, blocks, threads, arguments):
        """Start a kernel; arguments are arrays of the device, NumPy scalars of the parameters' types, or None."""
        function((blocks,), (threads,), arguments, stream=self._stream)

    def elementwise(self, body):
        """Function(count, *arguments) that starts the kernel of an elementwise body (`numba_kernels.py`)."""
        from numba import cuda

        from deshpc.backend.cuda.numba_kernels import THREADS, compiled, numba_array

        kernel, own = compiled(body.__name__), self._cupy.ndarray
        if self._numba_stream is None:
            self._numba_stream = cuda.external_stream(self._stream.ptr)

        def start(count, *arguments):
            if count:
                given = [numba_array(one.data.ptr, one.shape, one.dtype) if isinstance(one, own) else one for one in arguments]
                kernel[-(-count // THREADS), THREADS, self._numba_stream](np.int64(count), *given)

        return start


def open_device(node_rank):
    """The CupyDevice of a rank: the ranks of a node take the devices in turns.

    LaunchError where there is none, or where the versions of what it needs do not go together.
    """
    if problem := unmet("cuda"):
        raise LaunchError(f"compute.backend = 'cuda': {problem}")
    cupy = _import_cupy()
    return _device(cupy, node_rank % _device_count(cupy))


@lru_cache
def _device(cupy, number):
    """One a process: of two, one would fill its arrays on the other's stream, unordered with its own kernels."""
    return CupyDevice(cupy, number)


class _Compiled:
    def __init__(self, module):
        self.function = module.get_function


def _binary(nvrtc, capability, name, source, options):
    """The machine code of a source, from the user's cache or compiled now (PTX for a device that NVRTC does not know)."""
    known = [one for one in nvrtc.getSupportedArchs() if one <= capability]
    if not known:
        raise LaunchError(f"CUDA {nvrtc.getVersion()} compiles for no device of compute capability {capability / 10}")
    real = known[-1] == capability
    options = f"-arch={'sm' if real else 'compute'}_{known[-1]}", *options
    key = hashlib.sha256(repr((nvrtc.getVersion(), options, name, source)).encode()).hexdigest()
    path = cache_directory().parent / "cuda" / key
    found = _read(path)
    if found is None:
        found = _compile(nvrtc, name, source, options, real)
        _write(path, found)
    return found


def _compile(nvrtc, name, source, options, real):
    program = nvrtc.createProgram(source, name, (), ())
    try:
        nvrtc.compileProgram(program, options)
        return nvrtc.getCUBIN(program) if real else nvrtc.getPTX(program)
    except nvrtc.NVRTCError as error:
        raise DeshpcError(f"{name} {' '.join(options)}: {error}\n{nvrtc.getProgramLog(program)}") from None
    finally:
        nvrtc.destroyProgram(program)


def _read(path):
    """What `_write` has written, None if that is not there as a whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, binary = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return binary if hashlib.sha256(binary).digest() == digest else None


def _write(path, binary):
    with suppress(OSError):  # where nothing can be kept, it is compiled again
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, ignore_cleanup_errors=True) as folder:  # ranks may compile the same at once
            file = Path(folder) / "binary"
            file.write_bytes(hashlib.sha256(binary).digest() + binary)
            file.replace(path)


def _import_cupy():
    try:
        import cupy
    except ImportError as error:
        raise LaunchError(
            "compute.backend = 'cuda' needs CuPy (pip install 'deshpc[cuda]', or the cupy package of the site's CUDA): "
            f"{error}"
        ) from None
    return cupy


def _import_nccl():
    why = "its library was not found"
    try:
        from cupy.cuda import nccl
    except ImportError as error:
        nccl, why = None, str(error)
    if nccl is None or not nccl.available:
        raise LaunchError(
            f"compute.transport = 'nccl' needs NCCL ({why}): pip install nvidia-nccl-cu13, or the library of the site's CUDA; "
            "or choose 'host'"
        )
    return nccl


def _device_count(cupy):
    why = "CUDA finds none"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        count, why = 0, str(error)
    if count == 0:
        raise LaunchError(f"compute.backend = 'cuda': this process has no CUDA device ({why}); choose 'cpu'")
    return count
