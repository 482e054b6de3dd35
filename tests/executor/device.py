"""The device: memory, modules, launches (see the package)."""

import collections
import ctypes
import functools
import itertools
import os
import re
import sys
import threading
import weakref
from pathlib import Path

import numpy as np

from executor import compile as compiling
from executor import coverage
from executor.arrays import DeviceArray, allocation_of, bounds_of, describe, host_view, require_array, set_bounds
from executor.elementwise import Elementwise
from executor.errors import ExecutorError
from executor.lent import Lent
from executor.line_table import line_table
from executor.schedule import ORDERS, Schedule
from executor.transfers import Transfers

_ONE_AT_A_TIME = threading.RLock()  # the runtime has one state a process
_NUMBERS = itertools.count(1)
_TO_FREE = collections.deque()  # (runtime, handle): the collector may run during a launch, which must not lose memory
_STREAM = 0x5EA  # no pointer to anything
_LARGEST_BLOCK, _LARGEST_SHARED = 1024, 227 << 10


class _Options(ctypes.Structure):
    """LaunchOptions of native/scheduler.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("seed", "budget", "dynamic_shared")]
    _fields_ += [("preemption", ctypes.c_double)]
    _fields_ += [(name, ctypes.c_int32) for name in ("order", "resident", "blocks", "threads", "checked", "initialised", "device", "first_block")]


@functools.cache
def _load_runtime(path):
    runtime = ctypes.CDLL(str(path))
    runtime.executor_allocate.restype = ctypes.c_void_p
    runtime.executor_allocate.argtypes = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32, ctypes.c_int64, ctypes.c_int32]
    runtime.executor_address.restype = ctypes.c_uint64
    runtime.executor_address.argtypes = runtime.executor_free.argtypes = [ctypes.c_void_p]
    runtime.executor_is_written.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    runtime.executor_mark.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int32]
    runtime.executor_limit.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int32]
    runtime.executor_clear.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    runtime.executor_copy_written.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    runtime.executor_launch.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint64, ctypes.c_void_p]
    return runtime


class _Allocation:
    """Memory of one `empty` or `zeros`; given back when no array uses it any more."""

    def __init__(self, device, shape, dtype, where):
        self.runtime, self.number = device._runtime, next(_NUMBERS)
        self._transfers, self._used = device._transfers, 0
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        granule = 4 if dtype.itemsize % 4 == 0 else 1
        self.handle = self.runtime.executor_allocate(nbytes, granule, device._number, self.number, device.mode == "check")
        if not self.handle:
            raise MemoryError(f"no memory for {describe(dtype, shape)}")
        self.address = self.runtime.executor_address(self.handle)
        device._names[self.number] = f"{describe(dtype, shape)} allocated at {where}"
        buffer = (ctypes.c_char * max(nbytes, 1)).from_address(self.address)
        self.host = np.frombuffer(buffer, np.uint8, nbytes).view(dtype).reshape(shape)
        self.reach, self.addressed = (0, nbytes), False  # what kernels may touch to which the array is no argument
        weakref.finalize(self, _TO_FREE.append, (self.runtime, self.handle)).atexit = False

    def use(self):
        """Something has been started that reads or writes it."""
        self._used = self._transfers.started()

    def is_idle(self):
        """Whether somebody has waited for all that has been started with it."""
        return self._transfers.has_passed(self._used)

    def mark_written(self, array, written=True):
        self.runtime.executor_mark(self.handle, _address(array) - self.address, array.nbytes, written)

    def mark_stretch(self, begin, end):
        self.runtime.executor_mark(self.handle, begin - self.address, end - begin, True)

    def is_written(self, address, nbytes):
        return bool(self.runtime.executor_is_written(self.handle, address - self.address, nbytes))

    def limit(self, bounds, writable=True):
        self.runtime.executor_limit(self.handle, *bounds, writable)

    def clear(self, array):
        self.runtime.executor_clear(self.handle, _address(array) - self.address, array.nbytes)


def _free():
    while _TO_FREE:
        runtime, handle = _TO_FREE.popleft()
        runtime.executor_free(handle)


def _address(array):
    return host_view(array).ctypes.data


class Function:
    """A kernel of a module, with its signature."""

    def __init__(self, module, name, parameters):
        self.module, self.name, self.parameters = module, name, parameters
        library = module.library
        if not hasattr(library, name):
            raise ExecutorError(f'{module.name}: kernel {name} is not extern "C": its name would be mangled')
        text = ctypes.create_string_buffer(1 << 14)
        getattr(library, f"executor_describe_{name}")(text)
        self.signature = [tuple(one.split()) for one in text.value.decode().split(",") if one]
        self.entry = ctypes.cast(getattr(library, f"executor_entry_{name}"), ctypes.c_void_p)

    def parameter(self, number):
        name = self.parameters[number] if number < len(self.parameters) else "?"
        return f"argument {number} '{name}'"


class Module:
    """A compiled source."""

    def __init__(self, device, name, text, constants):
        self.name, self._device = name, device
        self.compiled, self._kernels = compiling.compile_kernels(name, text, constants, device.mode)
        self.library = ctypes.CDLL(str(self.compiled.library))
        if device.mode == "coverage":
            coverage.register(self)

    def function(self, kernel_name):
        if kernel_name not in self._kernels:
            raise ExecutorError(f"{self.name} has no kernel {kernel_name}; it has {', '.join(self._kernels) or 'none'}")
        return Function(self, kernel_name, self._kernels[kernel_name])

    def coverage(self):
        """{(file, line): count} of this module's kernels so far, in coverage mode."""
        return coverage.of_module(self)


class ExecutorDevice:
    """`schedule` may be changed between launches.  `initialised=False` lets kernels read what nobody has written."""

    name = "executor"

    def __init__(self, schedule=None, mode="check", initialised=True):
        if mode not in compiling.MODES:
            raise ValueError(f"mode {mode!r}: expected one of {', '.join(compiling.MODES)}")
        self.schedule, self.mode, self.initialised = schedule or Schedule(), mode, initialised
        self.synchronisations = self.switches = self.accesses = 0
        self._runtime = _load_runtime(compiling.runtime())
        self._number = next(_NUMBERS)
        self._names = {}
        self._transfers = Transfers()

    # ------------------------------------------------------------------ memory

    def empty(self, shape, dtype):
        """Contents are garbage, and count as unwritten.  What nobody touches takes no memory."""
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        with _ONE_AT_A_TIME:
            _free()
            allocation = _Allocation(self, shape, np.dtype(dtype), _caller())
        return DeviceArray(allocation, allocation.host)

    def zeros(self, shape, dtype):
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def to_device(self, host, target):
        """Copy a NumPy array into a device array of the same shape and type.

        host : memory of `host_memory` must stay as it is until the device has passed a later mark; any other may change at once
        """
        require_array(target, "to_device")
        if not isinstance(host, np.ndarray) or host.shape != target.shape or host.dtype != target.dtype:
            got = describe(host.dtype, host.shape) if isinstance(host, np.ndarray) else type(host).__name__
            raise ExecutorError(f"to_device: expected {describe(target.dtype, target.shape)}; got {got}")
        if not target.flags.c_contiguous:
            raise ExecutorError(f"to_device: {target!r} has rows that lie apart")
        host_view(target)[...] = host
        allocation_of(target).mark_written(target)
        allocation_of(target).use()
        self._transfers.sent(host)

    def host_memory(self, shape, dtype):
        """A NumPy array from which and to which transfers go directly."""
        return self._transfers.host_memory(shape, dtype)

    def to_host(self, array):
        """A copy as a NumPy array.  Waits for the device, as only this, `into_host` and `wait` do."""
        self._synchronise()
        return host_view(require_array(array, "to_host")).copy()

    def into_host(self, array, host):
        """Copy to a NumPy array of the same shape and type."""
        require_array(array, "into_host")
        if not isinstance(host, np.ndarray) or host.shape != array.shape or host.dtype != array.dtype:
            raise ExecutorError(f"into_host: {array!r} to {describe(host.dtype, host.shape)}: shapes or types differ")
        self._synchronise()
        host[...] = host_view(array)

    def start_into_host(self, array, host):
        """Copy to a NumPy array of `host_memory`, which has the content when the device has passed a mark that is made after this."""
        require_array(array, "start_into_host")
        if host.nbytes and not self._transfers.gave(host):
            raise ExecutorError(f"start_into_host: {describe(host.dtype, host.shape)} is not of host_memory: the copy would wait")
        self._transfers.comes(host, host_view(array).copy())

    def copy_out(self, array, host):
        """As `start_into_host`, beside what is started later; returns a point behind the copy.

        ExecutorError, when it is waited for, if the array has been written to meanwhile.
        """
        require_array(array, "copy_out")
        if host.shape != array.shape or host.dtype != array.dtype:
            raise ExecutorError(f"copy_out: {array!r} to {describe(host.dtype, host.shape)}: shapes or types differ")
        if host.nbytes and not self._transfers.gave(host):
            raise ExecutorError(f"copy_out: {describe(host.dtype, host.shape)} is not of host_memory: the copy would wait")
        return self._transfers.comes_aside(host, host_view(array), array)

    def lend(self, array, writes=False):
        """The array as MPI and NCCL take it: see `Lent`."""
        return Lent(require_array(array, "lend"), writes)

    @property
    def stream(self):
        """A number for the one stream."""
        return _STREAM

    @property
    def place(self):
        """No process shares it with another."""
        return f"process {os.getpid()}, device {self._number}"

    def nccl(self):
        """What stands in for NCCL: a test sets it."""
        raise ExecutorError("the executor has no NCCL")

    def mark(self):
        """A point in the order of what the device is given, for `wait` and `passed`."""
        return self._transfers.mark()

    def passed(self, point):
        """Whether something that waits has waited for a point of `mark`."""
        return self._transfers.has_passed(point)

    def wait(self, point):
        """Wait until the device has passed a point of `mark`."""
        self._transfers.passed(point)

    def _synchronise(self):
        self.synchronisations += 1
        self._transfers.passed(self._transfers.mark())

    def copy(self, source, target):
        """From a device array to another of the same size and type."""
        require_array(source, "copy"), require_array(target, "copy")
        if source.size != target.size or source.dtype != target.dtype:
            raise ExecutorError(f"copy: {source!r} to {target!r}: sizes or types differ")
        host_view(target).reshape(-1)[...] = host_view(source).reshape(-1)
        to, from_ = allocation_of(target), allocation_of(source)
        to.use(), from_.use()
        with _ONE_AT_A_TIME:
            self._runtime.executor_copy_written(to.handle, _address(target) - to.address, from_.handle, _address(source) - from_.address, source.nbytes)

    def address(self, array):
        if isinstance(array, Lent):
            return array.address
        allocation = allocation_of(require_array(array, "address"))
        allocation.reach, allocation.addressed = bounds_of(array), True
        allocation.limit(allocation.reach)
        return _address(array)

    def hand_out(self, array, written):
        """The array, to be used as if it were one by itself.

        It may be a part of a longer one: a kernel that is given it, or a view of it, may touch nothing beside it.
        written : whether its contents count; else they are unwritten.
        """
        allocation = allocation_of(array)
        begin = _address(array) - allocation.address
        set_bounds(array, begin, begin + array.nbytes)
        if not written:
            allocation.mark_written(array, False)
        return array

    def synchronize(self):
        """Wait for all that has been started."""
        self._synchronise()

    # ------------------------------------------------------------------ kernels

    def compile(self, name, source, constants):
        """A module of the kernels in `source`, whose included files have been expanded."""
        return Module(self, name, source, constants)

    def launch(self, function, blocks, threads, arguments, shared_bytes=0):
        """Run a kernel; ExecutorError if the arguments do not fit its parameters, or for what goes wrong in it."""
        where, schedule = f"{function.module.name}, kernel {function.name}", self.schedule
        if not 1 <= threads <= _LARGEST_BLOCK or not 1 <= blocks < 1 << 31 or not 0 <= shared_bytes <= _LARGEST_SHARED:
            raise ExecutorError(f"{where}: {blocks} blocks of {threads} threads with {shared_bytes} bytes of shared memory")
        if schedule.first_block >= blocks:
            raise ExecutorError(f"{where}: {blocks} blocks, of which none runs, since those below {schedule.first_block} do not")
        if len(arguments) != len(function.signature):
            raise ExecutorError(f"{where}: {len(arguments)} arguments for {len(function.signature)} parameters")
        values = [_marshal(f"{where}: {function.parameter(i)}", value, *function.signature[i]) for i, value in enumerate(arguments)]
        pointers = (ctypes.c_void_p * max(len(values), 1))(*[ctypes.addressof(value) for value in values])
        options = _Options(
            seed=schedule.seed, budget=schedule.budget, dynamic_shared=shared_bytes, preemption=schedule.preemption,
            order=ORDERS.index(schedule.order), resident=schedule.resident_blocks, blocks=blocks, threads=threads,
            checked=self.mode == "check", initialised=self.initialised, device=self._number, first_block=schedule.first_block,
        )  # fmt: skip
        message, statistics = ctypes.create_string_buffer(1 << 13), (ctypes.c_uint64 * 2)()
        given = _given(arguments, function.signature)
        with _ONE_AT_A_TIME:
            _free()
            for allocation, (bounds, writable) in given.items():
                allocation.limit(bounds, writable)
            failed = self._runtime.executor_launch(
                function.entry, pointers, ctypes.byref(options), message, len(message), statistics
            )
            for allocation in given:
                allocation.limit(allocation.reach)
                allocation.use()
        self.switches, self.accesses = statistics
        if failed:
            text = self._readable(message.value.decode(), function, arguments)
            raise ExecutorError(f"{where}, {schedule.order} schedule, seed {schedule.seed}: {text}")

    def _readable(self, text, function, arguments):
        passed = {}
        for number, value in enumerate(arguments):
            if isinstance(value, DeviceArray):
                passed.setdefault(allocation_of(value).number, function.parameter(number))

        def place(match):
            found = line_table(function.module.compiled.library).find(int(match[1], 16) - 1)
            return f"{found[0]}:{found[1]}" if found else f"offset {match[1]}"

        def array(match):
            number = int(match[1])
            name = self._names.get(number, "an array of another device")
            return f"{passed[number]}, {name}" if number in passed else name

        return re.sub(r"\{array (-?\d+)\}", array, re.sub(r"\{code (0x[0-9a-f]+)\}", place, text))

    def multiply(self, a, b, out, add, arithmetic):
        """out = a b, or out += a b; rows of out may lie apart, and those or the columns of a and of b."""
        for name, array in (("a", a), ("b", b), ("out", out)):
            require_array(array, f"multiply, {name}")
            row, column = array.strides
            if array.ndim != 2 or array.dtype != out.dtype or array.dtype.kind != "f":
                raise ExecutorError(f"multiply: {name} is {array!r}, out is {out!r}")
            if array.itemsize not in (column, row if name != "out" else None) and 1 not in array.shape:
                raise ExecutorError(f"multiply: neither rows nor columns of {name} lie side by side: {array.strides}")
            if name != "out" or add:
                self._require_written(array, f"multiply, {name}")
        if a.shape[1] != b.shape[0] or out.shape != (a.shape[0], b.shape[1]) or not a.size or not b.size:
            raise ExecutorError(f"multiply: {a!r} times {b!r} to {out!r}")
        if any(np.shares_memory(host_view(out), host_view(factor)) for factor in (a, b)):
            raise ExecutorError("multiply: the result lies where a factor does")
        product = host_view(a) @ host_view(b)
        host_view(out)[...] = host_view(out) + product if add else product
        for array in (a, b, out):
            allocation_of(array).use()
        for begin, end in _stretches(out):
            allocation_of(out).mark_stretch(begin, end)

    def _require_written(self, array, what):
        if self.mode == "check" and self.initialised:
            for begin, end in _stretches(array):
                if not allocation_of(array).is_written(begin, end - begin):
                    raise ExecutorError(f"{what}: nobody has written all of {array!r}")

    def elementwise(self, body):
        """`callable(count, *arguments)` that runs `body(i, *arguments)` for all i below count."""
        return Elementwise(self, body)


def _given(arguments, signature):
    """{allocation: ((begin, end), whether it may be written)}: the bytes from the first to the last that an argument gives."""
    found = {}
    for value, (form, *_) in zip(arguments, signature, strict=True):
        if isinstance(value, DeviceArray):
            allocation, (begin, end) = allocation_of(value), bounds_of(value)
            held, writable = found.get(allocation, ((begin, end), allocation.addressed))
            found[allocation] = (min(begin, held[0]), max(end, held[1])), writable or form == "pointer"
    return found


def _stretches(matrix):
    """(begin, end) addresses of the stretches of memory that hold a matrix."""
    host = host_view(matrix)
    host = host if host.strides[1] == host.itemsize or host.shape[1] == 1 else host.T
    if host.flags.c_contiguous:
        return [(host.ctypes.data, host.ctypes.data + host.nbytes)]
    return [(row.ctypes.data, row.ctypes.data + row.nbytes) for row in host]


def _caller():
    """File and line outside this package that asked for memory."""
    frame, here = sys._getframe(1), str(Path(__file__).parent)
    while frame.f_back and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _marshal(what, value, form, kind, size, alignment):
    """A ctypes object that holds the argument as the kernel's parameter."""
    size = int(size)
    if form != "scalar":
        if value is None:
            return ctypes.c_uint64(0)
        if not isinstance(value, DeviceArray):
            raise ExecutorError(f"{what}: the parameter is a pointer, which takes a device array or None; got {type(value).__name__}")
        dtype = value.dtype
        # Pointers to structures and to bytes (void, unsigned char) take any array.
        fits = kind == "V" or (kind, size) == ("u", 1) or (dtype.itemsize == size and (dtype.kind == kind or {dtype.kind, kind} <= {"i", "u"}))
        if not fits:
            raise ExecutorError(f"{what}: the kernel reads {_type_name(kind, size)}; got {describe(dtype, value.shape)}")
        if not value.flags.c_contiguous and not (value.ndim == 2 and value.strides[1] == dtype.itemsize):  # rows apart: a matrix
            raise ExecutorError(f"{what}: {describe(dtype, value.shape)} is not contiguous")
        if _address(value) % int(alignment):
            raise ExecutorError(f"{what}: the array's address is not a multiple of {alignment}")
        return ctypes.c_uint64(_address(value))
    if not isinstance(value, np.generic):
        raise ExecutorError(f"{what}: the parameter is {_type_name(kind, size)}, which takes a NumPy scalar of that type; got {type(value).__name__}")
    if value.dtype.kind != kind or value.dtype.itemsize != size:
        raise ExecutorError(f"{what}: the parameter is {_type_name(kind, size)}; got {value.dtype}")
    return ctypes.create_string_buffer(value.tobytes(), max(size, 16))


def _type_name(kind, size):
    if kind == "b":
        return "bool"
    return f"a structure of {size} bytes" if kind == "V" else f"{ {'i': 'int', 'u': 'uint', 'f': 'float'}[kind]}{8 * size}"
