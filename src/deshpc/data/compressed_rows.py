"""Columns of keys to compressed sparse rows: each sample's keys side by side, in field order."""

from functools import lru_cache

import numpy as np

from deshpc.formats.columns import Entries, Multi
from deshpc.jit import kernel

_BLOCK_ROWS = 4096  # the output of so many rows stays in the cache while one field after another is put in


def compressed_rows(rows, columns, fields, value_width):
    """Put the keys of all fields into the layout of `Dataset`.

    rows        : number of samples
    columns     : an array (n) uint64 or a Multi for each field, or Entries for all of them
    fields      : the FieldConfig of each
    value_width : of the schema: 0, 1 or 2 numbers beside each key

    Returns (offsets, keys, fields, values).  The values of an occurrence are its weight (1 where it has none), divided by
    the number of values of its field in the sample where the field is pooled by its mean: for the embeddings in
    column 0, for the linear weights in column 1, or one number for both.
    """
    if isinstance(columns, Entries):
        return columns.offsets, columns.keys, columns.fields, _entry_values(columns, value_width)
    offsets = np.zeros(rows + 1, np.int64)
    for column in columns:
        offsets[1:] += np.diff(column.offsets) if isinstance(column, Multi) else 1
    np.cumsum(offsets, out=offsets)
    keys = np.empty(offsets[-1], np.uint64)
    numbers = np.empty(offsets[-1], np.uint16)
    values = np.ones((offsets[-1], value_width), np.float32) if value_width else None
    for start in range(0, rows, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, rows)
        at = offsets[start:stop].copy()  # where each sample's next key goes
        for number, (column, field) in enumerate(zip(columns, fields, strict=True)):
            if not isinstance(column, Multi):
                _put_one(column[start:stop], number, at, keys, numbers)
                continue
            own = column.offsets[start : stop + 1]
            poolings = (field.pooling, field.linear_pooling or field.pooling)[:value_width]
            for j, pooling in enumerate(poolings):
                if pooling == "mean" or column.weights is not None:
                    _put_values(column.weights, own, pooling == "mean", at, values[:, j])
            _put_many(column.keys, own, number, at, keys, numbers)
    return offsets, keys, numbers, values[:, 0] if value_width == 1 else values


def _entry_values(entries, value_width):
    if entries.weights is None and value_width:
        return np.ones(len(entries.keys), np.float32)
    return entries.weights


def every_field(rows, fields):
    """(offsets, fields) of samples with one key in each field.  Others share the arrays: they are not to be written."""
    offsets, numbers = _every_field(1 << rows.bit_length(), fields)
    return offsets[: rows + 1], numbers[: rows * fields]


@lru_cache(maxsize=4)
def _every_field(rows, fields):
    return np.arange(rows + 1) * fields, np.tile(np.arange(fields, dtype=np.uint16), rows)


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
def _put_values(weights, offsets, mean, at, values):
    """One column of values of a field's keys; weights is None where all are 1; moves nothing on."""
    for row in range(len(at)):
        begin = offsets[row]
        count = offsets[row + 1] - begin
        for i in range(count):
            x = 1.0
            if weights is not None:
                x = np.float64(weights[begin + i])
            if mean:
                x /= count
            values[at[row] + i] = x
