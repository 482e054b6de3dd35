"""Prefix sums and stable sorts on a device, against NumPy's cumsum and argsort(kind="stable").

Arrays are longer than what a kernel is told of, so that what lies behind must neither be counted nor change.
"""

import numpy as np
import pytest

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.launch import Kernels
from deshpc.backend.cuda.prefix import TILE, Prefix, tiles_of

BEHIND = 3  # numbers behind those that count
CANARY = 2**40 + 77
SIZES = [0, 1, 7, 255, 256, 257, TILE - 1, TILE, TILE + 1, 3 * TILE + 5]


def on(device, host):
    """A copy of a host array on the device."""
    array = device.empty(host.shape, host.dtype)
    device.to_device(host, array)
    return array


def packed_counts(generator, n):
    """Two counts each, in the lower and the upper half; their sums stay below 2^32, some only just."""
    halves = generator.integers(0, 2**32 // max(1, n), (2, n), dtype=np.uint64)
    return halves, halves[0] | halves[1] << np.uint64(32)


def exclusive(counts):
    """Exclusive prefix sums, and the sum of all, in Python integers."""
    sums = [0]
    for count in counts.tolist():
        sums.append(sums[-1] + count)
    return sums[:-1], sums[-1]


def test_tiles():
    assert [tiles_of(n) for n in (0, 1, TILE, TILE + 1, 3 * TILE)] == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("in_one_block", [True, False])
@pytest.mark.parametrize("n", SIZES)
def test_prefix_sums_of_two_counts_in_one_number(device, n, in_one_block):
    generator = np.random.default_rng(n)
    halves, counts = packed_counts(generator, n)
    array, total = on(device, np.append(counts, np.full(BEHIND, CANARY, np.uint64))), on(device, np.full(1, 5, np.uint64))
    prefix = Prefix(Kernels(device))
    for _ in range(2):  # the second time with scratch arrays that have been used
        device.to_device(np.append(counts, np.full(BEHIND, CANARY, np.uint64)), array)
        prefix.of_tiles(array, n, total) if in_one_block else prefix.sum(array, n, total)
        sums, in_all = exclusive(counts)
        found = device.to_host(array).tolist()
        assert found == sums + [CANARY] * BEHIND and device.to_host(total).tolist() == [in_all]
        for half, shift in zip(halves, (0, 32), strict=True):
            assert [one >> shift & 0xFFFFFFFF for one in found[:n]] == exclusive(half)[0]


def test_more_counts_than_one_block_has_threads(device):
    """One block goes over them, 256 at a time."""
    counts = np.random.default_rng(1).integers(0, 2**40, 600, dtype=np.uint64)
    array, total = on(device, counts), device.empty((1,), np.uint64)
    for n in (600, 512, 513):
        device.to_device(counts, array)
        Prefix(Kernels(device)).of_tiles(array, n, total)
        sums, in_all = exclusive(counts[:n])
        assert device.to_host(array).tolist() == sums + counts[n:].tolist() and device.to_host(total).tolist() == [in_all]


@pytest.mark.parametrize("bits", [1, 8, 9, 16, 17, 20])
def test_sort_of_keys_of_so_many_bits_and_of_ties(device, bits):
    keys = np.random.default_rng(bits).integers(0, 2**bits, 301).astype(np.uint32)
    check_sort(device, keys, bits)
    check_sort(device, np.random.default_rng(bits).choice([0, 1, 2**bits - 1], 301).astype(np.uint32), bits)


@pytest.mark.parametrize("bits", range(1, 21))
def test_sort_is_stable_for_any_number_of_bits(few, bits):
    check_sort(few, np.random.default_rng(bits).integers(0, 2**bits, 555).astype(np.uint32), bits)


@pytest.mark.parametrize("most", [1, 2, 1_000, 2**20])
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, TILE - 1, TILE, TILE + 1, 3 * TILE + 300])
def test_sort_of_many_sizes(few, n, most):
    """Of one key only, of ties, of few ties; also where scratch arrays have been used by a larger sort."""
    generator, prefix, buffers = np.random.default_rng(n), Prefix(Kernels(few)), Buffers(few)
    bits = max(1, (most - 1).bit_length())
    if n > TILE:
        keys = generator.integers(0, most, n + 999).astype(np.uint32)
        prefix.sort(on(few, keys), n + 999, bits, buffers, "sorted")
    check_sort(few, generator.integers(0, most, n).astype(np.uint32), bits, prefix, buffers)


def check_sort(device, keys, bits, prefix=None, buffers=None):
    n, prefix, buffers = len(keys), prefix or Prefix(Kernels(device)), buffers or Buffers(device)
    array = on(device, np.append(keys, np.zeros(BEHIND, np.uint32)))  # which would be the first
    sorted_keys, positions = prefix.sort(array, n, bits, buffers, "sorted")
    order = np.argsort(keys, kind="stable")
    assert sorted_keys.dtype == positions.dtype == np.uint32
    assert device.to_host(sorted_keys).tolist() == keys[order].tolist()
    assert device.to_host(positions).tolist() == order.tolist()
