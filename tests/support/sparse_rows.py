"""Rows in records that are written by hand, samples of them, and sums over them that NumPy takes one occurrence at a time.

Sums are compared with float64, or in fixed point with whole numbers of terms that are rounded one by one.
"""

import numpy as np

from deshpc.backend.arguments import Occurrences
from deshpc.backend.cpu.simd import Lanes
from deshpc.backend.record import EMBEDDING
from deshpc.backend.weight_form import WeightForm

ROWS, SAMPLES, N_FIELDS, SCALE = 30, 11, 4, 2.0**32
TYPES = {"float64": ("float64", "float64"), "float32": ("float32", "float32"), "wide": ("float32", "float64"), "int64": ("float32", "int64")}
"""{name: (precision of rows, type of sums)}"""
TOLERANCE = {"float64": 1e-14, "wide": 1e-14, "float32": 5e-6}  # of sums of up to 8 terms of up to 30, or 1000


class Sparse:
    """Random rows with fields, and samples of 0 to 8 keys."""

    def __init__(self, seed, weighted, kind="int64", dim=5):
        rng, (self.precision, self.sums) = np.random.default_rng(seed), TYPES[kind]
        self.compute = "float64" if self.sums == "int64" else self.sums
        self.dim, size = dim, np.dtype(self.precision).itemsize
        self.weights = rng.standard_normal((ROWS, 1 + dim)).astype(self.precision)
        self.records = np.zeros((ROWS, EMBEDDING + size * dim), np.uint8)
        self.addresses = self.records.ctypes.data + self.records.shape[1] * np.arange(ROWS)
        self.fields = rng.integers(0, N_FIELDS, ROWS).astype(np.uint16)
        self.counts = rng.integers(0, 9, SAMPLES)
        self.counts[4] = 0
        self.offsets = np.concatenate([[0], self.counts.cumsum()]).astype(np.int64)
        self.local = rng.integers(0, ROWS, self.counts.sum()).astype(np.int32)
        shape = (len(self.local), 2)[:weighted]
        self.values = (3 * rng.standard_normal(shape)).astype(np.float32) if weighted else None
        self.lanes = Lanes(dim, self.precision, self.compute, self.sums)
        self.number, self.zero = np.dtype(self.precision).type(0), np.dtype(self.compute).type(0)
        self.write()

    @property
    def form(self):
        return WeightForm(self.lanes, self.number, self.zero, self.dim)

    def owned(self, chosen=None):
        """Occurrences of all samples, or those of them that are chosen (nnz) bool."""
        chosen = np.ones(len(self.local), bool) if chosen is None else chosen
        offsets = np.concatenate([[0], np.cumsum(chosen)])[self.offsets]
        values = None if self.values is None else self.values[chosen]
        return Occurrences(offsets, self.local[chosen], values, self.addresses, self.fields)

    def write(self):
        self.records[:, EMBEDDING - self.number.nbytes :] = self.weights.view(np.uint8)

    def occurrences(self, i):
        """(row, w, v (k), x of the embedding, xl of the linear weight) of each occurrence of sample i, float64."""
        for j in range(self.offsets[i], self.offsets[i + 1]):
            row = self.local[j]
            x = xl = 1.0
            if self.values is not None:
                x, xl = (float(one) for one in np.broadcast_to(self.values[j], 2))
            yield row, float(self.weights[row, 0]), self.weights[row, 1:].astype(np.float64), x, xl

    def rounded(self, numbers):
        """In fixed point, a term as a multiple of 1 / SCALE."""
        return np.rint(numbers * SCALE) / SCALE if self.sums == "int64" else numbers

    def floats(self, sums):
        return sums / SCALE if self.sums == "int64" else sums.astype(np.float64)

    def assert_close(self, found, expected):
        if self.sums == "int64":  # whole numbers: a last bit of a product may decide how a term is rounded
            assert np.abs(found - expected).max() <= 2 / SCALE
        else:
            kind = "float64" if self.precision == "float64" else "wide" if self.sums == "float64" else "float32"
            assert np.abs(found - expected).max() <= TOLERANCE[kind] * max(1, np.abs(expected).max())


FORMS = [(kind, weighted) for kind in TYPES for weighted in (0, 1, 2)]
