"""Where in a sample's state each occurrence is added, where fields share rows, or values of a sequence stay apart, CPU.  See `route.seats`."""

import numpy as np

from deshpc.backend.cpu.memory import at, put
from deshpc.hashing.partition import key_field, owner_of
from deshpc.jit import kernel


@kernel
def of_occurrences(sparse, partition, modulus, residue, first, counts, seats):
    """Fill seats (nnz + 1) uint16 of the occurrences whose owner is `residue` modulo `modulus`, in their order; returns how many there are.

    sparse : SparseFeatures
    first, counts : (F) int64, a field's first seat, and how many it has: the values of a field in a sample take them one after another
    """
    begins, ends, keys, fields, _ = sparse
    count, values = 0, np.zeros(len(first), np.int64)
    for i in range(len(begins)):
        for j in range(at(begins, i), at(ends, i)):
            key, field = at(keys, j), np.int64(at(fields, j))
            put(seats, count, np.uint16(at(first, field) + min(at(values, field), at(counts, field) - 1)))
            put(values, field, at(values, field) + 1)
            count += np.int64(owner_of(partition, key, key_field(key)) % modulus == residue)
        for j in range(at(begins, i), at(ends, i)):
            put(values, np.int64(at(fields, j)), np.int64(0))
    return count


@kernel
def count_values(sparse, wanted, most, counts):
    """counts (n, S) int32 = how many values of each wanted field a sample has, at most so many.

    wanted : (F) int64, the column of each field in `counts`, -1: not wanted
    most : (S) int64
    """
    begins, ends, _, fields, _ = sparse
    counts[:] = 0
    for i in range(len(begins)):
        for j in range(at(begins, i), at(ends, i)):
            column = at(wanted, np.int64(at(fields, j)))
            if column >= 0:
                counts[i, column] = min(counts[i, column] + 1, most[column])
