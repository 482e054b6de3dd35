"""Gradients of rows, summed per key, on a device.  See kernels/key_sums.cuh, sums.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.groups import sum_lanes_of, sum_stretches_of
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.values import value_width

FM, POOL, BI_INTERACTION, SEATED = range(4)
"""Whose adjoint it is: what an occurrence adds, as in sums.cu."""

MOST_HELD = 8  # numbers of a lane, as in sums.cu
_TILE = 32  # occurrences of a tile, as in key_sums.cuh
_MOST_SPAN_BLOCKS = 1024


class KeySums:
    """Adds what every occurrence adds to its key's sums, each of the `Sums` that is there."""

    def __init__(self, kernels):
        self._kernels, self._scratch = kernels, Buffers(kernels.device)

    def add(self, adjoint, form, occurrences, state, column, sums, scale, columns=None):
        """Add the terms of all occurrences of an operator.

        adjoint : FM, which linear terms share (a table of linear weights alone has k = 0), POOL, BI_INTERACTION, or SEATED, a pool whose occurrences have seats
        state : (samples, width) gradient of the states
        column : where the operator's begins
        columns : (F) int64 where each field's, or seat's, begins, of a pool
        """
        scalars, like = int(sums.scalar is not None), sums.scalar if sums.scalar is not None else sums.vector
        kernels = self._kernels(
            "sums.cu", NUMBER=kind(form.number), COMPUTE=kind(form.zero), SUM=kind(like), DIM=form.dim,
            VALUES=value_width(occurrences.values), SCALARS=scalars, ADJOINT=adjoint,
        )  # fmt: skip
        fields = {POOL: occurrences.fields, SEATED: occurrences.seats}.get(adjoint)
        of_keys = occurrences.addresses if adjoint == BI_INTERACTION else None, fields, columns
        self.add_by(kernels, form.dim + scalars, MOST_HELD, occurrences, (state, column, *of_keys), sums, scale)

    def add_by(self, kernels, numbers, most_held, occurrences, of_adjoint, sums, scale=1.0):
        """Add what `kernels`, of a file with key_sums.cuh, say that an occurrence adds.

        numbers : of a row's gradient
        most_held : of them by a lane, as the file says
        of_adjoint : arguments of the adjoint, between the occurrences' and the scale
        """
        local, values, grouping = occurrences.local, occurrences.values, occurrences.grouping
        like = sums.scalar if sums.scalar is not None else sums.vector
        n, lanes = local.size, sum_lanes_of(numbers) * sum_stretches_of(numbers, most_held)
        if grouping.order is None:
            kernels.add_atomically(n * lanes, local, n, grouping.keys, grouping.samples, values, *of_adjoint, scale, *sums)
            return
        tiles, array = -(-n // _TILE), self._scratch.array
        heads, tails = (array(name, (tiles, numbers + 1), like.dtype) for name in ("heads", "tails"))
        spans, span_count = array("spans", tiles, np.uint32), array("span count", 1, np.uint32)
        span_count.fill(0)
        kernels.sum_tiles(
            tiles * lanes, grouping.places, grouping.order, n, grouping.keys, grouping.samples, values, *of_adjoint, scale, *sums,
            heads, tails, spans, span_count,
        )  # fmt: skip
        kernels.sum_spans.blocks(
            min(tiles, _MOST_SPAN_BLOCKS), grouping.places, n, heads, tails, spans, span_count, *sums
        )
