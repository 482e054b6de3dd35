"""CRC-32 by folding against zlib.crc32, its factors against what zlib makes of zeros, and who computes it when."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import TIMEOUT_S

from deshpc.backend.cpu import checksum
from deshpc.backend.cpu.checksum import BLOCK, FACTORS, SHORTEST, can_fold, crc32, fold, fold_crc32, power_of_x

needs_folding = pytest.mark.skipif(not can_fold(), reason="kernels are compiled for a processor without PCLMUL")
NUMBERS = np.random.default_rng(4)
DATA = NUMBERS.integers(0, 256, 3_000_000, np.uint8)


def shifted(remainder, n):
    """`remainder` x^n mod P, where bit i is the coefficient of x^(31 - i): what zlib makes of n / 8 zero bytes."""
    return zlib.crc32(bytes(n // 8), remainder ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def test_powers_of_x_are_zlibs():
    for n in range(8, 2000, 7):
        assert power_of_x(n) == shifted(1 << 31 - n % 8, n - n % 8) << 32
    assert [power_of_x(n) for n in (0, 31, 32)] == [1 << 63, 1 << 32, 0xEDB88320 << 32]


def product(a, b):
    """Product of two polynomials over the integers modulo 2."""
    result = 0
    for i in range(b.bit_length()):
        result ^= (a << i) * (b >> i & 1)
    return result


@given(st.binary(min_size=16, max_size=16))
@settings(max_examples=50, deadline=None)
def test_factors_move_a_lane_by_a_block(lane):
    """16 bytes a block before the end and the two products have the same remainder: zlib's, started at zero."""
    low, high = (int.from_bytes(half, "little") for half in (lane[:8], lane[8:]))
    moved = product(low, FACTORS[0]) ^ product(high, FACTORS[1])
    assert zlib.crc32(moved.to_bytes(16, "little"), 0xFFFFFFFF) == zlib.crc32(lane + bytes(BLOCK), 0xFFFFFFFF)


def test_known_value():
    assert crc32(np.frombuffer(b"123456789", np.uint8)) == 0xCBF43926
    assert crc32(b"123456789") == 0xCBF43926


@needs_folding
def test_every_length_is_folded_rightly():
    for n in range(BLOCK, 5001):
        assert fold_crc32(DATA[n : 2 * n], n) == zlib.crc32(DATA[n : 2 * n], n), n


def test_lengths_around_the_choice_and_large_ones():
    for n in (*range(300), *range(SHORTEST - 130, SHORTEST + 130), 65_537, 1_000_003, len(DATA) - 1):
        found = crc32(DATA[:n])
        assert found == zlib.crc32(DATA[:n]) and type(found) is int, n


@needs_folding
@pytest.mark.parametrize("n", [BLOCK, 1000, SHORTEST + 77])
def test_any_alignment(n):
    for start in range(64):
        assert fold_crc32(DATA[start : start + n], 0) == zlib.crc32(DATA[start : start + n]), start


@needs_folding
@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=BLOCK, max_size=1500), st.integers(0, 2**32 - 1))
def test_any_bytes_after_any_value(data, value):
    assert fold_crc32(data, value) == zlib.crc32(data, value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2 * SHORTEST), max_size=5), st.integers(-(2**40), 2**40))
def test_parts_in_a_row_are_as_the_whole(lengths, value):
    found, end = value, 0
    for n in lengths:
        found, end = crc32(DATA[end : end + n], found), end + n
    assert found & 0xFFFFFFFF == zlib.crc32(DATA[:end], value)


@needs_folding
def test_one_changed_bit_is_seen():
    changed = DATA[:20_001].copy()
    before = crc32(changed)
    for place in (0, 127, 128, 9_999, 19_967, 19_968, 20_000):
        changed[place] ^= 64
        assert crc32(changed) != before
        changed[place] ^= 64
    assert crc32(changed) == before


def test_start_values_of_numpy():
    for value in (np.uint8(200), np.uint32(0xDEADBEEF), np.int64(7)):
        assert crc32(DATA[:SHORTEST], value) == zlib.crc32(DATA[:SHORTEST], int(value))


def test_read_only_and_mapped_arrays(tmp_path):
    """The file ends with a page, so that a read past its end would be a crash."""
    path = tmp_path / "data"
    DATA[: 32 * 4096].tofile(path)
    mapped = np.memmap(path, np.uint8, "r")
    expected = zlib.crc32(path.read_bytes())
    assert crc32(mapped) == crc32(mapped.view(np.ndarray)) == expected
    assert crc32(mapped[-SHORTEST - 1 :]) == zlib.crc32(path.read_bytes()[-SHORTEST - 1 :])
    read_only = DATA[: 32 * 4096].copy()
    read_only.flags.writeable = False
    assert crc32(read_only) == expected and crc32(DATA[: 32 * 4096]) == expected
    assert DATA.flags.writeable and len(fold.signatures) <= 1  # compiled once for all of them


def test_other_types_and_gaps():
    numbers = DATA[: 8 * SHORTEST].view(np.float64).reshape(16, -1)
    assert crc32(numbers) == zlib.crc32(numbers)
    for gaps in (numbers.T, numbers[:, ::2], DATA[::3], DATA[:300:3]):
        with pytest.raises((BufferError, ValueError)):
            crc32(gaps)


@pytest.mark.parametrize("able", [True, False])
def test_who_computes_it(monkeypatch, able):
    """Long data is folded where the processor can, and never elsewhere."""
    lengths = []
    monkeypatch.setattr(checksum, "can_fold", lambda: able)
    monkeypatch.setattr(checksum, "fold_crc32", lambda data, value: lengths.append(len(data)) or 17)
    found = [crc32(DATA[:n], 5) for n in (0, SHORTEST - 1, SHORTEST, len(DATA))]
    assert lengths == ([SHORTEST, len(DATA)] if able else [])
    assert found[:2] == [zlib.crc32(DATA[:n], 5) for n in (0, SHORTEST - 1)]
    assert found[2:] == ([17, 17] if able else [zlib.crc32(DATA[:n], 5) for n in (SHORTEST, len(DATA))])


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no list of the processor's features")
@pytest.mark.skipif(
    "NUMBA_CPU_NAME" in os.environ or "NUMBA_CPU_FEATURES" in os.environ, reason="not for this processor"
)
def test_folding_is_chosen_where_the_processor_has_the_instruction():
    flags = [line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")]
    assert can_fold() == any("pclmulqdq" in words for words in flags)


@pytest.mark.parametrize(
    ("features", "folds"), [("", False), pytest.param("+sse4.1,+pclmul", True, marks=needs_folding)]
)
def test_kernels_for_plainer_processors(features, folds):
    """Compiled without the instruction, folding would end the process; without AVX, so would aligned access."""
    code = (
        "import numpy, zlib; from deshpc.backend.cpu.checksum import can_fold, crc32\n"
        "data = numpy.arange(99_999, dtype=numpy.uint8)[1:]\n"
        "print(can_fold(), crc32(data) == zlib.crc32(data))"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)
    assert done.stdout.split() == [str(folds), "True"], done.stderr
