"""Matrix products of the CPU backend, by the library and by tiles, against float64; and that tiles are as exact as float32."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest

from deshpc.backend.cpu import tiles
from deshpc.backend.cpu.buffers import aligned
from deshpc.backend.cpu.products import LibraryProducts, TileProducts, open_products
from deshpc.backend.cpu.tile_parts import split_pairs, split_rows
from deshpc.config.load import build
from deshpc.errors import ConfigError

TILES = tiles.available()
needs_tiles = pytest.mark.skipif(not TILES, reason="this processor has no AMX")
KINDS = [LibraryProducts, pytest.param(TileProducts, marks=needs_tiles)]

# Error of a sum of products relative to the sum of their absolute values, in roundings of float32: measured 13 at most for tiles, 23
# for OpenBLAS; without one of the products of parts it is 60 and more.
ROUNDING, MOST = 2.0**-24, 32

SHAPES = [  # m, k, n: whole blocks of tiles, parts of them, groups of blocks, more terms than are added up at a time
    (32, 32, 32), (64, 64, 64), (33, 35, 37), (47, 48, 49), (45, 63, 64), (129, 34, 40), (160, 33, 416), (36, 511, 33),
    (32, 513, 35), (40, 1100, 50), (430, 50, 400), (1, 40, 40), (40, 1, 40), (40, 40, 1), (7, 5, 3), (200, 31, 64),
]  # fmt: skip


def factors(m, k, n, dtype="float32", turned=(False, False), seed=1):
    """(a, b), of numbers of very different size; those `turned` are transposes of contiguous arrays, the others have longer rows."""
    rng, made = np.random.default_rng([seed, m, k, n]), []
    for (rows, columns), turn in zip(((m, k), (k, n)), turned, strict=True):
        numbers = rng.standard_normal((rows, columns)) * np.exp(3 * rng.standard_normal((rows, columns)))
        if turn:
            made.append(np.ascontiguousarray(numbers.T, dtype).T)
        else:
            whole = np.full((rows, columns + 3), np.nan, dtype)
            whole[:, 1:-2] = numbers
            made.append(whole[:, 1:-2])
    return made


def assert_product(found, a, b, before=0.0):
    a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.abs(a) @ np.abs(b) + np.abs(before)
    rounding = ROUNDING if found.dtype == np.float32 else 2.0**-53
    assert (np.abs(found - (a @ b + before)) <= MOST * rounding * size).all()


@pytest.mark.parametrize("turned", [*product((False, True), repeat=2)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_products_of_any_shape(kind, shape, turned):
    """Written and added, into the middle of a larger array whose other numbers stay."""
    products, (a, b) = kind(), factors(*shape, turned=turned)
    m, n = shape[0], shape[2]
    for add in (False, True):
        before = np.random.default_rng(2).standard_normal((m, n)).astype(np.float32)
        around = np.full((m + 2, n + 5), 7, np.float32)
        out = around[1:-1, 2:-3]
        out[...] = before if add else np.nan
        products.multiply(a, b, out, add)
        assert_product(out, a, b, before if add else 0.0)
        around[1:-1, 2:-3] = 7
        assert (around == 7).all()


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_float64(kind):
    a, b = factors(70, 80, 90, "float64")
    out = np.ones((70, 90))
    kind().multiply(a, b, out, add=True)
    assert_product(out, a, b, 1.0)


@needs_tiles
@pytest.mark.parametrize("turned", [*product((False, True), repeat=2)])
def test_tiles_are_as_exact_as_the_library(turned):
    a, b = factors(256, 400, 256, turned=turned)
    exact, size = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    errors = []
    for kind in (LibraryProducts, TileProducts):
        out = np.empty((256, 256), np.float32)
        kind().multiply(a, b, out)
        errors.append(np.sqrt(np.square((out - exact) / size).mean()))
    assert errors[1] <= errors[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_none(kind, bad):
    """And touches what it has to do with, nothing else."""
    for which in (0, 1):
        both = factors(64, 70, 80)
        both[which][40, 50] = bad
        out = np.empty((64, 80), np.float32)
        kind().multiply(*both, out)
        wrong = ~np.isfinite(out)
        assert (wrong[40] if which == 0 else wrong[:, 50]).all()
        assert wrong.sum() == (80 if which == 0 else 64)


@needs_tiles
def test_extremes():
    """Numbers near the ends of float32, and zeros."""
    for scale in (1e-30, 1e30):
        a, b = factors(40, 50, 60)
        a *= np.float32(scale)
        b *= np.float32(1 / scale)
        out = np.empty((40, 60), np.float32)
        TileProducts().multiply(a, b, out)
        assert_product(out, a, b)
    out = np.ones((40, 60), np.float32)
    TileProducts().multiply(np.zeros_like(a), b, out)
    assert (out == 0).all()


@needs_tiles
def test_threads_do_not_disturb_each_other():
    products, cases = TileProducts(), [factors(100, 90, 80, seed=seed) for seed in range(40)]

    def work(case):
        out = np.empty((100, 80), np.float32)
        products.multiply(*case, out)
        return out

    expected = [work(case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(work, cases), expected, strict=True):
            assert np.array_equal(one, other)


@needs_tiles
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("split", [split_rows, split_pairs])
def test_parts_add_up_to_their_number_exactly(split, turned):
    """Read back from where tiles have them: of rows, (row, term) and of pairs, (column, term), whether turned or not."""
    rows, columns = 70, 45
    matrix, _ = factors(rows, columns, 1)
    by_rows = split is split_rows
    terms, lines = (columns, rows) if by_rows else (rows, columns)
    blocks, steps = -(-lines // tiles.SIDE), -(-terms // tiles.SIDE)
    memory, scratch = aligned(blocks * steps * tiles.STEP_BYTES, np.uint8), aligned(tiles.STEP_BYTES, np.uint8)
    split(
        matrix.ctypes.data, matrix.strides[0], rows, columns, 0, blocks, turned, scratch.ctypes.data, memory.ctypes.data
    )
    bits = memory.view(np.uint16).reshape(blocks, steps, tiles.PARTS, 2, 16, 16, 2).astype(np.uint32) << 16
    numbers = bits.view(np.float32).astype(np.float64)  # [block][step][part][tile][line][pair][of pair]
    if turned == by_rows:
        numbers = numbers.swapaxes(4, 5)
    numbers = numbers.transpose(2, 0, 3, 4, 1, 6, 5).reshape(tiles.PARTS, blocks * tiles.SIDE, steps * tiles.SIDE)
    expected = np.zeros(numbers.shape[1:])
    expected[:lines, :terms] = matrix if by_rows else matrix.T
    assert np.array_equal(numbers.sum(axis=0), expected)
    assert (np.abs(numbers[1:]) <= np.abs(numbers[0]) / [[[2**8]], [[2**16]]]).all()


def test_the_products_that_there_are(monkeypatch):
    assert type(open_products("library")) is LibraryProducts
    assert type(open_products("auto")) is (TileProducts if TILES else LibraryProducts)
    monkeypatch.setattr(tiles, "available", lambda: False)
    assert type(open_products("auto")) is LibraryProducts
    with pytest.raises(ConfigError, match="compute.matrix_products = 'tiles' needs a processor with Intel AMX"):
        open_products("tiles")


def test_only_known_products_are_configured():
    with pytest.raises(ConfigError, match=r"compute\.matrix_products.*auto.*library.*tiles"):
        build({"data": {"format": "synthetic"}, "compute": {"matrix_products": "mkl"}})


@pytest.mark.parametrize("system, machine", [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_no_tiles_on_other_systems(monkeypatch, system, machine):
    monkeypatch.setattr(tiles.platform, "system", lambda: system)
    monkeypatch.setattr(tiles.platform, "machine", lambda: machine)
    assert not tiles.available()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_bits_wherever_it_is(kind, dtype):
    """In products of any number of rows, alone too, written and added; widths of one, of parts of registers and of several panels."""
    products, rng = kind(), np.random.default_rng(8)
    for k, n in ((1, 1), (400, 1), (3, 70), (33, 40), (130, 64), (17, 131), (600, 33), (0, 3)):
        distinct, b = factors(3, k, n, dtype)
        before = rng.standard_normal((3, n)).astype(dtype)
        for add in (False, True):
            alone = before.copy()
            for i in range(3):
                products.multiply_rows(distinct[i : i + 1], b, alone[i : i + 1], add)
            assert_product(alone, distinct, b, before if add else 0.0)
            for m in (2, 6, 7, 31, 64, 97):
                which = rng.integers(0, 3, m)
                out = before[which]
                products.multiply_rows(distinct[which], b, out, add)
                assert np.array_equal(out, alone[which])
