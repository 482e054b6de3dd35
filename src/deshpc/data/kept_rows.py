"""Negative down-sampling: the rows of a training part that are learnt from, all positives and some negatives.

Whether a negative is kept is a hash of seed and row number: the same for text, Parquet and caches, in every epoch, on any
number of ranks and threads.  Nothing is copied: a `Reader` reads the rows of these numbers.
"""

import numpy as np

from deshpc.data.variates import uniform53
from deshpc.hashing.splitmix import fold, fold_words
from deshpc.jit import kernel

_STREAM = 0x6B657074  # of random numbers that nothing else draws
_BLOCK_ROWS = 1 << 20


def kept_rows(dataset, rate, seed, workers):
    """Numbers (n) of the rows that are kept, increasing: uint32, or int64 in a data set of more rows.  They are held once a node.

    rate : chance of a negative, more than 0
    workers : Workers, of which each looks at a share of the rows
    Collective.
    """
    rows, kept_by = len(dataset), {}
    dtype = np.uint32 if rows <= 1 << 32 else np.int64

    def choose(worker):
        begin, end = (rows * one // workers.size for one in (worker, worker + 1))
        kept_by[worker] = np.concatenate([np.zeros(0, dtype), *_chosen(dataset, begin, end, rate, seed, dtype)])
        return len(kept_by[worker])

    ends = np.cumsum(workers.run(choose)).tolist()
    workers.run(lambda worker: workers.require(ends[-1] * np.dtype(dtype).itemsize))
    kept = workers.shared((ends[-1],), dtype)

    def put(worker):
        own = kept_by.pop(worker)
        workers.taken(kept[ends[worker] - len(own) : ends[worker]])[...] = own

    workers.run(put)
    return kept


def _chosen(dataset, begin, end, rate, seed, dtype):
    """Yield the kept ones of the rows begin .. end, piece by piece."""
    state = np.uint64(fold_words(seed, _STREAM))
    for first, labels, _ in dataset.targets(begin, end):
        for at in range(0, len(labels), _BLOCK_ROWS):
            some = labels[at : at + _BLOCK_ROWS]
            chosen = np.empty(len(some), np.int64)
            count = _choose(state, first + at, some, rate, chosen)
            yield (chosen[:count] + (first + at)).astype(dtype)


@kernel
def _choose(state, first, labels, rate, chosen):
    """Fill `chosen` with the places of the rows that are kept, of those from row number `first` on; returns how many they are."""
    count = 0
    for i in range(len(labels)):
        if labels[i] >= 0.5 or uniform53(fold(state, np.uint64(first + i))) < rate:
            chosen[count] = i
            count += 1
    return count
