"""What every CPU kernel stands on: vectors of k numbers, raw memory, scratch arrays and threads, against NumPy.

Proves that vectors of any k read and write exactly k numbers, that each operation is rounded as written (a fused
multiply-add once, a sum in the documented tree), and that raw memory keeps the bytes of every type.
"""

import threading
from fractions import Fraction

import numpy as np
import pytest

from deshpc.backend.cpu.bucket import match4, trailing_zeros
from deshpc.backend.cpu.buffers import Buffers, aligned
from deshpc.backend.cpu.memory import address_of, at, cast, load, prefetch, put, size_of, store
from deshpc.backend.cpu.simd import Lanes, aload, astore, vfma, vload, vsplat, vsqrt, vstore, vsum
from deshpc.backend.cpu.team import Team
from deshpc.jit import kernel

OPERATIONS = ("load", "add", "subtract", "multiply", "divide", "fma", "sqrt", "splat")


@kernel
def every_operation(lanes, zero, stored, narrowed, inputs, outputs, total):
    """Row i of outputs (operations, k + 2), from its second number on: OPERATIONS[i] of inputs a, b, c (3, k + 1)."""
    size, width = size_of(zero), inputs.shape[1]
    a = aload(lanes, address_of(inputs, 1))
    b = aload(lanes, address_of(inputs, width + 1))
    c = aload(lanes, address_of(inputs, 2 * width + 1))
    row = address_of(outputs, 1)
    step = outputs.shape[1] * size
    astore(row, vload(lanes, address_of(stored, 1)))
    astore(row + step, a + b)
    astore(row + 2 * step, a - b)
    astore(row + 3 * step, a * b)
    astore(row + 4 * step, a / b)
    astore(row + 5 * step, vfma(a, b, c))
    astore(row + 6 * step, vsqrt(c))
    astore(row + 7 * step, vsplat(lanes, at(inputs, 1)))
    vstore(lanes, address_of(narrowed, 1), a)
    put(total, 0, vsum(a))


def tree_sum(numbers):
    """Halves are added to each other; an odd lane is carried along and added at the end."""
    carried = []
    while len(numbers) > 1:
        half = len(numbers) // 2
        carried += [numbers[-1]] if len(numbers) % 2 else []
        numbers = [low + high for low, high in zip(numbers[:half], numbers[half : 2 * half], strict=True)]
    total = numbers[0]
    for lane in carried:
        total = total + lane
    return total


@pytest.mark.parametrize(
    ("storage", "compute"), [("float32", "float32"), ("float32", "float64"), ("float64", "float64")]
)
@pytest.mark.parametrize("k", [1, 3, 16, 33, 300])
def test_vectors(k, storage, compute):
    generator = np.random.default_rng(k)
    inputs = (generator.standard_normal((3, k + 1)) * 10).astype(compute)
    inputs[2] = abs(inputs[2])
    stored = generator.standard_normal(k + 1).astype(storage)  # from the second number on: not even 8-byte aligned
    narrowed, outputs = np.full(k + 2, 77, storage), np.full((len(OPERATIONS), k + 2), 77, compute)
    total = np.zeros(1, compute)
    every_operation(Lanes(k, storage, compute), np.dtype(compute).type(0), stored, narrowed, inputs, outputs, total)
    a, b, c = inputs[:, 1:]
    # float64 rounds the exact fraction correctly; a second rounding to float32 differs only at its exact ties
    fused = [
        float(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))) for x, y, z in zip(a, b, c, strict=True)
    ]
    wanted = {
        "load": stored[1:].astype(compute), "add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b,
        "fma": np.array(fused).astype(compute), "sqrt": np.sqrt(c), "splat": np.full(k, a[0]),
    }  # fmt: skip
    for name, output in zip(OPERATIONS, outputs, strict=True):
        assert np.array_equal(output[1:-1], wanted[name]), name
    assert np.array_equal(narrowed[1:-1], a.astype(storage))
    assert (outputs[:, [0, -1]] == 77).all() and (narrowed[[0, -1]] == 77).all()  # k numbers and no more
    assert total[0] == tree_sum(list(a))
    if k > 3:
        assert (wanted["fma"] != a * b + c).any()  # the inputs do tell one rounding from two


def test_lanes_cannot_accumulate_in_a_coarser_type():
    with pytest.raises(ValueError, match="cannot accumulate float64 in float32"):
        Lanes(5, "float64", "float32")


@kernel
def matches(buckets, key):
    return match4(address_of(buckets, 4), key)


@kernel
def lowest(bits):
    return trailing_zeros(bits)


def test_match4_finds_every_subset_of_four():
    buckets = aligned(12, np.uint64)
    for key in (0, 1, 2**32, 2**63, 2**64 - 1):
        for subset in range(16):
            buckets[:] = key
            buckets[4:8] = [key if subset >> slot & 1 else key ^ 1 << (16 * slot) for slot in range(4)]
            assert matches(buckets, np.uint64(key)) == subset
    for bits in [*range(1, 16), 2**62, 3 << 40]:
        assert lowest(bits) == (bits & -bits).bit_length() - 1


@kernel
def write_record(record, words, halves, singles, doubles):
    begin = address_of(record, 0)
    prefetch(begin + 1_000_000_000)  # any address is harmless
    store(begin, words[0])
    store(begin + 8, doubles[0])
    store(begin + 16, singles[0])
    store(begin + 20, np.uint32(words[1]))
    store(begin + 24, halves[0])
    store(begin + 26, halves[1])
    store(begin + 28, np.int32(-5))
    return (
        load(begin, words[0]), load(begin + 8, doubles[0]), load(begin + 16, singles[0]), load(begin + 20, np.uint32(0)),
        load(begin + 24, halves[0]), load(begin + 26, halves[1]), load(begin + 28, np.int32(0)),
    )  # fmt: skip


def test_a_record_of_mixed_types():
    kind = np.dtype(
        {
            "names": ["word", "double", "single", "uint", "low", "high", "int"],
            "formats": ["u8", "f8", "f4", "u4", "u2", "u2", "i4"],
        }
    )
    content = (2**64 - 3, -1e300, np.float32(0.1), 2**32 - 7, 65_535, 258, -5)
    record = aligned(40, np.uint8)
    record[:] = 0xAA
    read = write_record(
        record, np.array([2**64 - 3, 2**32 - 7], np.uint64), np.array([65_535, 258], np.uint16),
        np.array([0.1], np.float32), np.array([-1e300]),
    )  # fmt: skip
    assert read == content
    assert record[:32].tobytes() == np.array([content], kind).tobytes()
    assert (record[32:] == 0xAA).all()


@kernel
def flat_copy(source, target):
    for i in range(source.size):
        put(target, i, at(source, i))
    return address_of(source, 2)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64", "uint64"])
def test_arrays_as_flat_memory(dtype):
    source = np.arange(15).reshape(3, 5).astype(dtype)
    target = np.zeros_like(source)
    assert flat_copy(source, target) == source.ctypes.data + 2 * source.itemsize
    assert np.array_equal(source, target)


def test_arrays_with_gaps_and_values_of_another_type_are_refused():
    source, target = np.arange(6.0), np.zeros(6)
    with pytest.raises(TypeError, match="C-contiguous"):
        flat_copy(source[::2], target)
    with pytest.raises(TypeError, match="cannot take"):
        flat_copy(source, target.astype(np.float32))


@kernel
def convert(value, like):
    return cast(value, like), size_of(like)


def test_casts_round_to_nearest():
    for value in (0.1, 1 + 2**-24, 1 + 3 * 2**-24, 16_777_217.0, 1e-45):
        number, size = convert(value, np.float32(0))
        assert (np.float32(number), size) == (np.float32(value), 4)
    assert convert(np.float32(0.1), 0.0) == (float(np.float32(0.1)), 8)
    assert convert(-7, 0.0) == (-7.0, 8)


def test_scratch_arrays_start_at_cache_lines_and_are_reused():
    buffers = Buffers()
    for count, dtype in ((0, np.uint8), (1, np.float32), (1_009, np.uint16), (33, np.float64)):
        for array in (aligned(count, dtype), buffers.array(f"{count}", count, dtype)):
            assert len(array) == count and array.dtype == dtype
            assert count == 0 or array.ctypes.data % 64 == 0
            assert array.flags.c_contiguous and array.flags.writeable
    first = buffers.array("state", (7, 5), np.float32)
    first[...] = 3
    again = buffers.array("state", 11, np.float32)
    assert again.ctypes.data == first.ctypes.data and (again == 3).all()
    half_more = buffers.array("state", (52,), np.float32)
    assert half_more.ctypes.data == first.ctypes.data  # 35 numbers were given room for 52
    assert buffers.array("state", (53, 1), np.float32).ctypes.data != first.ctypes.data
    assert buffers.array("state", 3, np.float64).dtype == np.float64
    assert buffers.array("state", (3, 0), np.float64).shape == (3, 0)
    other = Buffers()
    assert other.nbytes == 0
    other.array("a", 10, np.float32), other.array("b", 10, np.uint64)
    assert other.nbytes == 15 * 4 + 15 * 8


def test_zeros_are_zero_as_long_as_they_are_left_zero():
    buffers = Buffers()
    for shape in (5, (3, 7), 2, (10, 11), 1):
        sums = buffers.zeros("sums", shape, np.float32)
        assert not sums.any()
        sums += 1
        sums[...] = 0
    buffers.zeros("sums", 4, np.float32)[...] = 9  # breaks the contract: the memory is not cleared behind its back
    assert (buffers.zeros("sums", 4, np.float32) == 9).all()
    assert not buffers.zeros("sums", 4, np.float64).any() and not buffers.zeros("sums", 4_000, np.float64).any()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_team_keeps_the_order(size):
    team = Team(size)
    try:
        for count in (1, 2, 7):
            assert team.each(lambda i, j: (i, j), [(i, -i) for i in range(count)]) == [(i, -i) for i in range(count)]
    finally:
        team.close()


def test_a_team_works_side_by_side():
    team, meeting = Team(3), threading.Barrier(3)
    try:
        threads = team.each(lambda _: (meeting.wait(timeout=60), threading.get_ident())[1], [(i,) for i in range(3)])
        assert len(set(threads)) == 3 and threads[0] == threading.get_ident()
    finally:
        team.close()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("bad", [(0,), (1,), (2,), (1, 2), (0, 2)])
def test_a_team_raises_the_first_error(size, bad):
    def task(i):
        if i in bad:
            raise ValueError(f"task {i}")
        return i

    team = Team(size)
    try:
        with pytest.raises(ValueError, match=f"task {bad[0]}"):
            team.each(task, [(i,) for i in range(3)])
        assert team.each(task, [(9,), (8,)]) == [9, 8]  # and goes on working
    finally:
        team.close()
