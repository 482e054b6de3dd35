"""Gradients of rows, summed per key, on a device.  See kernels/sums.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import sum_lanes_of
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width

_TILE = 32  # occurrences of a tile, as in sums.cu
_MOST_SPAN_BLOCKS = 1024


class KeySums:
    """Adds g xl, g x A and g x^2 of every occurrence to its key's sums."""

    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)

    def add(self, form, occurrences, state, column, sums, scale):
        """state (samples, width) holds g A (k numbers) and g at `column`;  a table of linear weights alone has k = 0"""
        local, values, grouping, dim = occurrences.local, occurrences.values, occurrences.grouping, form.dim
        kernels = self._kernels(
            "sums.cu", COMPUTE=kind(form.zero), SUM=kind(sums.scalar), DIM=dim, VALUES=value_width(values)
        )
        n, lanes, width = local.size, sum_lanes_of(dim), state.shape[1]
        if grouping.order is None:
            kernels.add_atomically(
                n * lanes, local, n, grouping.keys, grouping.samples, values, state, width, column, scale, *sums
            )
            return
        tiles, array = -(-n // _TILE), self._scratch.array
        heads = array("heads", (tiles, dim + 2), sums.scalar.dtype)
        tails = array("tails", (tiles, dim + 2), sums.scalar.dtype)
        spans, span_count = array("spans", tiles, np.uint32), array("span count", 1, np.uint32)
        span_count.fill(0)
        kernels.sum_tiles(
            tiles * lanes, grouping.places, grouping.order, n, grouping.keys, grouping.samples, values, state, width, column,
            scale, *sums, heads, tails, spans, span_count,
        )  # fmt: skip
        kernels.sum_spans.blocks(
            min(tiles, _MOST_SPAN_BLOCKS), grouping.places, n, heads, tails, spans, span_count, *sums
        )
