"""Blocks of parsed rows, put together for a comparison."""

import numpy as np

from deshpc.formats.columns import Bucket, Categorical, Columns, Multi


def joined(schema, blocks):
    """One Columns of all blocks, each of which has to be sound in itself."""
    blocks = list(blocks)
    for block in blocks:
        assert len(block) > 0 and block.rows.dtype == np.int64
        for column in block.key_fields:
            if isinstance(column, Multi):
                assert column.offsets[0] == 0 and len(column.offsets) == len(block) + 1
                assert len(column.keys) == column.offsets[-1]
    return Columns(
        tuple(_column(i, field, [block.key_fields[i] for block in blocks]) for i, field in enumerate(schema.key_fields)),
        tuple(_put([block.dense_fields[i] for block in blocks], np.float64) for i in range(len(schema.dense_fields))),
        _put([block.labels for block in blocks], np.float32) if schema.label is not None else None,
        _put([block.rows for block in blocks], np.int64),
    )


def _column(i, field, parts):
    if field.kind == "categorical":
        return Categorical(_put([part.keys for part in parts], np.uint64))
    if field.kind == "bucket":
        return Bucket(_put([part.numbers for part in parts], np.float64))
    counts = np.concatenate([np.diff(part.offsets) for part in parts] or [[]])
    assert all((part.weights is not None) == bool(field.weight_separator) for part in parts)
    return Multi(
        np.cumsum([0, *counts.tolist()]),
        _put([part.keys for part in parts], np.uint64),
        _put([part.weights for part in parts], np.float32) if field.weight_separator else None,
    )


def _put(arrays, dtype):
    assert all(array.dtype == dtype for array in arrays)
    return np.concatenate(arrays or [np.empty(0, dtype)])
