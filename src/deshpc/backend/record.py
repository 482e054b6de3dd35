"""The record of one row, byte for byte the same on every backend.

    0 key uint64 | 8 last step uint32 | 12 count uint32 | 16 field uint32 | 20 unused |
    24 weights [w, v_1 .. v_k] | optimizer state of w, then of the embedding | padding to halves of cache lines

`count` is the number of batches that updated the row, `last step` the step of the latest (or of the insertion).
Weights and state are numbers of the table's precision; an embedding's state lies plane by plane, each of k numbers (of
one for row-wise rules).  A forward pass reads key..weights: one cache line up to
k = 9 in float32, two up to k = 25.  Rows lie in chunks of 2^16 records; growth adds chunks and moves no row.
"""

from dataclasses import dataclass

import numpy as np

KEY, STEP, COUNT, FIELD, WEIGHTS = 0, 8, 12, 16, 24
CACHE_LINE = 64
CHUNK_ROWS_LOG2 = 16
CHUNK_ROWS = 1 << CHUNK_ROWS_LOG2


@dataclass(frozen=True)
class RecordLayout:
    """Shape of a table's records: `scalars` (0 or 1) linear weights, `dim` embedding weights, optimizer state."""

    scalars: int
    dim: int
    precision: str
    scalar_state: int
    vector_state: int

    @property
    def number(self):
        """A zero of the storage type: kernels take the type from it."""
        return np.dtype(self.precision).type(0)

    @property
    def weights(self):
        """Numbers that a model reads: the row's width."""
        return self.scalars + self.dim

    @property
    def state(self):
        """Numbers that only the optimizer reads."""
        return self.scalar_state + self.vector_state

    @property
    def numbers(self):
        """Weights and state together."""
        return self.weights + self.state

    @property
    def record_bytes(self):
        """Bytes from one record to the next: whole halves of cache lines.

        A record of an odd number of halves touches as many lines wherever it begins as if it were padded to whole lines.
        """
        used, half = WEIGHTS + self.numbers * np.dtype(self.precision).itemsize, CACHE_LINE // 2
        return -(-used // half) * half
