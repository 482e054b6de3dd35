"""The executor: what it has of CUDA, its launches and their errors, its arrays, modes, compilers.

What it finds in wrong kernels is tested in test_executor_bugs.py.
"""

import operator
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from executor import compile as compiling
from executor import source
from executor.coverage import coverage
from executor.device import ExecutorDevice
from executor.errors import ExecutorError
from executor.schedule import Schedule, schedules

FEATURES = (Path(__file__).parent / "planted/features.cu").read_text()
SCHEDULES = schedules(2, preemption=0.2)


def on(device, host):
    host = np.asarray(host)
    array = device.empty(host.shape, host.dtype)
    device.to_device(host, array)
    return array


@pytest.fixture(params=["check", "fast"])
def executor(request):
    return ExecutorDevice(mode=request.param)


@pytest.fixture
def features(executor):
    return executor.compile("features.cu", FEATURES, {})


# ------------------------------------------------------------------ CUDA


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_shuffles(executor, features, schedule):
    executor.schedule = schedule
    values = np.random.default_rng(1).integers(-50, 50, 64).astype(np.int32)
    results = executor.empty((12, 64), np.int32)
    executor.launch(features.function("shuffles"), 1, 64, [on(executor, values), results])
    got = executor.to_host(results).reshape(12, 2, 32)
    lane = np.arange(32)
    remainder = np.fmod(values, 4).reshape(2, 32)
    for warp, v in enumerate(values.reshape(2, 32)):
        bits = 1 << lane.astype(np.int64)
        same = [int(bits[remainder[warp] == one].sum()) for one in remainder[warp]]
        expected = [
            v[(lane * 5 + 3) % 32],
            v[lane ^ 9],
            np.where(lane < 3, v, np.roll(v, 3)),
            np.where(lane % 8 + 3 < 8, np.roll(v, -3), v),
            np.full(32, int(bits[v % 2 == 1].sum()), np.uint32).view(np.int32),
            np.array(same, np.uint32).view(np.int32),
            np.full(32, v.sum()),
            np.full(32, v.max() - v.min()),
            np.full(32, 3),
            np.full(32, 3 * v.sum()),
        ]
        np.testing.assert_array_equal(got[:10, warp], expected)
    np.testing.assert_array_equal(got[10].ravel(), values[::-1])
    np.testing.assert_array_equal(got[11].ravel(), np.arange(64)[::-1])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_atomics(executor, features, schedule):
    executor.schedule = schedule
    words, wide = on(executor, np.array([0, 0, 0, 0, 0, 0, -1], np.int32)), executor.zeros(2, np.uint64)
    sums, exact, extremes = executor.zeros(1, np.float32), executor.zeros(1, np.float64), executor.zeros(2, np.int64)
    executor.launch(features.function("atomics"), 5, 64, [words, wide, sums, exact, extremes])
    i = np.arange(320, dtype=np.int32)
    bit = np.int32(1) << i % 31
    expected = [i.sum(), -i.sum(), -319, 319, np.bitwise_or.reduce(bit), np.bitwise_xor.reduce(i), -1 & ~((1 << 31) - 1)]
    np.testing.assert_array_equal(executor.to_host(words), np.array(expected, np.int64).astype(np.int32))
    np.testing.assert_array_equal(executor.to_host(wide).view(np.int64), [-i.sum(), 960])
    assert executor.to_host(sums)[0] == 160 and executor.to_host(exact)[0] == 80
    np.testing.assert_array_equal(executor.to_host(extremes), [-319 << 40, 319 << 40])


def test_bits(executor, features):
    values = np.random.default_rng(2).integers(0, 1 << 64, 100, np.uint64) >> np.arange(100).astype(np.uint64) % 64
    values[:2] = [0, 1 << 63]
    results = executor.empty((6, 100), np.int64)
    executor.launch(features.function("bits"), 4, 32, [on(executor, values), np.int32(100), results])

    def ffs(x):
        return (x & -x).bit_length()

    for x, got in zip(values.tolist(), executor.to_host(results).T.tolist(), strict=True):
        low, high = x & 0xFFFFFFFF, x * 0x9E3779B97F4A7C15 >> 64
        assert got == [
            bin(x).count("1") + 100 * bin(low).count("1"),
            64 - x.bit_length() + 100 * (32 - low.bit_length()),
            ffs(x) + 100 * ffs(low),
            high - (high >> 63 << 64),
            int(f"{low:032b}"[::-1], 2),
            max(x & 7, 3) + min(2, x & 7),
        ]


def test_rounding(executor, features):
    generator = np.random.default_rng(3)
    values = np.concatenate([np.arange(-4, 4, 0.5), generator.normal(0, 1e9, 50), [1e30, -1e30, np.nan, 2.0**31, 2.0**63]])
    values = values.astype(np.float32).astype(np.float64)
    count = len(values)
    wide, narrow = executor.empty((2, count), np.int64), executor.empty((2, count), np.int32)
    singles = executor.empty((4, count), np.float32)
    arguments = [on(executor, values), np.int32(count), wide, narrow, singles]
    executor.launch(features.function("rounding"), 3, 32, arguments)

    def saturated(x, bits, of_nan):
        if np.isnan(x):
            return of_nan
        return min(max(round(x), -(1 << bits - 1)), (1 << bits - 1) - 1)  # to even, as Python rounds

    np.testing.assert_array_equal(executor.to_host(wide), [[saturated(x, 64, -(1 << 63)) for x in values]] * 2)
    np.testing.assert_array_equal(executor.to_host(narrow), [[saturated(x, 32, 0) for x in values]] * 2)
    y = values.astype(np.float32)
    with np.errstate(all="ignore"):
        twice, once = y * y + y, (values * values + values).astype(np.float32)
        fused = np.array([np.float32(np.longdouble(x) * np.longdouble(x) + np.longdouble(x)) for x in values])
    got = executor.to_host(singles)
    np.testing.assert_array_equal(got[[0, 2]], [twice, twice])
    np.testing.assert_array_equal(got[1], fused)
    np.testing.assert_allclose(got[3], once, rtol=1e-6)


def test_dynamic_shared_memory_and_structures(executor, features):
    fours, sums = np.arange(64, dtype=np.float32).reshape(16, 4), executor.empty(16, np.float32)
    pair = np.array((0.5, 4), [("first", np.float32), ("second", np.int32)])[()]
    function = features.function("dynamic")
    given = on(executor, fours)
    with pytest.raises(ExecutorError, match="argument 0 'fours': the array's address is not a multiple of 16"):
        executor.launch(function, 1, 15, [given.reshape(-1)[1:], sums, pair, np.bool_(True)], shared_bytes=256)
    with pytest.raises(ExecutorError, match="argument 2 'pair': the parameter is a structure of 8 bytes; got"):
        executor.launch(function, 1, 16, [given, sums, np.float64(1), np.bool_(True)], shared_bytes=256)
    executor.launch(function, 1, 16, [given, sums, pair, np.bool_(True)], shared_bytes=256)
    np.testing.assert_array_equal(executor.to_host(sums), -(fours[::-1] @ [1000, 100, 10, 1] + 2))


def test_a_type_that_cuda_does_not_have_for_an_atomic_does_not_compile(executor):
    text = '#line 7 "wide.cuh"\nextern "C" __global__ void add(long long* sums) { atomicAdd(sums, 1LL); }\n'
    with pytest.raises(ExecutorError, match="wide.cu does not compile(?s:.*)atomicAdd: CUDA has no overload for this type"):
        executor.compile("wide.cu", text, {})


# ------------------------------------------------------------------ sources


def test_kernels_of_a_source():
    text = """
    // __global__ void commented(int n) {}
    extern "C" __global__ void __launch_bounds__(256) first(const float* __restrict__ values, int (count)) {}
    extern "C" __global__ __launch_bounds__(32, 2) void second() {}
    template <int N> __global__ void generic(float* values) {}
    extern "C" __global__ void
    third(std::pair<int, int> pair,
          unsigned long long mask) {}
    """
    expected = {"first": ["values", "count"], "second": [], "third": ["pair", "mask"]}
    assert source.kernels(text) == expected


def test_shared_variables_keep_the_lines():
    text = "a\n__shared__ float tile[4]\n    [8]; // __shared__ int x, y;\n volatile __shared__ int* flag;\nextern __shared__ char\n all[];\nb"
    result = source.with_block_memory(text)
    assert result.count("\n") == text.count("\n")
    assert "typedef float tile_shared [4] [8];" in result and "volatile int*" in result and "char* all =" in result
    with pytest.raises(ExecutorError, match="one __shared__ variable a statement.*int x, y"):
        source.with_block_memory("__shared__ int x, y;")


def test_messages_follow_line_directives():
    text = '\n#line 40 "folder/part.cuh"\nextern "C" __global__ void broken(int* values) {\n  values[1] = 0;\n}\n'
    executor = ExecutorDevice()
    function = executor.compile("whole.cu", text, {}).function("broken")
    with pytest.raises(ExecutorError, match="whole.cu, kernel broken, .*at folder/part.cuh:41: 0 bytes past"):
        executor.launch(function, 1, 1, [executor.empty(1, np.int32)])


# ------------------------------------------------------------------ launches

ADD = """
extern "C" __global__ void add(float* sums, const long long* rows, int count, double by) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) atomicAdd(&sums[rows[i]], (float)by);
}
__global__ void mangled(int* values) {}
"""


@pytest.mark.parametrize(
    "change, message",
    [
        ({3: "missing"}, "3 arguments for 4 parameters"),
        ({0: np.zeros(4, np.float32)}, "argument 0 'sums': the parameter is a pointer, which takes a device array or None; got ndarray"),
        ({0: ("empty", 4, np.float64)}, r"argument 0 'sums': the kernel reads float32; got float64\[4\]"),
        ({1: ("empty", 4, np.int32)}, r"argument 1 'rows': the kernel reads int64; got int32\[4\]"),
        ({1: ("empty", 4, np.float64)}, r"argument 1 'rows': the kernel reads int64; got float64\[4\]"),
        ({2: 4}, "argument 2 'count': the parameter is int32, which takes a NumPy scalar of that type; got int"),
        ({2: np.int64(4)}, "argument 2 'count': the parameter is int32; got int64"),
        ({2: np.uint32(4)}, "argument 2 'count': the parameter is int32; got uint32"),
        ({3: np.float32(4)}, "argument 3 'by': the parameter is float64; got float32"),
        ({2: ("empty", 4, np.int32)}, "argument 2 'count': the parameter is int32, which takes a NumPy scalar"),
    ],
)
def test_arguments_are_checked_against_the_parameters(executor, change, message):
    function = executor.compile("add.cu", ADD, {}).function("add")
    arguments = [executor.zeros(4, np.float32), executor.zeros(4, np.int64), np.int32(4), np.float64(1)]
    executor.launch(function, 1, 32, arguments)
    for number, value in change.items():
        if isinstance(value, str):
            del arguments[number]
        else:
            arguments[number] = getattr(executor, value[0])(*value[1:]) if isinstance(value, tuple) else value
    with pytest.raises(ExecutorError, match=f"add.cu, kernel add: {message}"):
        executor.launch(function, 1, 32, arguments)


def test_a_pointer_to_bytes_takes_any_array(executor):
    text = 'extern "C" __global__ void clear(unsigned char* bytes, void* more) { bytes[0] = 0, ((char*)more)[0] = 0; }'
    first, second = executor.zeros(2, np.float32), executor.zeros(2, np.int64)
    executor.launch(executor.compile("clear.cu", text, {}).function("clear"), 1, 1, [first, second])


def test_shapes_of_a_launch_and_names(executor):
    module = executor.compile("add.cu", ADD, {})
    arguments = [executor.zeros(4, np.float32), executor.zeros(4, np.int64), np.int32(4), np.float64(1)]
    for blocks, threads in [(0, 32), (1, 0), (1, 1025)]:
        with pytest.raises(ExecutorError, match=f"{blocks} blocks of {threads} threads"):
            executor.launch(module.function("add"), blocks, threads, arguments)
    with pytest.raises(ExecutorError, match="add.cu has no kernel subtract; it has add, mangled"):
        module.function("subtract")
    with pytest.raises(ExecutorError, match='mangled is not extern "C"'):
        module.function("mangled")


def test_constants_are_macros(executor):
    text = 'extern "C" __global__ void fill(TYPE* values) { values[threadIdx.x] = VALUE; }'
    values = executor.empty(3, np.uint64)
    executor.launch(executor.compile("fill.cu", text, {"TYPE": "unsigned long long", "VALUE": 7}).function("fill"), 1, 3, [values])
    np.testing.assert_array_equal(executor.to_host(values), [7, 7, 7])


def test_the_executor_is_usable_after_an_error(executor):
    text = 'extern "C" __global__ void store(int* values, long long at) { values[at + threadIdx.x] = threadIdx.x; }'
    function = executor.compile("store.cu", text, {}).function("store")
    values = executor.zeros(32, np.int32)
    for _ in range(3):
        with pytest.raises(ExecutorError, match="store.cu:1"):
            executor.launch(function, 1, 32, [values, np.int64(1 << 45)])
        executor.launch(function, 1, 32, [values, np.int64(0)])
        np.testing.assert_array_equal(executor.to_host(values), np.arange(32))


def test_a_seed_repeats_its_schedule(executor, features):
    def switches(seed):
        executor.schedule = Schedule("random", seed=seed, preemption=0.3)
        executor.launch(features.function("shuffles"), 1, 64, [executor.zeros(64, np.int32), executor.empty((12, 64), np.int32)])
        return executor.switches

    assert switches(5) == switches(5) != switches(6)


# ------------------------------------------------------------------ arrays


def test_copies(executor):
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    array, other = on(executor, host), executor.zeros((3, 4), np.float32)
    executor.copy(array, other)
    before = executor.synchronisations
    copied = executor.to_host(other)
    assert executor.synchronisations == before + 1
    np.testing.assert_array_equal(copied, host)
    copied[:] = 0
    other[1:2].fill(9)
    np.testing.assert_array_equal(executor.to_host(other), [host[0], [9] * 4, host[2]])
    np.testing.assert_array_equal(executor.to_host(array), host)
    with pytest.raises(ExecutorError, match=r"expected float32\[3, 4\]; got float64\[3, 4\]"):
        executor.to_device(host.astype(np.float64), array)
    with pytest.raises(ExecutorError, match=r"expected float32\[3, 4\]; got float32\[4\]"):
        executor.to_device(host[0], array)
    with pytest.raises(ExecutorError, match="sizes or types differ"):
        executor.copy(array[:1], other)


def test_host_memory_must_stay_until_it_has_been_read(executor):
    memory, array, other = executor.host_memory((4,), np.int32), executor.empty(2, np.int32), executor.empty(2, np.int32)
    memory[:] = [1, 2, 3, 4]
    executor.to_device(memory[:2], array)
    first = executor.mark()
    executor.to_device(memory[2:], other)
    executor.wait(first)
    memory[0] = 9  # has been read
    result = np.empty(2, np.int32)
    executor.into_host(array, result)
    assert result.tolist() == [1, 2] and executor.to_host(other).tolist() == [3, 4]
    executor.to_device(memory[2:], other)
    memory[3] = 9
    with pytest.raises(ExecutorError, match=r"host memory of int32\[2\] was changed before the device had read it"):
        executor.to_host(array)
    pageable = np.zeros(2, np.int32)
    executor.to_device(pageable, array)
    pageable[:] = 1
    assert executor.to_host(array).tolist() == [0, 0]


def test_memory_that_is_filled_later_is_pinned(executor):
    array, memory = on(executor, np.arange(4, dtype=np.int32)), executor.host_memory((6,), np.int32)
    executor.start_into_host(array, memory[1:5])
    mark = executor.mark()
    assert memory[1:5].tolist() != [0, 1, 2, 3] and not executor.passed(mark)
    executor.wait(mark)
    assert memory[1:5].tolist() == [0, 1, 2, 3] and executor.passed(mark)
    with pytest.raises(ExecutorError, match=r"start_into_host: int32\[4\] is not of host_memory"):
        executor.start_into_host(array, np.empty(4, np.int32))


def test_arrays_that_are_handed_out_again(executor):
    text = """extern "C" __global__ void touch(const int* ends, int first, int last, int* values, const long long* places) {
    int* held = places ? (int*)places[0] : values;
    for (int i = first; i < last; i++) held[i] = ends[i + 4];
}"""
    function = executor.compile("touch.cu", text, {}).function("touch")
    ends, whole = on(executor, np.arange(16, dtype=np.int32)), executor.zeros(12, np.int32)
    part = executor.hand_out(whole[2:8].reshape(2, 3), written=True)

    def touch(values, first, last, at_address=False):
        places = on(executor, np.array([executor.address(values)])) if at_address else None
        given = executor.zeros(12, np.int32) if at_address else values
        executor.launch(function, 1, 1, [ends, np.int32(first), np.int32(last), given, places])

    for at_address in (False, True):
        touch(part, 0, 6, at_address)
        touch(part[1:], -3, 3, at_address)  # a view of what has been handed out
        if executor.mode == "check":
            for view, first, last in [(part, 0, 7), (part, -1, 1), (part[1:], -4, -3)]:
                with pytest.raises(ExecutorError, match="of which the kernel has been given bytes 8 to 32"):
                    touch(view, first, last, at_address)
    touch(whole, 0, 12)
    executor.hand_out(part, written=False)
    arguments = [part, np.int32(-4), np.int32(2), executor.zeros(12, np.int32)[4:], None]
    if executor.mode == "check":
        with pytest.raises(ExecutorError, match="nobody has written byte 8 of argument 0 'ends'"):
            executor.launch(function, 1, 1, arguments)
    part.fill(1)
    executor.launch(function, 1, 1, arguments)


def test_arrays_larger_than_memory(executor):
    text = """extern "C" __global__ void mark(NUMBER* values, long long stride) {
    values[stride * (blockIdx.x + 1) - 1] += blockIdx.x;
}"""
    function = executor.compile("mark.cu", text, {"NUMBER": "double"}).function("mark")
    blocks, stride = 2**30, 16
    try:
        values = executor.zeros(blocks * stride, np.float64)
    except MemoryError:
        pytest.skip("the address space or the system's overcommit is limited")
    executor.schedule = Schedule("reversed", first_block=blocks - 2)
    executor.launch(function, blocks, 1, [values, np.int64(stride)])
    assert executor.to_host(values[values.size - 2 * stride :]).reshape(2, stride)[:, -2:].tolist() == [[0, blocks - 2], [0, blocks - 1]]
    assert not executor.to_host(values[: 2 * stride]).any()
    with pytest.raises(ExecutorError, match="4 blocks, of which none runs, since those below 1073741822 do not"):
        executor.launch(function, 4, 1, [values, np.int64(stride)])
    if executor.mode == "check":
        values = executor.empty(blocks * stride, np.float64)
        values[blocks * stride - 1 :].fill(1)
        with pytest.raises(ExecutorError, match=f"nobody has written byte {8 * (blocks - 1) * stride - 8} of argument 0"):
            executor.launch(function, blocks, 1, [values, np.int64(stride)])


def test_views_share_memory(executor):
    array = on(executor, np.arange(12, dtype=np.float32).reshape(3, 4))
    assert (array.shape, array.dtype, array.size, array.nbytes, array.ndim, len(array)) == ((3, 4), np.float32, 12, 48, 2, 3)
    assert array[1:3].shape == (2, 4) and array[1:].reshape(-1).shape == (8,) and array.view(np.int64).shape == (3, 2)
    assert executor.address(array[1:]) == executor.address(array) + 16 and executor.address(array) % 256 == 0
    apart = array[1:, 1:3]
    assert apart.shape == (2, 2) and apart.strides == array.strides
    for copying in (lambda: apart.reshape(4), lambda: apart.fill(0)):
        with pytest.raises(TypeError, match="rows lie apart"):
            copying()
    array.reshape(12)[4:8].fill(0)
    np.testing.assert_array_equal(executor.to_host(array)[1], np.zeros(4))
    assert executor.empty((0, 3), np.int32).size == 0
    assert executor.to_host(executor.empty(4, np.uint8)).tolist() == [0xCB] * 4


def test_an_array_is_not_an_ndarray(executor):
    array = executor.zeros(4, np.float32)
    conversions = [np.asarray, np.array, list, iter, int, float, bool, memoryview, operator.neg, np.sum, abs, sum]
    for convert in conversions:
        with pytest.raises(TypeError):
            convert(array)
    for operation in [operator.add, operator.mul, operator.eq, operator.lt, operator.matmul, operator.iadd]:
        for other in [1, array, np.zeros(4, np.float32)]:
            with pytest.raises(TypeError):
                operation(array, other)
            with pytest.raises(TypeError):
                operation(other, array)
    for key in [0, (0, 1), [1, 2], slice(0, 4, 2), ..., None]:
        with pytest.raises(TypeError):
            array[key]
    with pytest.raises(TypeError):
        array[0:1] = 1
    with pytest.raises(TypeError):
        np.zeros(4)[:] = array
    assert array in {array: 1}


# ------------------------------------------------------------------ elementwise


class Rule(NamedTuple):
    rate: np.float32
    offset: np.int64


def scale(i, values, rule, result, mask):
    if mask is None:
        result[i] = values[i] * rule.rate + rule.offset


def in_turn(i, order):
    order[order.size - 1] += 1
    order[i] = order[order.size - 1]


def beyond(i, values):
    values[i + 1] = 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_elementwise(executor, schedule):
    executor.schedule = schedule
    run = executor.elementwise(scale)
    values, result = on(executor, np.arange(10, dtype=np.float32)), executor.empty(10, np.float32)
    run(10, values, Rule(np.float32(0.5), np.int64(3)), result, None)
    np.testing.assert_array_equal(executor.to_host(result), np.arange(10) * 0.5 + 3)
    with pytest.raises(ExecutorError, match="elementwise scale: argument 0 is a ndarray"):
        run(10, np.zeros(10), Rule(np.float32(0.5), np.int64(3)), result, None)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_the_order_of_an_elementwise_loop(schedule):
    executor = ExecutorDevice(schedule, mode="fast")
    order = executor.zeros(11, np.int64)
    executor.elementwise(in_turn)(10, order)
    turns = executor.to_host(order)[:10].tolist()
    assert sorted(turns) == list(range(1, 11))
    ascending = list(range(1, 11))
    assert {"in order": turns == ascending, "reversed": turns == ascending[::-1], "random": turns != ascending}[schedule.order]


def from_the_left(i, values):
    values[i] = values[i - 1] if i else 1


def to_the_first(i, values):
    values[0] = i


def half_of_twice(i, values):
    if i % 2 == 0:
        values[i] = i


def copy(i, values, result):
    result[i] = values[i]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("count", [40, 5000])
def test_elements_that_race(schedule, count):
    executor = ExecutorDevice(schedule)
    values = executor.zeros(count, np.float32)
    for body in (in_turn, to_the_first, from_the_left):
        with pytest.raises(ExecutorError, match=rf"elementwise {body.__name__}: data race: element \d+ (reads|writes) argument 0\[\d+\]"):
            executor.elementwise(body)(count, values)
    executor.elementwise(copy)(count, values, values)  # an element may read what it writes
    assert not executor.to_host(values).any()  # a loop that races has not run


def test_elements_that_read_what_nobody_has_written():
    executor = ExecutorDevice()
    values, result = executor.empty(10, np.float32), executor.empty(10, np.float32)
    executor.elementwise(half_of_twice)(10, values)
    with pytest.raises(ExecutorError, match=r"elementwise copy: element 1 reads argument 0\[1\], which nobody has written"):
        executor.elementwise(copy)(10, values, result)
    executor.elementwise(copy)(1, values, result)
    text = 'extern "C" __global__ void copy(const float* values, float* result) { result[threadIdx.x] = values[threadIdx.x]; }'
    function = executor.compile("copy.cu", text, {}).function("copy")
    executor.launch(function, 1, 1, [result, values])
    with pytest.raises(ExecutorError, match="nobody has written byte 4 of argument 0 'values'"):
        executor.launch(function, 1, 2, [result, values])


def test_elementwise_bounds(executor):
    values = executor.empty(4, np.float32)
    executor.elementwise(beyond)(3, values)
    with pytest.raises(ExecutorError, match="elementwise beyond: .*out of bounds"):
        executor.elementwise(beyond)(4, values)


# ------------------------------------------------------------------ modes and compilers


@pytest.mark.skipif(compiling.compiler().family != "gcc", reason="coverage needs g++ and gcov")
def test_coverage():
    text = """extern "C" __global__ void choose(int* values, int limit) {
    if (values[threadIdx.x] < limit)
        values[threadIdx.x] += 1;
    else
        values[threadIdx.x] = 0;
}
"""
    executor = ExecutorDevice(mode="coverage")
    module = executor.compile("choose.cu", text, {})
    values = on(executor, np.arange(8, dtype=np.int32))
    executor.launch(module.function("choose"), 1, 8, [values, np.int32(100)])
    assert [module.coverage()["choose.cu", line] for line in (2, 3, 5)] == [8, 8, 0]
    executor.launch(module.function("choose"), 1, 8, [values, np.int32(3)])
    assert [module.coverage()["choose.cu", line] for line in (2, 3, 5)] == [16, 10, 6]
    other = executor.compile("choose.cu", text, {"OTHER": 1})
    executor.launch(other.function("choose"), 1, 8, [values, np.int32(100)])
    assert [other.coverage()["choose.cu", line] for line in (2, 3, 5)] == [8, 8, 0]
    assert [coverage()["choose.cu", line] for line in (2, 3, 5)] == [24, 18, 6]


@pytest.mark.skipif(not find_spec("ziglang"), reason="ziglang is not installed")
@pytest.mark.skipif("DESHPC_CXX" in os.environ, reason="a compiler has been named")
@pytest.mark.skipif(not os.environ.get("DESHPC_EVERY_CASE"), reason="takes a minute: with DESHPC_EVERY_CASE=1")
def test_with_zigs_compiler():
    """Where there is no other: the same tests, a part of them.  Its first run on a machine builds a C++ library."""
    some = "block_sum or bounds or rounding or shuffles"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", some]
    command += [str(Path(__file__)), str(Path(__file__).with_name("test_executor_bugs.py"))]
    done = subprocess.run(command, env={**os.environ, "DESHPC_CXX": "zig"}, capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"[1-9]\d passed", done.stdout), done.stdout


def test_processes_compile_side_by_side(tmp_path):
    text = 'extern "C" __global__ void nothing(int* values) { values[0] = 1; }'
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from executor.compile import compile_kernels
print(compile_kernels("nothing.cu", {text!r}, {{}}, "fast")[0].library)
"""
    (tmp_path / "deshpc/executor").mkdir(parents=True)
    shutil.copy(compiling.runtime(), tmp_path / "deshpc/executor")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    libraries = {process.communicate()[0] for process in running}
    assert len(libraries) == 1 and all(process.returncode == 0 for process in running)
    assert {path.suffix for path in (tmp_path / "deshpc/executor").iterdir()} == {".so"}
