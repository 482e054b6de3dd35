"""CupyDevice by its contract: on a stand-in for CuPy that is as late as CUDA may be, or with DESHPC_TEST_DEVICE=cuda on a
real device; the executor's device by the same.  Which calls it makes, and in which order, on the stand-in alone.

What the stand-in offers is CuPy 14.2's: its signatures are listed here, and compared with CuPy's own where it is installed.
"""

import inspect
import re
import sys
import warnings
from operator import attrgetter
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_device import REAL
from cupy_stand_in import StandIn
from executor.device import ExecutorDevice
from executor.errors import ExecutorError
from executor.schedule import Schedule
from mpi4py import MPI
from nccl_stand_in import NcclStandIn, signatures

from deshpc.backend.cuda import device as cuda_device
from deshpc.backend.cuda import elementwise, staging
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.backend.cuda.device import CupyDevice, open_device
from deshpc.comm.group import Group
from deshpc.comm.nccl_transport import open_nccl
from deshpc.errors import LaunchError

# Of CuPy 14.2, without types, `self` and results.  Function's call has no docstring: it is of cupy/cuda/function.pyx.
SIGNATURES = """
empty(shape, dtype=float, order='C')
ndarray.fill(value)
ndarray.get(stream=None, order='C', out=None, blocking=True)
ndarray.reshape(*shape, order='C', copy=None)
ndarray.set(arr, stream=None)
ndarray.view(dtype=None, type=None)
cuda.Device(device=None)
cuda.Device.use()
cuda.Event(block=False, disable_timing=False, interprocess=False)
cuda.Event.synchronize()
cuda.MemoryPointer.copy_from_device_async(src, size, stream=None)
cuda.MemoryPointer.memset_async(value, size, stream=None)
cuda.Stream(null=False, non_blocking=False, ptds=False, priority=None)
cuda.Stream.record(event=None)
cuda.Stream.synchronize()
cuda.Stream.use()
cuda.Stream.wait_event(event)
cuda.alloc_pinned_memory(size)
cuda.cublas.gemmEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, computeType, algo)
cuda.device.get_cublas_handle()
cuda.function.Function.__call__(grid, block, args, shared_mem=0, stream=None)
cuda.function.Module()
cuda.function.Module.get_function(name)
cuda.function.Module.load(cubin)
cuda.nvrtc.compileProgram(prog, options)
cuda.nvrtc.createProgram(src, name, headers, include_names)
cuda.nvrtc.destroyProgram(prog)
cuda.nvrtc.getCUBIN(prog)
cuda.nvrtc.getPTX(prog)
cuda.nvrtc.getProgramLog(prog)
cuda.nvrtc.getSupportedArchs()
cuda.nvrtc.getVersion()
cuda.runtime.getDeviceCount()
"""
ATTRIBUTES = """
ndarray.data ndarray.dtype ndarray.flags ndarray.nbytes ndarray.ndim ndarray.shape ndarray.size ndarray.strides ndarray.T ndarray.__getitem__ ndarray.__len__
cuda.cublas.CUBLAS_COMPUTE_32F cuda.cublas.CUBLAS_COMPUTE_32F_FAST_16BF cuda.cublas.CUBLAS_COMPUTE_32F_FAST_TF32
cuda.cublas.CUBLAS_COMPUTE_64F cuda.cublas.CUBLAS_GEMM_DEFAULT cuda.cublas.CUBLAS_OP_N cuda.cublas.CUBLAS_OP_T
cuda.runtime.CUDA_R_32F cuda.runtime.CUDA_R_64F
cuda.Device.compute_capability cuda.Device.pci_bus_id cuda.Event.done cuda.MemoryPointer.ptr cuda.PinnedMemoryPointer cuda.Stream.ptr
cuda.nvrtc.NVRTCError cuda.runtime.CUDARuntimeError
"""
NCCL_SIGNATURES = """
NcclCommunicator.allReduce(sendbuf, recvbuf, count, datatype, op, stream)
NcclCommunicator.check_async_error()
NcclCommunicator.destroy()
NcclCommunicator.recv(recvbuf, count, datatype, peer, stream)
NcclCommunicator.send(sendbuf, count, datatype, peer, stream)
get_unique_id()
groupEnd()
groupStart()
"""
DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]
SOURCE = """
extern "C" __global__ void __launch_bounds__(32) write(
    signed char a, unsigned char b, short c, unsigned short d, int e, unsigned e_u, long long f, unsigned long long g,
    float h, double i, const int* none, const int* some, double* result
) {
    double numbers[] = {(double)a, (double)b, (double)c, (double)d, (double)e, (double)e_u, (double)f, (double)g, (double)h, i};
    if (threadIdx.x == 0 && blockIdx.x == 0)
        for (int n = 0; n < 10; ++n) result[n] = numbers[n];
    if (threadIdx.x == 0 && blockIdx.x == 0) result[10] = none == nullptr, result[11] = some[0], result[12] = FACTOR;
}
extern "C" __global__ void __launch_bounds__(32) add(int* numbers, int n, int what) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) numbers[i] += what;
}
"""


def write(blocks, threads, *arguments):
    *numbers, none, some, result = arguments
    result[:10] = numbers
    result[10:] = none is None, some[0], 3


def add(blocks, threads, numbers, n, what):
    assert blocks * threads >= n
    numbers[:n] += what


@pytest.fixture
def cupy(tmp_path, monkeypatch):
    """The stand-in; compiled kernels are kept in a folder of this test."""
    monkeypatch.setattr(cuda_device, "cache_directory", lambda: tmp_path / "kernels")
    return StandIn({"write": write, "add": add})


@pytest.fixture(params=["cuda"] if REAL else ["stand-in", "executor"])
def opened(request, cupy):
    """A device that is asked for what CupyDevice promises: the executor, which stands in its place elsewhere, keeps the promise, too."""
    if request.param == "executor":
        return ExecutorDevice(Schedule("random", seed=5))
    return open_device(0) if REAL else CupyDevice(cupy, 0)


@pytest.fixture
def recorded(cupy):
    """A device on the stand-in, even where there is a real one."""
    device = CupyDevice(cupy, 0)
    cupy.calls.clear()
    return device


def on(device, host):
    array = device.empty(host.shape, host.dtype)
    device.to_device(host, array)
    return array


def names(cupy):
    return [call[0] for call in cupy.calls]


# ------------------------------------------------------------------ what it does


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (0,), (0, 4), (4, 0)], ids=str)
def test_there_and_back(opened, dtype, shape):
    host = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    array = on(opened, host)
    assert (array.shape, array.dtype, array.size, array.nbytes) == (host.shape, host.dtype, host.size, host.nbytes)
    np.testing.assert_array_equal(opened.to_host(array), host)
    into = np.empty_like(host)
    opened.into_host(array, into)
    np.testing.assert_array_equal(into, host)
    assert not opened.to_host(opened.zeros(shape, dtype)).any()


@pytest.mark.parametrize("of", ["host", "host_memory"])
def test_views_begin_where_they_say(opened, of):
    host = np.arange(24, dtype=np.int32) if of == "host" else opened.host_memory((24,), np.int32)
    host[:] = np.arange(24)
    array = opened.zeros((24,), np.int32)
    opened.to_device(host[3:9], array[5:11])
    opened.to_device(host[12:24].reshape(3, 4), array[12:].reshape((3, 4)))
    opened.to_device(host[0:0], array[24:])
    opened.copy(array[5:11], array[0:6])
    opened.copy(array[0:0], array[24:])
    expected = np.concatenate([[3, 4, 5, 6, 7, 8], [4, 5, 6, 7, 8, 0], np.arange(12, 24)])
    np.testing.assert_array_equal(opened.to_host(array), expected)
    np.testing.assert_array_equal(opened.to_host(array[20:]), expected[20:])
    np.testing.assert_array_equal(opened.to_host(array.view(np.uint8)[4:8]), expected.astype(np.int32).view(np.uint8)[4:8])
    assert opened.address(array[5:]) == opened.address(array) + 20


def test_host_arrays_with_gaps(opened):
    whole, pinned = np.arange(24).reshape(4, 6), opened.host_memory((4, 6), np.int64)
    pinned[...] = whole
    for host in (whole, pinned):
        for view in (host[:, 2:4], host.T, host[::-1]):
            np.testing.assert_array_equal(opened.to_host(on(opened, view)), view)


def test_a_host_array_may_change_at_once(opened):
    """Of sizes below, at and above a slot of the ring, and more of them than it has slots."""
    sizes = [3, staging._SLOT_BYTES - 1, staging._SLOT_BYTES, staging._SLOT_BYTES + 1, 5 * staging._SLOT_BYTES] * 12
    arrays = []
    for number, size in enumerate(sizes):
        host = np.full(size, number, np.uint8)
        arrays.append(on(opened, host))
        host.fill(255)
    for number, array in enumerate(arrays):
        assert set(opened.to_host(array).tolist()) == {number}


def test_arrays_of_another_shape_or_type_are_refused(opened):
    array = opened.empty((4,), np.int32)
    for memory in (np.zeros, opened.host_memory):
        with pytest.raises((TypeError, ExecutorError)):
            opened.to_device(memory((4,), np.int64), array)
        with pytest.raises((ValueError, ExecutorError)):
            opened.to_device(memory((2, 2), np.int32), array)
    with pytest.raises((ValueError, ExecutorError)):
        opened.to_device(np.zeros((2, 0), np.int32), array)


def test_a_mark_says_what_has_come(opened):
    array, host = on(opened, np.arange(5)), opened.host_memory((5,), np.int64)
    opened.start_into_host(array, host)
    point = opened.mark()
    opened.to_device(np.zeros(5, np.int64), array)  # after the copy
    opened.wait(point)
    assert opened.passed(point) and host.tolist() == [0, 1, 2, 3, 4]


def test_a_copy_beside_the_stream_has_what_was_started_before(opened):
    function = opened.compile("contract.cu", SOURCE, {"FACTOR": 3}).function("add")
    array, other = opened.zeros((70,), np.int32), opened.zeros((70,), np.int32)
    host, second = (opened.host_memory((70,), np.int32) for _ in range(2))
    opened.launch(function, 3, 32, [array, np.int32(70), np.int32(5)])
    point = opened.copy_out(array, host)
    opened.launch(function, 3, 32, [other, np.int32(70), np.int32(1)])
    later = opened.copy_out(other, second)
    opened.wait(point)
    assert opened.passed(point) and host.tolist() == [5] * 70
    opened.launch(function, 3, 32, [array, np.int32(70), np.int32(1)])  # nobody reads it any more
    opened.wait(later)
    assert second.tolist() == [1] * 70 and opened.to_host(array).tolist() == [6] * 70


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_matrix_products(opened, dtype, add, turned):
    """Of every layout: rows side by side or columns, whole arrays and parts of them, one row, one column."""
    rng = np.random.default_rng(3)
    for m, k, n in [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)]:
        numbers, parts = [], []
        for (rows, columns), is_turned in zip([(m, k), (k, n), (m, n)], [*turned, False], strict=True):
            held = rng.integers(-9, 9, (columns + 1, rows + 3) if is_turned else (rows + 1, columns + 3)).astype(dtype)
            array = on(opened, held)
            part = array[1:, 2 : 2 + (rows if is_turned else columns)]
            view = held[1:, 2 : 2 + (rows if is_turned else columns)]
            numbers.append(view.T if is_turned else view)
            parts.append(part.T if is_turned else part)
        opened.multiply(*parts, add, "exact")
        a, b, before = numbers
        before[...] = a @ b + before * add  # in `held`: what lies beside stays
        np.testing.assert_array_equal(opened.to_host(array), held)


@pytest.mark.parametrize(
    "dtype, arithmetic, compute",
    [(np.float32, "exact", 68), (np.float32, "tf32", 77), (np.float32, "bfloat16", 75), (np.float64, "exact", 70), (np.float64, "tf32", 70)],
)
def test_what_products_are_computed_in(cupy, recorded, dtype, arithmetic, compute):
    a, b, out = (on(recorded, np.ones((2, 2), dtype)) for _ in range(3))
    cupy.calls.clear()
    recorded.multiply(a, b, out, False, arithmetic)
    assert cupy.calls == [("gemmEx", cupy.streams[0], compute)]


@pytest.mark.parametrize("kind", ["stand-in", "executor"])
def test_copies_that_do_not_wait_need_pinned_memory(cupy, kind):
    """To other memory CUDA copies, too, but waits: those that stand in its place refuse."""
    device = CupyDevice(cupy, 0) if kind == "stand-in" else ExecutorDevice()
    for start in (device.start_into_host, device.copy_out):
        with pytest.raises((AssertionError, ExecutorError), match="not pinned|not of host_memory"):
            start(device.zeros((4,), np.int32), np.zeros(4, np.int32))


def test_every_type_of_argument(opened):
    numbers = [
        np.int8(-100), np.uint8(200), np.int16(-30_000), np.uint16(60_000), np.int32(-(2**30)), np.uint32(2**32 - 1),
        np.int64(-(2**52)), np.uint64(2**53), np.float32(0.375), np.float64(0.1),
    ]  # fmt: skip
    function = opened.compile("contract.cu", SOURCE, {"FACTOR": 3}).function("write")
    result, some = opened.zeros((13,), np.float64), on(opened, np.arange(5, 9, dtype=np.int32))
    opened.launch(function, 2, 32, [*numbers, None, some[2:], result])
    assert opened.to_host(result).tolist() == [*map(float, numbers), 1, 7, 3]


def test_launches_are_in_order_with_transfers(opened):
    function = opened.compile("contract.cu", SOURCE, {"FACTOR": 3}).function("add")
    array, memory = opened.zeros((70,), np.int32), opened.host_memory((70,), np.int32)
    opened.launch(function, 3, 32, [array[:64], np.int32(64), np.int32(5)])
    opened.start_into_host(array, memory)
    point = opened.mark()
    opened.launch(function, 3, 32, [array, np.int32(70), np.int32(1)])
    opened.wait(point)
    assert memory.tolist() == [5] * 64 + [0] * 6 and opened.to_host(array).tolist() == [6] * 64 + [1] * 6


def test_an_elementwise_kernel(opened):
    if isinstance(opened, CupyDevice) and not REAL:
        pytest.skip("Numba CUDA launches on a real device alone")
    squares = opened.elementwise(elementwise.squares)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for numbers in (np.arange(5.0), np.arange(1000, dtype=np.float32), np.arange(7.0)):
            array, result = on(opened, numbers), opened.zeros(numbers.shape, np.float64)
            squares(numbers.size - 2, array[2:], result[2:])
            np.testing.assert_array_equal(opened.to_host(result), [0, 0, *numbers[2:].astype(np.float64) ** 2])


# ------------------------------------------------------------------ which calls it makes


def test_device_and_stream_are_chosen_before_anything(cupy):
    CupyDevice(cupy, 3)
    assert cupy.calls[0] == ("Device", None, 3)
    assert names(cupy)[1:5] == ["Device.use", "Stream", "Stream.use", "Stream"] and len(cupy.streams) == 2
    assert cupy.calls[3][1] is cupy.streams[0]  # the other one is that of copies beside it


def test_nothing_uses_another_stream(cupy, recorded):
    """Not even what the arrays' own methods do, to which no stream is given."""
    array, memory = recorded.zeros((4,), np.int32), recorded.host_memory((4,), np.int32)
    memory[:] = 1
    recorded.to_device(memory, array)
    recorded.to_device(np.zeros(4, np.int32), array)
    array.fill(7)
    recorded.copy(array, recorded.empty((4,), np.int32))
    recorded.start_into_host(array, memory)
    point = recorded.mark()
    recorded.passed(point), recorded.wait(point)
    recorded.into_host(array, memory), recorded.to_host(array)
    function = recorded.compile("contract.cu", SOURCE, {"FACTOR": 3}).function("add")
    recorded.launch(function, 1, 32, [array, np.int32(4), np.int32(1)])
    used = {call[0] for call in cupy.calls if call[1] is not None}
    assert used == {
        "memset_async", "set", "fill", "copy_from_device_async", "get", "Stream.record", "Event.done", "Event.synchronize",
        "Stream.synchronize", "launch",
    }  # fmt: skip
    assert {call[1] for call in cupy.calls} == {None, cupy.streams[0]}


def test_memory_that_is_refused_is_said_to_be_the_device_s(recorded, monkeypatch):
    class OutOfMemoryError(MemoryError):  # as CuPy's
        pass

    def refused(*arguments):
        raise OutOfMemoryError("Out of memory allocating 1,024 bytes (allocated so far: 512 bytes).")

    monkeypatch.setattr(recorded._cupy, "empty", refused)
    for take in (recorded.empty, recorded.zeros):
        with pytest.raises(MemoryError, match="^on the CUDA device: Out of memory allocating 1,024 bytes"):
            take((128,), np.float64)


def test_zeros_fills_all_its_bytes(cupy, recorded):
    array = recorded.zeros((3, 5), np.float64)
    assert cupy.calls[1:] == [("memset_async", cupy.streams[0], recorded.address(array), 0, 120)]


def test_pinned_memory_is_sent_as_it_is(cupy, recorded):
    memory, array = recorded.host_memory((10,), np.int16), recorded.empty((2, 3), np.int16)
    cupy.calls.clear()
    recorded.to_device(memory[2:8].reshape(2, 3), array)
    assert cupy.calls == [("set", cupy.streams[0], 12)]
    memory[2] = 77  # it is read when the stream comes to it
    assert recorded.to_host(array)[0, 0] == 77


def test_other_memory_goes_through_the_ring(cupy, recorded):
    array = recorded.empty((10,), np.int16)
    cupy.calls.clear()
    recorded.to_device(np.zeros(10, np.int16), array)
    assert names(cupy) == ["Event.synchronize", "set", "Stream.record"]
    assert cupy.calls[0] == ("Event.synchronize", None, True)  # of an event that nobody has recorded


def test_the_host_waits_only_for_a_whole_ring_under_way(cupy, recorded):
    host = np.zeros(4, np.int16)
    arrays = [recorded.empty((4,), np.int16) for _ in range(2 * staging._SLOTS)]

    def waits(array):
        cupy.calls.clear()
        recorded.to_device(host, array)
        return [not details[0] for name, _, *details in cupy.calls if name == "Event.synchronize"]

    assert [waits(array) for array in arrays[: staging._SLOTS]] == [[False]] * staging._SLOTS
    assert waits(arrays[staging._SLOTS]) == [True]  # the oldest copy has been made then, no other
    assert waits(arrays[staging._SLOTS + 1]) == [True]
    recorded.wait(recorded.mark())
    assert [waits(array) for array in arrays[: staging._SLOTS]] == [[False]] * staging._SLOTS


def test_a_large_array_gets_pinned_memory_of_its_size(cupy, recorded):
    def allocated(nbytes):
        array = recorded.empty((nbytes,), np.uint8)
        cupy.calls.clear()
        recorded.to_device(np.zeros(nbytes, np.uint8), array)
        return [size for name, _, *size in cupy.calls if name == "alloc_pinned_memory"]

    assert allocated(staging._SLOT_BYTES) == [] and allocated(staging._SLOT_BYTES + 1) == [[staging._SLOT_BYTES + 1]]


def test_nothing_is_copied_for_an_array_without_elements(cupy, recorded):
    for shape in ((0,), (3, 0)):
        array, memory = recorded.zeros(shape, np.int32), recorded.host_memory(shape, np.int32)
        other = recorded.empty(shape, np.int32)
        recorded.to_device(np.zeros(shape, np.int32), array)
        recorded.to_device(memory, array)
        recorded.copy(array, other)
        recorded.start_into_host(array, memory)
        recorded.into_host(array, memory)
        assert recorded.to_host(array).shape == shape
    details = {name: {call[2:] for call in cupy.calls if call[0] == name} for name in names(cupy)}
    assert details["set"] == {(0,)} and details["get"] == {(0, True), (0, False)}
    assert details["memset_async"] == details["copy_from_device_async"] == {(0, 0, 0)}
    assert not {"Event.synchronize", "launch"} & set(details)


def test_what_waits_and_what_does_not(cupy, recorded):
    array, memory = recorded.zeros((4,), np.int32), recorded.host_memory((4,), np.int32)
    stream = cupy.streams[0]

    def calls(action):
        cupy.calls.clear()
        action()
        return cupy.calls[:]

    assert calls(lambda: recorded.start_into_host(array, memory)) == [("get", stream, 16, False)]
    points = []
    assert calls(lambda: points.append(recorded.mark())) == [("Stream.record", stream)]
    assert calls(lambda: recorded.passed(points[0])) == [("Event.done", stream)] and not recorded.passed(points[0])
    assert calls(lambda: recorded.wait(points[0])) == [("Event.synchronize", stream, False)] and recorded.passed(points[0])
    waiting = [("get", stream, 16, True), ("Stream.synchronize", stream)]
    assert calls(lambda: recorded.to_host(array)) == waiting
    assert calls(lambda: recorded.into_host(array, np.empty(4, np.int32))) == waiting
    assert calls(lambda: recorded.address(array)) == []
    assert calls(lambda: recorded.lend(array, writes=True)) == []
    assert recorded.lend(array) is array and recorded.stream == stream.ptr


def test_a_copy_beside_the_stream_waits_for_it_and_nothing_in_it_waits_for_the_copy(cupy, recorded):
    array, memory, stream, copies = recorded.zeros((4,), np.int32), recorded.host_memory((4,), np.int32), *cupy.streams
    cupy.calls.clear()
    point = recorded.copy_out(array, memory)
    assert cupy.calls == [
        ("Stream.record", stream), ("Stream.wait_event", copies, stream), ("get", copies, 16, False), ("Stream.record", copies),
    ]  # fmt: skip
    array.fill(7)
    behind = recorded.mark()
    recorded.wait(point)
    assert memory.tolist() == [0] * 4 and recorded.passed(point) and not recorded.passed(behind)


def test_a_kernel_is_compiled_loaded_and_launched(cupy, recorded):
    function = recorded.compile("contract.cu", SOURCE, {"FACTOR": 3}).function("add")
    options = ("-arch=sm_90", "-std=c++17", "--fmad=false", "-DFACTOR=3")
    assert cupy.calls == [("compileProgram", None, SOURCE, options), ("Module.load", None, f"cubin of {SOURCE}".encode())]
    array = recorded.zeros((40,), np.int32)
    cupy.calls.clear()
    recorded.launch(function, 2, 32, [array, np.int32(40), np.int32(1)])
    assert cupy.calls == [("launch", cupy.streams[0], "add", (2,), (32,))]


def test_the_place_of_a_device_is_where_it_is_on_the_bus(recorded):
    assert recorded.place == "0000:3B:00.0"


@pytest.mark.parametrize("nccl", [None, SimpleNamespace(available=False), SimpleNamespace(available=True)], ids=["no CuPy", "no NCCL", "NCCL"])
def test_nccl_is_there_or_the_error_says_what_to_install(recorded, monkeypatch, nccl):
    """CuPy's module is there without NCCL, too, and says so."""
    monkeypatch.setitem(sys.modules, "cupy", None if nccl is None else SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy.cuda", None if nccl is None else SimpleNamespace(nccl=nccl))
    if nccl is not None and nccl.available:
        assert recorded.nccl() is nccl
    else:
        with pytest.raises(LaunchError, match="compute.transport = 'nccl' needs NCCL .*nvidia-nccl.* or choose 'host'"):
            recorded.nccl()


@pytest.mark.skipif(not REAL, reason="NCCL starts on a real device alone")
def test_nccl_starts():
    """One rank has nobody to send to; but the communicator, its stream and its types are real."""
    device, group = open_device(0), Group(MPI.COMM_SELF)
    try:
        transport = open_nccl(MPI.COMM_SELF, CudaBackend(device), group.together)
    except LaunchError as error:
        pytest.skip(str(error))
    numbers, whole = on(device, np.arange(5)), device.zeros((5,), np.int64)
    assert transport.sum_samples(numbers, np.array([5])).wait() is numbers
    transport.all_gather(numbers, np.array([5]), whole).wait()
    np.testing.assert_array_equal(device.to_host(whole), np.arange(5))
    transport.close()
    group.free()


@pytest.fixture
def numba(monkeypatch):
    """What Numba is asked: (shape, type, address) of arrays that it is given, and launches."""
    cuda = pytest.importorskip("numba.cuda")
    from deshpc.backend.cuda import numba_kernels

    asked = SimpleNamespace(arrays=[], launches=[])

    def from_interface(interface, owner=None, sync=True):
        assert owner is None and not sync and "stream" not in interface
        asked.arrays.append((interface["shape"], interface["typestr"], interface["data"][0]))
        return asked.arrays[-1]

    class Kernel:
        def __getitem__(self, configuration):
            return lambda *arguments: asked.launches.append((configuration, arguments))

    monkeypatch.setattr(cuda, "external_stream", lambda pointer: f"stream {pointer}")
    monkeypatch.setattr(cuda, "from_cuda_array_interface", from_interface)
    monkeypatch.setattr(numba_kernels, "compiled", lambda name: Kernel())
    numba_kernels.numba_array.cache_clear()
    yield asked
    numba_kernels.numba_array.cache_clear()


def test_numba_gets_an_array_of_its_own_once(cupy, recorded, numba):
    squares = recorded.elementwise(elementwise.squares)
    numbers, result = recorded.empty((600,), np.float32), recorded.empty((600,), np.float64)
    for _ in range(3):
        squares(300, numbers[10:310].reshape((300,)), result[:300])  # other objects for the same memory
    expected = [((300,), "<f4", recorded.address(numbers) + 40), ((300,), "<f8", recorded.address(result))]
    assert numba.arrays == expected
    configuration = 2, 256, f"stream {cupy.streams[0].ptr}"
    assert numba.launches == [(configuration, (300, *expected))] * 3
    assert all(type(arguments[0]) is np.int64 for _, arguments in numba.launches)
    squares(300, numbers[:300].view(np.int32), result[:299])  # same memory, other type and shape
    assert numba.arrays[2:] == [((300,), "<i4", recorded.address(numbers)), ((299,), "<f8", recorded.address(result))]


def test_numbers_reach_numba_as_they_are(recorded, numba):
    recorded.elementwise(elementwise.update_dense)(0, np.int32(1))
    assert not numba.launches
    recorded.elementwise(elementwise.update_dense)(1, np.int32(1), np.float32(0.5), None)
    ((_, arguments),) = numba.launches
    assert arguments == (1, 1, 0.5, None) and [type(one) for one in arguments[:3]] == [np.int64, np.int32, np.float32]


# ------------------------------------------------------------------ the stand-in


def test_public_methods_are_all_tested():
    public = {name for name in vars(CupyDevice) if not name.startswith("_")}
    assert public == {
        "name", "empty", "zeros", "host_memory", "to_device", "to_host", "into_host", "start_into_host", "copy", "address",
        "copy_out", "lend", "stream", "place", "nccl",
        "mark", "passed", "wait", "compile", "launch", "elementwise", "multiply",
    }  # fmt: skip


def test_the_stand_in_refuses_what_would_wait_or_read_garbage(cupy, recorded):
    array, stream = recorded.empty((4,), np.int32), cupy.streams[0]
    with pytest.raises(AssertionError, match="not pinned"):
        array.set(np.zeros(4, np.int32), stream=stream)
    with pytest.raises(AssertionError, match="not pinned"):
        array.get(stream=stream, out=np.zeros(4, np.int32), blocking=False)
    recorded.to_device(recorded.host_memory((4,), np.int32), array)
    with pytest.raises(AssertionError, match="gone before its copy was made"):
        recorded.wait(recorded.mark())


def objects_of(cupy):
    """{name of a class: an object of it} of the stand-in, whose classes have no public names."""
    array, module = cupy.empty((2,), np.int32), cupy.cuda.function.Module()
    module.load(b"")
    return {
        "ndarray": array, "cuda.Device": cupy.cuda.Device(0), "cuda.Event": cupy.cuda.Event(), "cuda.MemoryPointer": array.data,
        "cuda.Stream": cupy.cuda.Stream(non_blocking=True), "cuda.function.Function": module.get_function("add"),
        "cuda.function.Module": module, "cuda.nvrtc": cupy.cuda.nvrtc, "cuda.runtime": cupy.cuda.runtime, "cuda": cupy.cuda,
        "cuda.function": cupy.cuda.function, "cuda.cublas": cupy.cuda.cublas, "cuda.device": cupy.cuda.device, "": cupy,
    }  # fmt: skip


def parameters(function):
    """'(grid, block, args, shared_mem=0)' of a Python function, or of a compiled one from its docstring."""
    try:
        found = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    except ValueError:
        text = re.match(r"[\w.]+\((.*)\)( -> .*)?$", inspect.getdoc(function).split("\n")[0])[1]
        without_types = [one.rpartition(" ")[2] if "=" not in one else one for one in text.split(", ") if one]
        return ", ".join(one for one in without_types if one != "self")
    defaults = [getattr(one.default, "__name__", repr(one.default)) for one in found]
    return ", ".join(
        ("*" * (one.kind is one.VAR_POSITIONAL) + one.name + ("" if one.default is one.empty else f"={default}"))
        for one, default in zip(found, defaults, strict=True)
    )


def listed(signatures=SIGNATURES):
    return [re.match(r"(.*)\((.*)\)$", line).groups() for line in signatures.strip().splitlines()]


def test_the_stand_in_has_these_signatures_and_nothing_more(cupy):
    objects, paths = objects_of(cupy), {path for path, _ in listed()} | set(ATTRIBUTES.split())
    for path, expected in listed():
        owner, _, name = path.rpartition(".")
        assert parameters(getattr(objects[owner], name)) == expected, path
    for path in ATTRIBUTES.split():
        owner, _, name = path.rpartition(".")
        getattr(objects[owner], name)
    for owner, one in objects.items():
        if owner:
            offered = {f"{owner}.{name}" for name in dir(one) if not name.startswith("_")}
            assert offered <= paths | set(objects), owner


def test_the_stand_in_for_nccl_has_these_signatures():
    for path, expected in listed(NCCL_SIGNATURES):
        owner = signatures() if "." in path else NcclStandIn
        assert parameters(attrgetter(path)(owner)) == expected, path


def test_cupys_nccl_has_these_signatures():
    nccl = pytest.importorskip("cupy_backends.cuda.libs.nccl", exc_type=ImportError)
    for path, expected in listed(NCCL_SIGNATURES):
        assert parameters(attrgetter(path)(nccl)) == expected, path
    for name in ("NCCL_UINT8", "NCCL_INT64", "NCCL_SUM"):
        assert getattr(nccl, name) == getattr(NcclStandIn, name), name
    assert issubclass(nccl.NcclError, Exception)


def test_cupy_has_these_signatures():
    real = pytest.importorskip("cupy")
    for path, expected in listed():
        if path != "cuda.function.Function.__call__":
            assert parameters(attrgetter(path)(real)) == expected, path
    for path in ATTRIBUTES.split():
        if path != "cuda.Stream.ptr":  # of its objects alone
            attrgetter(path)(real)
    assert "~Stream.ptr" in real.cuda.Stream.__base__.__doc__


def test_cupys_pinned_memory_is_known_by_its_views():
    """CuPy needs no device to make its object for memory that there is."""
    cupy = pytest.importorskip("cupy")
    content = np.arange(64, dtype=np.uint8)
    memory = cupy.cuda.PinnedMemoryPointer(SimpleNamespace(ptr=content.ctypes.data, size=64), 0)
    fake = SimpleNamespace(cuda=SimpleNamespace(alloc_pinned_memory=lambda size: memory))
    host = staging.pinned_memory(fake, (3, 5), np.int32)
    assert host.ctypes.data == content.ctypes.data and host.shape == (3, 5) and host.dtype == np.int32
    for view in (host, host[1:], host.T, host[1:].reshape(-1).view(np.uint8)[3:]):
        assert staging.is_pinned(cupy, view) and not staging.is_pinned(cupy, view.copy())
    assert not staging.is_pinned(cupy, content) and not staging.is_pinned(cupy, np.frombuffer(bytes(8), np.int32))
