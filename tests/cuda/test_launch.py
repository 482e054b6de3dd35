"""Launches by prototype: what a kernel must not be given is refused; and what opens where there is no device.

Kernels are read from a folder of their own; what the device is told is written down by one that runs nothing.
"""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from launching import TIMEOUT_S

from deshpc.backend.cuda import device, source
from deshpc.backend.cuda.launch import Kernels, Module
from deshpc.backend.open import open_backend
from deshpc.errors import ConfigError, DeshpcError, LaunchError

PARTS = """// Included by both.
#pragma once
typedef int int32;
"""
MIDDLE = """#pragma once
#include "parts.cuh"
struct Middle {};
"""
WHOLE = """#include "parts.cuh"
// extern "C" __global__ void __launch_bounds__(64) commented(int32 n) {}
#include "middle.cuh"
#include "parts.cuh"
extern "C" __global__ void __launch_bounds__(128) work(
    const uint64* keys, int32 n,  // of them
    uint16 small, int64 wide, NUMBER weight, double factor, SUM* sums, uint8* bytes
) {}
extern "C" __global__ void __launch_bounds__(64) rows(int64 n, const SUM* x, int64 x_row, NUMBER* y, int64 y_row) {}
__global__ void __launch_bounds__(64) mangled(int32 n) {}
extern "C" __global__ void __launch_bounds__(32) other(uint32 count) {}
"""


class DeviceArray:
    """What a device's array looks like from outside."""

    def __init__(self, dtype, contiguous=True):
        self.dtype, self.shape, self.flags = np.dtype(dtype), (3,), SimpleNamespace(c_contiguous=contiguous)


class Recorder:
    """A device that compiles and runs nothing, and writes down what it is told."""

    def __init__(self):
        self.compiled, self.launches = [], []

    def compile(self, name, text, constants):
        self.compiled.append((name, text, constants))
        return SimpleNamespace(function=lambda kernel: f"function {kernel}")

    def launch(self, function, blocks, threads, arguments):
        self.launches.append((function, blocks, threads, arguments))


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """A Recorder, with the kernels above."""
    for name, text in {"parts.cuh": PARTS, "middle.cuh": MIDDLE, "whole.cu": WHOLE}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(source, "FOLDER", tmp_path)
    source.text_of.cache_clear()
    yield Recorder()
    source.text_of.cache_clear()


def open_work(recorder, kernel="work"):
    return getattr(Kernels(recorder)("whole.cu", NUMBER="float", SUM="int64"), kernel)


def good():
    """Arguments that fit `work`."""
    return [
        DeviceArray(np.uint64), 5, 65_535, -(2**63), 0.5, np.float32(0.25), DeviceArray(np.int64), DeviceArray(np.float64)
    ]  # fmt: skip


# ------------------------------------------------------------------ texts


def test_files_are_included_once_and_lines_keep_their_origin(recorder):
    """Line numbers of the text, counted from its #line directives, are those of the files."""
    text, name, number, origin = source.text_of("whole.cu"), None, 0, []
    for line in text.splitlines():
        if line.startswith("#line "):
            number, name = int(line.split()[1]), line.split('"')[1]
            continue
        origin.append((name, number, line))
        number += 1
    files = {"parts.cuh": PARTS.splitlines(), "middle.cuh": MIDDLE.splitlines(), "whole.cu": WHOLE.splitlines()}
    kept = {(name, number): line for name, number, line in origin if line}
    assert len(kept) == sum(1 for *_, line in origin if line)  # none twice
    expected = {
        (name, number): line
        for name, lines in files.items()
        for number, line in enumerate(lines, 1)
        if line and not line.startswith(("#include", "#pragma once"))
    }
    assert kept == expected
    assert [line for *_, line in origin if line].index("typedef int int32;") == 1  # in front of what needs it
    assert "#include" not in text and "#pragma" not in text and text.endswith("\n")


def test_prototypes(recorder):
    found = source.prototypes("whole.cu", {"NUMBER": "double", "SUM": "float"})
    assert {name: threads for name, (threads, _) in found.items()} == {"work": 128, "rows": 64, "other": 32}
    assert [(one.name, one.pointer, one.dtype.name) for one in found["work"][1]] == [
        ("keys", True, "uint64"), ("n", False, "int32"), ("small", False, "uint16"), ("wide", False, "int64"),
        ("weight", False, "float64"), ("factor", False, "float64"), ("sums", True, "float32"), ("bytes", True, "uint8"),
    ]  # fmt: skip
    assert [(one.name, one.pointer, one.dtype.name) for one in found["other"][1]] == [("count", False, "uint32")]


def test_a_type_that_no_parameter_may_have(recorder):
    with pytest.raises(DeshpcError, match="parameter 'NUMBER weight': half is no type of kernels' parameters"):
        source.prototypes("whole.cu", {"NUMBER": "half", "SUM": "float"})
    with pytest.raises(DeshpcError, match=r"parameter 'SUM\* sums': SUM is no type of kernels' parameters"):
        source.prototypes("whole.cu", {"NUMBER": "float"})


def test_every_kernel_of_the_package_has_a_prototype():
    """None is written in another way, which the pattern would pass over."""
    constants = {"NUMBER": "float", "COMPUTE": "float", "SOURCE": "float", "STATISTIC": "float", "SUM": "float", "DIM": 4}
    names = sorted(path.name for path in source.FOLDER.iterdir() if path.name.endswith(".cu"))
    assert len(names) >= 9
    for name in names:
        text = source.text_of(name)
        assert len(source.prototypes(name, constants)) == text.count("__global__") > 0, name


def test_a_file_is_compiled_once_for_each_set_of_constants(recorder):
    kernels = Kernels(recorder)
    first = kernels("whole.cu", NUMBER="float", SUM="int64")
    assert kernels("whole.cu", NUMBER="float", SUM="int64") is first
    assert isinstance(first, Module) and first.file == "whole.cu" and first.other.threads == 32
    assert kernels("whole.cu", NUMBER="double", SUM="int64") is not first
    text = source.text_of("whole.cu")
    constants = [{"NUMBER": "float", "SUM": "int64"}, {"NUMBER": "double", "SUM": "int64"}]
    assert recorder.compiled == [("whole.cu", text, one) for one in constants]
    assert Kernels(recorder)("whole.cu", NUMBER="float", SUM="int64") is not first  # of another device


# ------------------------------------------------------------------ launches


def test_arguments_are_given_in_the_types_of_the_parameters(recorder):
    arguments = good()
    open_work(recorder)(129, *arguments)
    ((function, blocks, threads, given),) = recorder.launches
    assert (function, blocks, threads) == ("function work", 2, 128)
    assert [given[i] is arguments[i] for i in (0, 6, 7)] == [True] * 3
    expected = [np.int32(5), np.uint16(65_535), np.int64(-(2**63)), np.float32(0.5), np.float64(0.25)]
    assert given[1:6] == expected and [type(one) for one in given[1:6]] == [type(one) for one in expected]


@pytest.mark.parametrize("count, blocks", [(0, None), (1, 1), (128, 1), (129, 2), (256, 2)])
def test_as_many_blocks_as_the_threads_need(recorder, count, blocks):
    open_work(recorder)(count, *good())
    assert [launch[1] for launch in recorder.launches] == ([] if blocks is None else [blocks])


def test_blocks_that_are_asked_for(recorder):
    work = open_work(recorder)
    for blocks in (0, 3, 2**31 - 1):
        work.blocks(blocks, *good())
    assert [launch[1] for launch in recorder.launches] == [3, 2**31 - 1]
    with pytest.raises(DeshpcError, match="whole.cu: work: 2147483648 blocks, more than a launch can have"):
        work.blocks(2**31, *good())
    with pytest.raises(DeshpcError, match="2147483648 blocks"):
        work(2**38 - 127, *good())
    assert len(recorder.launches) == 2


def test_arrays_may_be_missing(recorder):
    arguments = good()
    arguments[0] = arguments[6] = None
    open_work(recorder)(1, *arguments)
    assert recorder.launches[0][3][0] is recorder.launches[0][3][6] is None


def test_bytes_may_be_of_any_type(recorder):
    for dtype in (np.uint8, np.int32, np.float64):
        open_work(recorder)(1, *good()[:-1], DeviceArray(dtype))
    assert len(recorder.launches) == 3


REFUSED = [
    (0, np.zeros(3, np.uint64), "keys is ndarray, not an array of the device"),
    (0, np.uint64(3), "keys is uint64, not an array of the device"),
    (0, 5, "keys is int, not an array of the device"),
    (0, [1], "keys is list, not an array of the device"),
    (0, SimpleNamespace(dtype=np.dtype(np.uint64)), "keys is SimpleNamespace, not an array of the device"),
    (0, DeviceArray(np.int64), "keys is an array of int64, not of uint64"),
    (6, DeviceArray(np.float32), "sums is an array of float32, not of int64"),
    (6, DeviceArray(np.int64, contiguous=False), "sums is not contiguous"),
    (7, DeviceArray(np.uint8, contiguous=False), "bytes is not contiguous"),
    (7, np.zeros(3, np.uint8), "bytes is ndarray, not an array of the device"),
    (1, 2**31, "n is 2147483648, beyond int32"),
    (1, -(2**31) - 1, "n is -2147483649, beyond int32"),
    (1, np.int64(2**31), "n is 2147483648, beyond int32"),
    (2, -1, "small is -1, beyond uint16"),
    (2, 65_536, "small is 65536, beyond uint16"),
    (3, 2**63, "wide is 9223372036854775808, beyond int64"),
    (3, 5.0, "wide is 5.0, not a whole number"),
    (3, np.float64(5), r"wide is (np.float64\()?5.0\)?, not a whole number"),
    (3, True, "wide is True, not a whole number"),
    (3, None, "wide is None, not a whole number"),
    (3, DeviceArray(np.int64), "wide is .*DeviceArray.*, not a whole number"),
    (4, 1, "weight is 1, not a floating-point number"),
    (4, np.int32(1), r"weight is (np.int32\()?1\)?, not a floating-point number"),
    (5, None, "factor is None, not a floating-point number"),
]


@pytest.mark.parametrize("number, argument, why", REFUSED, ids=[why[:40] for _, _, why in REFUSED])
def test_what_does_not_fit_is_refused(recorder, number, argument, why):
    """Also where nothing would be launched."""
    arguments = good()
    arguments[number] = argument
    for count in (1, 0):
        with pytest.raises(DeshpcError, match=f"^whole.cu: work: {why}$"):
            open_work(recorder)(count, *arguments)
    assert recorder.launches == []


@pytest.mark.parametrize("number, argument, why", REFUSED, ids=[why[:40] for _, _, why in REFUSED])
def test_what_does_not_fit_is_refused_after_what_did(recorder, number, argument, why):
    """No kernel relies on what it was given before."""
    work, arguments = open_work(recorder), good()
    for _ in range(2):
        work(1, *arguments)
    with pytest.raises(DeshpcError, match=f"^whole.cu: work: {why}$"):
        work(1, *arguments[:number], argument, *arguments[number + 1 :])
    work(1, *arguments)
    assert len(recorder.launches) == 3


def test_an_array_that_has_changed_is_another(recorder):
    work, arguments = open_work(recorder), good()
    work(1, *arguments)
    arguments[0].flags.c_contiguous = False
    with pytest.raises(DeshpcError, match="keys is not contiguous"):
        work(1, *arguments)
    arguments[0].flags.c_contiguous, arguments[0].dtype = True, np.dtype(np.int64)
    with pytest.raises(DeshpcError, match="keys is an array of int64, not of uint64"):
        work(1, *arguments)
    arguments[0].dtype = np.dtype(np.uint64).newbyteorder("=")  # the same type, whichever object it is
    work(1, *arguments)
    assert len(recorder.launches) == 2


@pytest.mark.parametrize("change, count", [(lambda a: a[:-1], 7), (lambda a: [*a, 1], 9), (lambda a: [], 0)])
def test_the_number_of_arguments_is_checked(recorder, change, count):
    with pytest.raises(DeshpcError, match=f"^whole.cu: work: {count} arguments for 8 parameters$"):
        open_work(recorder)(1, *change(good()))
    assert recorder.launches == []


@pytest.mark.parametrize("number", [0, 1, 2**31 - 1, -(2**31), np.int8(-3), np.uint64(7)])
def test_numbers_at_the_limits_are_accepted(recorder, number):
    arguments = good()
    arguments[1] = number
    open_work(recorder)(1, *arguments)
    assert recorder.launches[0][3][1] == number


def test_arrays_of_the_executor_are_arrays_of_a_device(few):
    """A kernel of the package, from text to result."""
    kernels = Kernels(few)("routing.cu", VALUES=0)
    occurrences, local = few.empty((3,), np.int32), few.empty((2,), np.int32)
    few.to_device(np.array([1, 0, 1], np.int32), occurrences)
    few.to_device(np.array([8, 9], np.int32), local)
    kernels.through(3, occurrences, 3, local)
    assert few.to_host(occurrences).tolist() == [9, 8, 9]
    with pytest.raises(DeshpcError, match="routing.cu: through: local is an array of int64, not of int32"):
        kernels.through(3, occurrences, 3, few.zeros((2,), np.int64))
    with pytest.raises(DeshpcError, match="routing.cu: through: occurrences is ndarray"):
        kernels.through(3, few.to_host(occurrences), 3, local)


# ------------------------------------------------------------------ opening


class CudaError(RuntimeError):
    pass


def cupy_with(devices):
    """A CuPy module on a machine with so many devices; an exception: asking fails."""

    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    cupy = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CudaError))
    return cupy


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(LaunchError, match=r"^compute.backend = 'cuda' needs CuPy \(pip install 'deshpc\[cuda\]', .*cupy"):
        open_backend("cuda", 1)


@pytest.mark.parametrize(
    "devices, why", [(0, "CUDA finds none"), (CudaError("cudaErrorNoDevice: none here"), "cudaErrorNoDevice: none here")]
)
def test_without_a_device(monkeypatch, devices, why):
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(devices))
    with pytest.raises(LaunchError, match=rf"^compute.backend = 'cuda': this process has no CUDA device \({why}\); choose 'cpu'$"):
        open_backend("cuda", 1)


def test_ranks_of_a_node_take_its_devices_in_turns(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(3))
    monkeypatch.setattr(device, "CupyDevice", lambda cupy, number: (cupy, number))
    assert [device.open_device(rank) for rank in range(7)] == [(sys.modules["cupy"], rank % 3) for rank in range(7)]


def test_a_backend_of_another_name():
    with pytest.raises(ConfigError, match="compute.backend = 'opencl' is not there; choose 'cpu' or 'cuda'"):
        open_backend("opencl", 1)


def test_the_cpu_backend_imports_nothing_of_cuda():
    code = """
import sys
import deshpc, deshpc.training.api, deshpc.cli.main
from deshpc.backend.open import open_backend
open_backend("cpu", 1).close()
open_backend("auto", 1).close()
print(*[name for name in sys.modules if name.startswith("deshpc.backend.cuda") or name.split(".")[0] == "cupy"], sep="\\n")
print("deshpc.backend.cpu.fm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"]


class DeviceMatrix(DeviceArray):
    def __init__(self, dtype, shape, strides):
        super().__init__(dtype, contiguous=False)
        self.shape, self.strides, self.ndim = shape, strides, len(shape)


def test_a_matrix_is_given_with_the_distance_of_its_rows(recorder):
    x, y = DeviceMatrix(np.int64, (5, 3), (80, 8)), DeviceMatrix(np.float32, (5, 1), (12, 4))
    rows = open_work(recorder, "rows")
    for _ in range(2):  # checked, then known
        rows(1, 7, x, y)
    for _, _, _, given in recorder.launches:
        assert [type(one) for one in given] == [np.int64, DeviceMatrix, np.int64, DeviceMatrix, np.int64]
        assert (given[1], given[2], given[3], given[4]) == (x, 10, y, 3)
    rows(1, 7, None, y)
    assert recorder.launches[-1][3][1:3] == [None, 0]


@pytest.mark.parametrize(
    "x, why",
    [
        (DeviceMatrix(np.int64, (5,), (8,)), "x has 1 dimensions, not rows and columns"),
        (DeviceMatrix(np.int64, (5, 3), (8, 40)), "x has strides of 8 and 40 bytes; the numbers of a row have to lie side by side"),
        (DeviceMatrix(np.int64, (5, 3), (28, 8)), "x has strides of 28 and 8 bytes; the numbers of a row have to lie side by side"),
        (DeviceMatrix(np.float32, (5, 3), (12, 4)), "x is an array of float32, not of int64"),
        (np.zeros((5, 3), np.int64), "x is ndarray, not an array of the device"),
    ],
)
def test_what_is_no_matrix_is_refused(recorder, x, why):
    good, rows = DeviceMatrix(np.int64, (5, 3), (24, 8)), open_work(recorder, "rows")
    for _ in range(2):
        with pytest.raises(DeshpcError, match=f"^whole.cu: rows: {why}$"):
            rows(1, 7, x, DeviceMatrix(np.float32, (5, 3), (12, 4)))
        rows(1, 7, good, DeviceMatrix(np.float32, (5, 3), (12, 4)))
    with pytest.raises(DeshpcError, match="5 arguments for 3 parameters"):
        rows(1, 7, good, 3, good, 3)
