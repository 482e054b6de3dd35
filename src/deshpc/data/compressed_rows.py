"""Columns of keys to compressed sparse rows: each sample's keys side by side, in field order."""

import numpy as np

from deshpc.data.columns import Multi
from deshpc.jit import kernel

_BLOCK_ROWS = 4096  # the output of so many rows stays in the cache while one field after another is put in


def compressed_rows(rows, columns):
    """Put the keys of all fields into the layout of `Dataset`.

    rows    : number of samples
    columns : one Categorical or Multi for each field

    Returns (offsets, keys, fields, values); values is None unless a field is pooled by its mean.
    """
    offsets = np.zeros(rows + 1, np.int64)
    for column in columns:
        offsets[1:] += np.diff(column.offsets) if isinstance(column, Multi) else 1
    np.cumsum(offsets, out=offsets)
    keys = np.empty(offsets[-1], np.uint64)
    fields = np.empty(offsets[-1], np.uint16)
    weighted = any(isinstance(column, Multi) and column.pooling == "mean" for column in columns)
    values = np.ones(offsets[-1], np.float32) if weighted else None
    for start in range(0, rows, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, rows)
        at = offsets[start:stop].copy()  # where each sample's next key goes
        for field, column in enumerate(columns):
            if not isinstance(column, Multi):
                _put_one(column.keys[start:stop], field, at, keys, fields)
                continue
            own = column.offsets[start : stop + 1]
            if column.pooling == "mean":
                _put_means(own, at, values)
            _put_many(column.keys, own, field, at, keys, fields)
    return offsets, keys, fields, values


@kernel
def _put_one(column, field, at, keys, fields):
    for row in range(len(at)):
        keys[at[row]] = column[row]
        fields[at[row]] = field
        at[row] += 1


@kernel
def _put_many(column, offsets, field, at, keys, fields):
    for row in range(len(at)):
        for i in range(offsets[row], offsets[row + 1]):
            keys[at[row]] = column[i]
            fields[at[row]] = field
            at[row] += 1


@kernel
def _put_means(offsets, at, values):
    """Weight 1 / n for the n keys of a sample; moves nothing on."""
    for row in range(len(at)):
        count = offsets[row + 1] - offsets[row]
        for i in range(at[row], at[row] + count):
            values[i] = 1.0 / count
