"""The occurrences of some fields of a batch, side by side, CPU; and the keys of rows that are known by their records.

wanted (F) bool : the fields.  Arguments that go together are those of `backend.arguments`.
"""

import numpy as np

from deshpc.backend.cpu.memory import at, load, put
from deshpc.backend.cpu.values import copy_value
from deshpc.backend.record import KEY
from deshpc.jit import kernel


@kernel
def count_wanted(sparse, wanted, counts, begin, end):
    """counts (n) int64 of samples begin .. end: their occurrences of wanted fields."""
    begins, ends, fields = sparse.begins, sparse.ends, sparse.fields
    for i in range(begin, end):
        count = 0
        for j in range(at(begins, i), at(ends, i)):
            count += np.int64(at(wanted, np.int64(at(fields, j))))
        put(counts, i, np.int64(count))


@kernel
def take_wanted(sparse, wanted, taken, begin, end):
    """Copy the wanted occurrences of samples begin .. end to where SparseFeatures `taken` of the same samples say."""
    begins, ends, keys, fields, values = sparse
    for i in range(begin, end):
        place = at(taken.begins, i)
        for j in range(at(begins, i), at(ends, i)):
            if at(wanted, np.int64(at(fields, j))):
                put(taken.keys, place, at(keys, j))
                put(taken.fields, place, at(fields, j))
                copy_value(values, j, taken.values, place)
                place += 1


@kernel
def row_keys(addresses, keys):
    """keys (distinct) uint64 of the rows whose records are at these addresses."""
    for c in range(len(addresses)):
        put(keys, c, load(at(addresses, c) + KEY, np.uint64(0)))
