"""The record of one row, byte for byte the same on every backend.

    0 key uint64 | unused | linear weight w, directly in front of 16 | 16 embedding v_1 .. v_k | optimizer state of the
    embedding, then of w | last step uint32 | count uint32 | field uint32 | padding to halves of cache lines

Where counts of sights decay (table.half_life_steps), such a count, float32, has the unused bytes from 8 on, or follows the field
where there are none.

`count` is the number of batches that updated the row, `last step` the step of the latest (or of the insertion).
Weights and state are numbers of the table's precision; an embedding's state lies plane by plane, each of k numbers (of
one for row-wise rules).  Rows that are read out have another order: w, v_1 .. v_k, state of w, state of the embedding.

With precision "bfloat16" an embedding's numbers are the upper halves of float32, and fill whole multiples of 4 bytes; w and all
state are float32, and so is all that is read out.

The embedding begins at 16, so that it and each plane of its state can be read 16 bytes at a time where k is a multiple
of 4 (2 in float64).  w and v lie side by side, so a row travels in one piece.  A forward pass reads key..v: at most 64
bytes up to k = 12 in float32, 128 up to k = 28; in bfloat16 up to k = 24 and 56.  Rows lie in chunks of 2^16 records; growth adds chunks and moves no row.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deshpc.config.precision import row_type

KEY, KEY_END, EMBEDDING = 0, 8, 16
STEP, COUNT, FIELD, TAIL_BYTES = 0, 4, 8, 12  # from the tail on, which follows the state
_DECAYED_BYTES = 4
CACHE_LINE = 64
CHUNK_ROWS_LOG2 = 16
CHUNK_ROWS = 1 << CHUNK_ROWS_LOG2


@dataclass(frozen=True)
class RecordLayout:
    """Shape of a table's records: `scalars` (0 or 1) linear weights, `dim` embedding weights, optimizer state.

    decays : whether there is a decayed count of sights
    """

    scalars: int
    dim: int
    precision: str
    scalar_state: int
    vector_state: int
    decays: bool = False

    @cached_property
    def number(self):
        """A zero of the type of linear weight and state, and of all that is read out: kernels take the type from it."""
        return np.dtype(row_type(self.precision)).type(0)

    @property
    def halves(self):
        """Whether embeddings are bfloat16."""
        return self.precision == "bfloat16"

    @cached_property
    def element(self):
        """A zero of the type of an embedding's numbers; uint16 for bfloat16."""
        return element_of(self.precision)

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

    @cached_property
    def first_weight(self):
        """Where the weights begin: the linear weight's place, or the embedding's if there is none."""
        return EMBEDDING - self.scalars * self._size

    @cached_property
    def weights_end(self):
        """Where the weights end, and the embedding's state begins."""
        return EMBEDDING + embedding_bytes(self.dim, self.element.itemsize)

    @property
    def weights_bytes(self):
        """Bytes of the weights, which lie side by side: of a row that travels."""
        return self.weights_end - self.first_weight

    @cached_property
    def linear_state(self):
        """Where the linear weight's state begins."""
        return self.weights_end + self.vector_state * self._size

    @cached_property
    def tail(self):
        """Where last step, count and field begin."""
        return self.linear_state + self.scalar_state * self._size

    @cached_property
    def places(self):
        """(numbers) int64: where the numbers of a row that is read out lie: w, v, state of w, state of v.

        The place p of a bfloat16 is given as -p.
        """
        w, of_w, of_v = (
            begin + self._size * np.arange(count, dtype=np.int64)
            for begin, count in ((self.first_weight, self.scalars), (self.linear_state, self.scalar_state), (self.weights_end, self.vector_state))
        )
        v = EMBEDDING + self.element.itemsize * np.arange(self.dim, dtype=np.int64)
        return np.concatenate([w, -v if self.halves else v, of_w, of_v])

    @cached_property
    def decayed(self):
        """Where the decayed count (float32) lies, where there is one: between key and weights if they leave room, or behind the tail."""
        return KEY_END if self.first_weight >= KEY_END + _DECAYED_BYTES else self.tail + TAIL_BYTES

    @cached_property
    def used_bytes(self):
        """Bytes of a record without its padding."""
        end = self.tail + TAIL_BYTES
        return max(end, self.decayed + _DECAYED_BYTES) if self.decays else end

    @cached_property
    def record_bytes(self):
        """Bytes from one record to the next: whole halves of cache lines.

        A record of an odd number of halves touches as many lines wherever it begins as if it were padded to whole lines.
        """
        half = CACHE_LINE // 2
        return -(-self.used_bytes // half) * half

    @cached_property
    def _size(self):
        return self.number.itemsize


def element_of(precision):
    """A zero of the type of an embedding's numbers in memory, by `train.precision`; uint16 for bfloat16."""
    return np.uint16(0) if precision == "bfloat16" else np.dtype(row_type(precision)).type(0)


def embedding_bytes(dim, size):
    """Bytes of an embedding of numbers of so many bytes: what follows it begins at a multiple of 4."""
    return (dim * size + 3) & -4


def cache_lines(size):
    """Cache lines of the first `size` bytes of a record that begins at a line."""
    return -(-size // CACHE_LINE)
