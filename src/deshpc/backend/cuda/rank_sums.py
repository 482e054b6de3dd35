"""Sums over ranks, in rank order, of what has come to a device.  See kernels/rank_sums.cu.

On the CPU the same is NumPy's (`comm/host_transport.py`), so this is no operation of `backend.operations`.
"""

import numpy as np

from deshpc.backend.cuda.kinds import kind


class RankSums:
    """Adds arrays of float32, float64 and int64."""

    def __init__(self, kernels):
        self._kernels = kernels

    def prepare(self):
        """Compile what `add` may need, before a run begins."""
        for name in ("float32", "float64", "int64"):
            self._kernels("rank_sums.cu", SUM=kind(np.dtype(name)))

    def add(self, parts, ranks, total):
        """total (...) = parts (ranks n), n numbers of each rank, added in rank order."""
        self._kernels("rank_sums.cu", SUM=kind(total)).add_ranks(total.size, parts, ranks, total.size, total)
