"""How often keys without a row were seen; NumPy only."""

from typing import NamedTuple

import numpy as np


class Sights(NamedTuple):
    """Waiting keys, in any order.  keys (n) uint64, sights (n) uint32, steps of the last one (n) uint32."""

    keys: np.ndarray
    sights: np.ndarray
    steps: np.ndarray

    def take(self, which):
        """Those at some places."""
        return Sights(*(array[which] for array in self))

    @staticmethod
    def joined(parts):
        """All of `parts`, in key order; none of none."""
        none = Sights(np.zeros(0, np.uint64), np.zeros(0, np.uint32), np.zeros(0, np.uint32))
        whole = Sights(*map(np.concatenate, zip(none, *parts, strict=True)))
        return whole.take(np.argsort(whole.keys))
