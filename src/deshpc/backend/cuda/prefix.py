"""Prefix sums and stable sorts of small numbers on the device: what de-duplication, routing and sums per key stand on."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers

TILE = 2048
"""Items of a block, the same in every kernel that counts by tiles."""

_DIGIT_BITS = 8
_DIGITS = 1 << _DIGIT_BITS


def tiles_of(n):
    """Blocks that take n items."""
    return -(-n // TILE)


class Prefix:
    """Prefix sums and sorts, with scratch arrays of their own."""

    def __init__(self, kernels):
        self._scan, self._sort = kernels("scan.cu"), kernels("sort.cu")
        self._scratch = Buffers(kernels.device)
        self._device = kernels.device

    def of_tiles(self, counts, tiles, total):
        """counts (tiles) uint64 becomes its exclusive prefix sum, total (1) the sum of all, in one block."""
        self._scan.scan_tiles.blocks(1, counts, tiles, total)

    def sum(self, counts, n, total):
        """counts (n) uint64 becomes its exclusive prefix sum, total (1) the sum of all."""
        tiles = tiles_of(n)
        sums = self._scratch.array("sums", tiles, np.uint64)
        self._scan.sum_tiles.blocks(tiles, counts, n, sums)
        self._scan.scan_tiles.blocks(1, sums, tiles, total)
        self._scan.add_tiles.blocks(tiles, counts, n, sums)

    def sort(self, keys, n, bits, buffers, name):
        """(sorted keys, positions they came from), (n) uint32 each in `buffers`, of keys (n) uint32 below 2^bits.

        Equal keys keep their order.  keys is used as scratch.
        """
        array, tiles, items = buffers.array, tiles_of(n), None
        counts = self._scratch.array("counts", tiles * _DIGITS, np.uint64)
        total = self._scratch.array("total", 1, np.uint64)
        for turn, shift in enumerate(range(0, max(1, bits), _DIGIT_BITS)):
            sorted_keys = array(f"{name} keys {turn % 2}", n, np.uint32)
            sorted_items = array(f"{name} items {turn % 2}", n, np.uint32)
            self._sort.count_digits.blocks(tiles, keys, n, shift, counts)
            self.sum(counts, tiles * _DIGITS, total)
            self._sort.scatter.blocks(tiles, keys, items, n, shift, counts, sorted_keys, sorted_items)
            keys, items = sorted_keys, sorted_items
        return keys, items
