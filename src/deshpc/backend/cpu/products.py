"""Matrix products of the CPU backend: by the library that NumPy has, or by the processor's tiles where those are faster.

    products.multiply(a, b, out, add=False)           out = a b, or out += a b
    products.multiply_rows(a, b, out, add=False)      the same; a row of out has the same bits wherever it is in whatever a

a (m, k), b (k, n) and out (m, n) are of one floating type; the numbers of a row or those of a column of a and of b are
consecutive, those of a row of out.  Any thread may ask, for a product of its own.  Forward passes ask for `multiply_rows`: so equal
samples have equal scores.
"""

import threading

import numpy as np

from deshpc.backend.arguments import Matrix
from deshpc.backend.cpu import tiles
from deshpc.backend.cpu.buffers import Buffers
from deshpc.backend.cpu.dense import outer
from deshpc.backend.cpu.row_product import multiply_rows, panel_bytes
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.cpu.tile_parts import split_pairs, split_rows
from deshpc.backend.cpu.tile_product import Room, multiply
from deshpc.backend.weight_form import WeightForm
from deshpc.errors import ConfigError

_MOST_TERMS = 512
"""Terms of a sum that tiles add up at a time: parts of B of so many stay in the second cache."""


class _Scratch(threading.local):
    """Scratch arrays: `buffers` of every thread that asks, made when it first does."""

    def __init__(self):
        self.buffers = Buffers()


class LibraryProducts:
    """NumPy's own: a BLAS library's; where rows must not depend on their place, kernels of `row_product`."""

    name = "library"

    def __init__(self):
        self._scratch = _Scratch()
        self._panels = {}
        for kind in (np.float32, np.float64):
            dtype = np.dtype(kind)
            self._panels[dtype] = [_columns(size // dtype.itemsize, str(dtype)) for size in panel_bytes()]

    def multiply(self, a, b, out, add=False):
        """out = a b, or += with `add`."""
        if a.shape[1] == 1:  # nothing to add up
            outer(a[:, 0], b[0], out, add)
        elif add:
            part = self._scratch.buffers.array("part", out.shape, out.dtype)
            out += np.matmul(a, b, out=part)
        else:
            np.matmul(a, b, out=out)

    def multiply_rows(self, a, b, out, add=False):
        """out = a b, or += with `add`; row i of it depends on row i of a, on b, and on nothing else, to the bit."""
        (m, k), n, (wide, narrow) = a.shape, b.shape[1], self._panels[out.dtype]
        panel = self._scratch.buffers.array("panel", (k, wide.dim), out.dtype)
        rest = self._scratch.buffers.array("rest", (m, narrow.dim), out.dtype)
        multiply_rows(
            wide, narrow, Matrix.of(a), Matrix.of(b), m, k, n, Matrix.of(out), add, panel.ctypes.data, rest.ctypes.data
        )

    def gain_by_rows(self, dtype):
        """Whether products of rows that repeat in a batch are worth being made once a row (`ops.repeated`)."""
        return True


class TileProducts(LibraryProducts):
    """float32 by tiles where extents are large enough, see `tile_product`; everything else as without tiles."""

    name = "tiles"

    def __init__(self):
        super().__init__()
        self._configuration = tiles.configuration()

    def multiply(self, a, b, out, add=False):
        """out = a b, or += with `add`."""
        if len(a) < tiles.SIDE or not self._wide_enough(b):
            super().multiply(a, b, out, add)
        else:
            self._by_terms(a, b, out, add)

    def multiply_rows(self, a, b, out, add=False):
        """As the library's.  The number of rows must not choose the way: a tile adds every row up alike, and rows it lacks are zero."""
        if not self._wide_enough(b):
            super().multiply_rows(a, b, out, add)
        else:
            self._by_terms(a, b, out, add)

    def gain_by_rows(self, dtype):
        """Not where adding up the rows' products takes as long as making them for every sample."""
        return np.dtype(dtype) != np.float32

    def _wide_enough(self, b):
        return b.dtype == np.float32 and min(b.shape) >= tiles.SIDE

    def _by_terms(self, a, b, out, add):
        for begin in range(0, len(b), _MOST_TERMS):
            terms = slice(begin, begin + _MOST_TERMS)
            self._multiply(a[:, terms], b[terms], out, add or begin > 0)

    def _multiply(self, a, b, out, add):
        m, k = a.shape
        n = b.shape[1]
        scratch, steps, n_blocks = self._scratch.buffers, -(-k // tiles.SIDE), -(-n // tiles.SIDE)
        tile, sums, of_a, of_b = (
            scratch.array(name, size, np.uint8).ctypes.data
            for name, size in (
                ("tile", tiles.STEP_BYTES), ("sums", n_blocks * tiles.GROUP * tiles.BLOCK_BYTES),
                ("a", tiles.GROUP * steps * tiles.STEP_BYTES), ("b", n_blocks * steps * tiles.STEP_BYTES),
            )
        )  # fmt: skip
        if b.strides[1] == b.itemsize:
            split_pairs(b.ctypes.data, b.strides[0], k, n, 0, n_blocks, False, tile, of_b)
        else:
            split_rows(b.ctypes.data, b.strides[1], n, k, 0, n_blocks, True, tile, of_b)
        room = Room(self._configuration.ctypes.data, tile, of_a, of_b, sums)
        multiply(Matrix.of(a), m, n, k, Matrix.of(out), add, room)


def _columns(count, kind):
    return WeightForm(Lanes(count, kind, kind), np.dtype(kind).type(0), np.dtype(kind).type(0), count)


def open_products(name):
    """The products called `name`: "library", "tiles", or "auto", tiles where there are any."""
    if name == "library":
        return LibraryProducts()
    if name in ("tf32", "bfloat16"):
        raise ConfigError(f"compute.matrix_products = {name!r} is of a device; with compute.backend = 'cpu' choose 'auto', 'library' or 'tiles'")
    if tiles.available():
        return TileProducts()
    if name == "auto":
        return LibraryProducts()
    raise ConfigError("compute.matrix_products = 'tiles' needs a processor with Intel AMX, and Linux; choose 'auto' or 'library'")
