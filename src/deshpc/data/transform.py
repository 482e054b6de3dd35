"""Transforms of numeric columns, fitted once on the training rows, and the step from columns to samples.

A dense feature becomes (sign(x) log(1 + |x|) - mean) / std, 0 where it is missing: the mean of the training rows.
A bucket field becomes the key of its bucket's number, or of the empty value where it is missing.
"""

from dataclasses import dataclass

import numpy as np

from deshpc.data.columns import Bucket, Categorical, Columns
from deshpc.data.compressed_rows import compressed_rows
from deshpc.data.dataset import Dataset
from deshpc.data.schema import Schema
from deshpc.hashing.key import key


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of a dense field's signed logarithm over the training rows that have it."""

    name: str
    mean: float
    std: float

    @classmethod
    def fit(cls, name, numbers):
        """Measure (n) float64 `numbers`; a constant column gets std 1, one without numbers mean 0 and std 1."""
        x = signed_log(numbers[~np.isnan(numbers)])
        if len(x) == 0:
            return cls(name, 0.0, 1.0)
        if x.min() == x.max():  # the rounded mean of equal numbers may differ from them
            return cls(name, float(x[0]), 1.0)
        return cls(name, float(x.mean()), float(x.std()))

    def apply(self, numbers):
        """(n) float64 numbers to (n) float64 standardised ones."""
        x = (signed_log(numbers) - self.mean) / self.std
        x[np.isnan(x)] = 0.0
        return x


@dataclass(frozen=True)
class Buckets:
    """Boundaries of a bucket field: bucket i holds the numbers that i boundaries do not exceed."""

    name: str
    boundaries: tuple[float, ...]

    @classmethod
    def fit(cls, name, numbers, buckets):
        """Boundaries at the quantiles 1/buckets, 2/buckets, ... of (n) float64 `numbers`, equal ones merged.

        Boundary i is the smallest number such that i/buckets of the present numbers are less than or equal to it.
        """
        present = numbers[~np.isnan(numbers)]
        if len(present) == 0:
            return cls(name, ())
        ranks = -(-np.arange(1, buckets) * len(present) // buckets) - 1  # ceil(i n / buckets), counted from 0
        return cls(name, tuple(np.unique(np.partition(present, ranks)[ranks]).tolist()))

    def keys(self, numbers):
        """(n) float64 numbers to (n) uint64 keys."""
        texts = [*map(str, range(len(self.boundaries) + 1)), ""]  # last: the key of a missing number
        keys = np.array([key(self.name, text) for text in texts], np.uint64)
        return keys[np.where(np.isnan(numbers), -1, np.searchsorted(self.boundaries, numbers, side="right"))]


@dataclass(frozen=True)
class Transforms:
    """What was fitted: a Standardisation for each dense field and Buckets for each bucket field, in schema order."""

    dense: tuple[Standardisation, ...]
    buckets: tuple[Buckets, ...]

    @classmethod
    def fit(cls, columns: Columns, schema: Schema) -> "Transforms":
        """Fit to training rows; a bucket field with `boundaries` in its configuration keeps those."""
        return cls(
            dense=tuple(
                Standardisation.fit(field.name, numbers)
                for field, numbers in zip(schema.dense_fields, columns.dense_fields, strict=True)
            ),
            buckets=tuple(
                Buckets(field.name, field.boundaries)
                if field.boundaries
                else Buckets.fit(field.name, column.numbers, field.buckets)
                for field, column in zip(schema.key_fields, columns.key_fields, strict=True)
                if field.kind == "bucket"
            ),
        )

    def apply(self, columns: Columns) -> Dataset:
        """The samples of `columns`, parsed under the schema of the fit."""
        buckets = iter(self.buckets)
        offsets, keys, fields, values = compressed_rows(
            len(columns),
            [
                Categorical(next(buckets).keys(column.numbers)) if isinstance(column, Bucket) else column
                for column in columns.key_fields
            ],
        )
        dense = np.empty((len(columns), len(self.dense)), np.float32)
        for j, (standardisation, numbers) in enumerate(zip(self.dense, columns.dense_fields, strict=True)):
            dense[:, j] = standardisation.apply(numbers)
        return Dataset(offsets, keys, fields, values, dense, columns.labels)

    def to_json(self) -> dict:
        """As plain dictionaries, lists, strings and floats; JSON keeps every float exactly."""
        return {
            "dense": [{"name": one.name, "mean": one.mean, "std": one.std} for one in self.dense],
            "buckets": [{"name": one.name, "boundaries": list(one.boundaries)} for one in self.buckets],
        }

    @classmethod
    def from_json(cls, tree: dict) -> "Transforms":
        """The inverse of `to_json`."""
        return cls(
            dense=tuple(Standardisation(one["name"], one["mean"], one["std"]) for one in tree["dense"]),
            buckets=tuple(Buckets(one["name"], tuple(one["boundaries"])) for one in tree["buckets"]),
        )


def signed_log(x):
    """sign(x) log(1 + |x|)"""
    return np.copysign(np.log1p(np.abs(x)), x)
