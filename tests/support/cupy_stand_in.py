"""A stand-in for the `cupy` module: what `CupyDevice` uses of it, with CuPy's signatures; it writes down every call.

It is as slow as CUDA may be: what a stream was given is done only when the host waits for it, or for an event behind it.
New memory of the device holds garbage.  What would be slow or wrong on a real device is an AssertionError: a copy from
memory that is not pinned, a copy that does not wait to such memory, pinned memory that is gone before its copy was made.
"""

import ctypes
import weakref
from types import SimpleNamespace

import numpy as np

_HANDLE = 77
_GARBAGE = 0xA5
_SCALARS = (
    np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64
)  # fmt: skip


class StandIn:
    """The module, for one device.

    kernels : {name: function(blocks, threads, *arguments)}, which gets a NumPy array for each array of the device

    calls : [(name of the method, stream or None, details ...)], in order
    streams : those that were made
    """

    def __init__(self, kernels=(), capability="90"):
        self.calls, self.streams, self._pinned, self._kernels = [], [], [], dict(kernels)
        self._null = self._current = _Stream(self)
        self.ndarray = _Array
        nvrtc = _Nvrtc(self)
        runtime = SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=type("E", (Exception,), {}), CUDA_R_32F=0, CUDA_R_64F=1)

        def device(device=None):
            self.record("Device", None, device)
            return _Device(self, capability)

        def stream(null=False, non_blocking=False, ptds=False, priority=None):
            assert non_blocking, "a stream that waits for the default stream"
            self.record("Stream", None)
            self.streams.append(_Stream(self))
            return self.streams[-1]

        def event(block=False, disable_timing=False, interprocess=False):
            return _Event(self)

        self.cuda = SimpleNamespace(
            Device=device, Stream=stream, Event=event, PinnedMemoryPointer=_Pinned, alloc_pinned_memory=self._alloc_pinned_memory,
            MemoryPointer=_Pointer, function=SimpleNamespace(Module=lambda: _Module(self)), nvrtc=nvrtc, runtime=runtime,
            cublas=_Cublas(self), device=SimpleNamespace(get_cublas_handle=lambda: _HANDLE),
        )  # fmt: skip

    def empty(self, shape, dtype=float, order="C"):
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        self.record("empty", None)
        memory = np.full(count * dtype.itemsize, _GARBAGE, np.uint8)
        return _Array(_Pointer(self, memory), memory.view(dtype).reshape(shape))

    def _alloc_pinned_memory(self, size):
        self.record("alloc_pinned_memory", None, size)
        memory = _Pinned(size)
        self._pinned.append(weakref.ref(memory))
        return memory

    def record(self, name, stream, *details):
        self.calls.append((name, stream, *details))

    def stream_of(self, stream):
        """That of an argument: CuPy's current one, first the default stream, where it is None."""
        return self._current if stream is None else stream

    def use(self, stream):
        self._current = stream

    def pinned(self, host):
        """Function() -> the bytes of a NumPy array in pinned memory, from whichever object they were allocated; or None."""
        begin = host.ctypes.data
        for reference in self._pinned:
            memory = reference()
            if memory is not None and begin >= _address(memory) and begin + host.nbytes <= _address(memory) + len(memory):
                assert host.flags.c_contiguous
                first, last = begin - _address(memory), begin - _address(memory) + host.nbytes
                del memory  # a copy under way keeps none alive
                return lambda: memoryview(_alive(reference))[first:last]
        return None


def _address(memory):
    return np.frombuffer(memory, np.uint8).ctypes.data


def _alive(reference):
    memory = reference()
    assert memory is not None, "pinned memory is gone before its copy was made"
    return memory


class _Pinned(bytearray):
    """A buffer: of its own attributes, and CuPy's, nothing is used."""

    def __getattribute__(self, name):
        raise AttributeError(f"{name} of pinned memory")


class _Device:
    __slots__ = ("_module", "compute_capability", "pci_bus_id")

    def __init__(self, module, capability):
        self._module, self.compute_capability, self.pci_bus_id = module, capability, "0000:3B:00.0"

    def use(self):
        self._module.record("Device.use", None)


class _Stream:
    __slots__ = ("_module", "_work")

    def __init__(self, module):
        self._module, self._work = module, []

    ptr = property(id)

    def use(self):
        self._module.record("Stream.use", self)
        self._module.use(self)
        return self

    def record(self, event=None):
        self._module.record("Stream.record", self)
        event = self._module.cuda.Event() if event is None else event
        event._follow(self)
        return event

    def wait_event(self, event):
        """What is given to the stream from now on waits for the event, as it has been recorded until now."""
        self._module.record("Stream.wait_event", self, event._stream)
        recorded = event._recorded
        self._give(lambda: event._stream is not None and event._stream._advance(lambda: event._passed >= recorded))

    def synchronize(self):
        self._module.record("Stream.synchronize", self)
        self._advance(lambda: False)

    def _give(self, work):
        self._work.append(work)

    def _advance(self, enough):
        while self._work and not enough():
            self._work.pop(0)()


class _Event:
    __slots__ = ("_module", "_passed", "_recorded", "_stream")

    def __init__(self, module):
        self._module, self._stream, self._recorded, self._passed = module, None, 0, 0

    @property
    def done(self):
        self._module.record("Event.done", self._stream)
        return self._passed >= self._recorded

    def synchronize(self):
        self._module.record("Event.synchronize", self._stream, self._passed >= self._recorded)
        if self._stream is not None:
            self._stream._advance(lambda: self._passed >= self._recorded)

    def _follow(self, stream):
        self._stream, self._recorded = stream, self._recorded + 1
        stream._give(self._pass)

    def _pass(self):
        self._passed += 1


class _Pointer:
    __slots__ = ("_bytes", "_module")

    def __init__(self, module, content):
        self._module, self._bytes = module, content

    ptr = property(lambda self: self._bytes.ctypes.data if len(self._bytes) else 0)

    def memset_async(self, value, size, stream=None):
        stream = self._module.stream_of(stream)
        self._module.record("memset_async", stream, self.ptr, value, size)
        stream._give(lambda: self._bytes[:size].fill(value))

    def copy_from_device_async(self, src, size, stream=None):
        stream = self._module.stream_of(stream)
        self._module.record("copy_from_device_async", stream, self.ptr, src.ptr, size)
        assert size <= len(self._bytes) and size <= len(src._bytes)

        def work():
            self._bytes[:size] = src._bytes[:size]

        stream._give(work)


class _Array:
    __slots__ = ("_array", "_module", "data")

    def __init__(self, data, array):
        self.data, self._module, self._array = data, data._module, array

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    size = property(lambda self: self._array.size)
    nbytes = property(lambda self: self._array.nbytes)
    ndim = property(lambda self: self._array.ndim)
    flags = property(lambda self: self._array.flags)
    strides = property(lambda self: self._array.strides)

    def __len__(self):
        return len(self._array)

    def _of(self, view):
        begin = view.ctypes.data - self._array.ctypes.data if view.size else 0
        end = begin + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides, strict=True)) + view.itemsize
        return _Array(_Pointer(self._module, self.data._bytes[begin : end if view.size else begin]), view)

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        assert all(isinstance(one, slice) and one.step in (None, 1) for one in keys)
        return self._of(self._array[key])

    def reshape(self, *shape, order="C", copy=None):
        return self._of(self._array.reshape(*shape))

    @property
    def T(self):  # noqa: N802
        return self._of(self._array.T)

    def view(self, dtype=None, type=None):
        return self._of(self._array.view(dtype))

    def fill(self, value):
        stream = self._module.stream_of(None)
        self._module.record("fill", stream, value)
        stream._give(lambda: self._array.fill(value))

    def set(self, arr, stream=None):
        stream = self._module.stream_of(stream)
        self._check(arr)
        self._module.record("set", stream, arr.nbytes)
        if not arr.nbytes:
            return
        source = self._module.pinned(arr)
        assert source is not None, "a copy from memory that is not pinned: it lets the host wait for the stream"

        def work():
            self.data._bytes[:] = source()

        stream._give(work)

    def get(self, stream=None, order="C", out=None, blocking=True):
        stream = self._module.stream_of(stream)
        out = np.empty(self.shape, self.dtype) if out is None else out
        self._check(out)
        self._module.record("get", stream, out.nbytes, blocking)
        target = self._module.pinned(out) if out.nbytes else None
        if blocking:

            def work():
                out[...] = self._array

            stream._give(work)
            stream.synchronize()
        elif out.nbytes:
            assert target is not None, "a copy to memory that is not pinned, which waits"

            def work():
                target()[:] = self._array.tobytes()

            stream._give(work)
        return out

    def _check(self, host):
        """As CuPy does."""
        if not isinstance(host, np.ndarray) or host.dtype != self.dtype:
            raise TypeError(f"{host!r} for an array of {self.dtype}")
        if host.shape != self.shape:
            raise ValueError(f"{host.shape} for {self.shape}")


class _Module:
    __slots__ = ("_loaded", "_module")

    def __init__(self, module):
        self._module, self._loaded = module, None

    def load(self, cubin):
        assert isinstance(cubin, bytes)
        self._module.record("Module.load", None, cubin)
        self._loaded = cubin

    def get_function(self, name):
        assert self._loaded is not None
        return _Function(self._module, name)


class _Function:
    __slots__ = ("_module", "_name")

    def __init__(self, module, name):
        self._module, self._name = module, name

    def __call__(self, grid, block, args, shared_mem=0, stream=None):
        """CuPy takes other numbers, too, but would send Python's as 64 bits whatever the parameter."""
        stream = self._module.stream_of(stream)
        assert isinstance(grid, tuple) and isinstance(block, tuple) and not shared_mem
        for one in args:
            assert one is None or isinstance(one, _Array) or type(one) in _SCALARS, type(one)
        self._module.record("launch", stream, self._name, grid, block)
        kernel, (blocks,), (threads,) = self._module._kernels[self._name], grid, block
        given = [one._array if isinstance(one, _Array) else one for one in args]
        stream._give(lambda: kernel(blocks, threads, *given))


class _Cublas:
    """Matrices column by column, as cuBLAS has them."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_GEMM_DEFAULT = 0, 1, -1
    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_32F_FAST_16BF, CUBLAS_COMPUTE_32F_FAST_TF32 = 68, 70, 75, 77

    def __init__(self, module):
        self._module = module

    def gemmEx(  # noqa: N802, N803
        self, handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, computeType, algo
    ):  # fmt: skip
        assert handle == _HANDLE and Atype == Btype == Ctype and (Ctype == 1) == (computeType == self.CUBLAS_COMPUTE_64F)
        kind, stream = np.dtype([np.float32, np.float64][Ctype]), self._module.stream_of(None)
        self._module.record("gemmEx", stream, computeType)
        a = _by_columns(A, *((k, m) if transa else (m, k)), lda, kind)
        b = _by_columns(B, *((n, k) if transb else (k, n)), ldb, kind)
        c = _by_columns(C, m, n, ldc, kind)
        of_product, of_before = (_by_columns(place, 1, 1, 1, kind)[0, 0].copy() for place in (alpha, beta))

        def work():
            product = of_product * ((a.T if transa else a) @ (b.T if transb else b))
            c[...] = product + of_before * c if of_before else product

        stream._give(work)


def _by_columns(address, rows, columns, leading, dtype):
    assert min(rows, columns) > 0 and leading >= rows
    count = leading * (columns - 1) + rows
    flat = np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (dtype.itemsize, leading * dtype.itemsize))


class _Nvrtc:
    __slots__ = ("_module", "_programs")
    NVRTCError = type("NVRTCError", (RuntimeError,), {})

    def __init__(self, module):
        self._module, self._programs = module, {}

    def getVersion(self):
        return 13, 0

    def getSupportedArchs(self):
        return 75, 80, 90, 100

    def createProgram(self, src, name, headers, include_names):
        number = len(self._programs) + 1
        self._programs[number] = src
        return number

    def compileProgram(self, prog, options):
        assert all(isinstance(option, str) for option in options)
        self._module.record("compileProgram", None, self._programs[prog], options)

    def getCUBIN(self, prog):
        return f"cubin of {self._programs[prog]}".encode()

    def getPTX(self, prog):
        return f"ptx of {self._programs[prog]}".encode()

    def getProgramLog(self, prog):
        return ""

    def destroyProgram(self, prog):
        self._programs[prog] = None
