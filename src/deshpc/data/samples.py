"""Columns to samples, in two steps, since transforms are known only after all training rows have been seen.

`unfinished` gives a Dataset whose dense features are transformed numbers, NaN where missing, and in which the bits of its
number stand for a bucket field's key; `finish` applies the transforms in place.  Text in memory and caches are both
made so, which is why they agree to the bit.  Crossed keys have their room from the first step on, and are made in the second.
"""

import numpy as np

from deshpc.data import crosses
from deshpc.data.compressed_rows import compressed_rows, every_field
from deshpc.data.dataset import Dataset
from deshpc.data.logarithms import transformed_into
from deshpc.data.norms import normalise
from deshpc.formats.columns import Bucket, Categorical, Entries
from deshpc.jit import kernel


def samples_of(columns, schema, transforms):
    """The Dataset of some Columns.  Without labels they are 0."""
    dataset = unfinished(columns, schema)
    finish(dataset, schema, transforms)
    return dataset


def unfinished(columns, schema):
    """Some Columns as a Dataset that lacks the transforms.  Its offsets and fields are not to be written."""
    dense = np.empty((len(columns), len(schema.dense_fields)), np.float32)
    for j, numbers in enumerate(columns.dense_fields):
        transformed_into(schema.dense_fields[j], numbers, dense[:, j])
    fields, matrix = columns.key_fields, columns.matrix
    if matrix is not None:
        offsets, numbers = every_field(*matrix.shape)
        compressed = offsets, matrix.reshape(-1), numbers, np.ones(matrix.size, np.float32) if schema.value_width else None
    else:
        if not isinstance(fields, Entries):
            fields = [_keys(column) for column in fields]
        compressed = compressed_rows(len(columns), fields, schema.key_fields, schema.value_width)
    if schema.crosses:
        compressed = crosses.with_room(*compressed, schema)
    labels = np.zeros(schema.labels_like(len(columns)), np.float32) if columns.labels is None else columns.labels
    return Dataset(*compressed, dense, labels, weights=columns.weights)


def no_samples(schema, weighted=False):
    """A Dataset of no sample, such as the others of a schema.  weighted : whether they have weights in any case"""
    values = {0: None, 1: np.zeros(0, np.float32), 2: np.zeros((0, 2), np.float32)}[schema.value_width]
    return Dataset(
        np.zeros(1, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint16), values, np.zeros((0, len(schema.dense_fields)), np.float32),
        np.zeros(schema.labels_like(0), np.float32), weights=np.zeros(0, np.float32) if weighted or schema.weight is not None else None,
    )  # fmt: skip


def finish(dataset, schema, transforms):
    """Apply transforms to an `unfinished` Dataset, in place."""
    finish_dense(dataset.dense, transforms)
    finish_keys(dataset.offsets, dataset.keys, dataset.fields, schema, transforms)
    if schema.normalise_samples:
        normalise(dataset.offsets, dataset.values, dataset.dense)


def finish_dense(dense, transforms):
    """(n, n_dense) float32 transformed numbers to dense features, in place: bit for bit `Standardisation.standardise`."""
    means, stds = (np.array([getattr(one, name) for one in transforms.dense], np.float64) for name in ("mean", "std"))
    _finish_dense(dense, means, stds)


def finish_keys(offsets, keys, fields, schema, transforms):
    """Numbers of bucket fields to keys, then crossed keys, in place: offsets (n + 1), keys (nnz) uint64, fields (nnz) uint16."""
    if transforms.buckets:
        _finish_buckets(keys, fields, schema, transforms)
    if schema.crosses:
        crosses.fill(offsets, keys, fields, schema)


def _finish_buckets(keys, fields, schema, transforms):
    numbers = [i for i, field in enumerate(schema.key_fields) if field.kind == "bucket"]
    place = np.full(len(schema.keyed_fields), -1, np.int64)
    place[numbers] = range(len(transforms.buckets))
    most = max(len(one.boundaries) for one in transforms.buckets)
    boundaries = np.full((len(transforms.buckets), most), np.inf)
    bucket_keys = np.zeros((len(transforms.buckets), most + 2), np.uint64)
    for i, one in enumerate(transforms.buckets):
        boundaries[i, : len(one.boundaries)] = one.boundaries
        *bucket_keys[i, : len(one.boundaries) + 1], bucket_keys[i, -1] = one.bucket_keys(numbers[i])
    _finish_keys(keys, keys.view(np.float64), fields, place, boundaries, bucket_keys)


def _keys(column):
    if isinstance(column, Categorical):
        return column.keys
    return column.numbers.view(np.uint64) if isinstance(column, Bucket) else column


@kernel
def _finish_dense(dense, means, stds):
    for row in range(dense.shape[0]):
        for j in range(dense.shape[1]):
            x = (np.float64(dense[row, j]) - means[j]) / stds[j]
            dense[row, j] = 0.0 if np.isnan(x) else x


@kernel
def _finish_keys(keys, numbers, fields, place, boundaries, bucket_keys):
    """Numbers of bucket fields to keys, in place; `keys` and `numbers` (nnz) are the same memory.

    place       : (fields) int64     which bucket field a field is, or -1
    boundaries  : (bucket fields, most) float64   filled up with infinity, which no number reaches
    bucket_keys : (bucket fields, most + 2) uint64   last: the key of a missing number
    """
    for i in range(len(keys)):
        field = place[fields[i]]
        if field < 0:
            continue
        bucket = bucket_keys.shape[1] - 1
        if not np.isnan(numbers[i]):
            bucket = np.searchsorted(boundaries[field], numbers[i], side="right")
        keys[i] = bucket_keys[field, bucket]
