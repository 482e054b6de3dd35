"""Fit transforms to training rows that come block by block, in bounded memory."""

import numpy as np

from deshpc.data.moments import Moments
from deshpc.data.transform import Buckets, Standardisation, Transforms
from deshpc.hashing.splitmix import GOLDEN, mix64
from deshpc.jit import kernel

SAMPLED_ROWS = 1 << 20
"""Numbers of a bucket field from which its quantiles are taken: all, or the sample of so many."""

_SMALLEST_STD = 1e-30  # the largest signed logarithm, 710, divided by less would leave float32


class Fitting:
    """Takes blocks of training rows, then gives the Transforms of a schema."""

    def __init__(self, schema):
        self._schema, self._rows = schema, 0
        self._moments = [Moments() for _ in schema.dense_fields]
        self._samples = {
            i: _Sample() for i, field in enumerate(schema.key_fields) if field.kind == "bucket" and not field.boundaries
        }

    @property
    def needs_rows(self):
        """Whether the schema has anything to fit: a dense field, or a bucket field without boundaries."""
        return bool(self._moments or self._samples)

    def add(self, columns, logs):
        """Take a block: its Columns and (n, n_dense) float32 signed logarithms of its dense fields."""
        for moments, column in zip(self._moments, logs.T, strict=True):
            moments.add(column)
        if self._samples:
            marks = _marks(self._rows, len(columns))
            for i, sample in self._samples.items():
                numbers = columns.key_fields[i].numbers
                present = ~np.isnan(numbers)
                sample.add(numbers[present], marks[present])
        self._rows += len(columns)

    def finish(self):
        """The fitted Transforms; a bucket field with `boundaries` in its configuration keeps those."""
        return Transforms(
            dense=tuple(
                _standardisation(field.name, moments)
                for field, moments in zip(self._schema.dense_fields, self._moments, strict=True)
            ),
            buckets=tuple(
                Buckets(
                    field.name,
                    _quantiles(self._samples[i].numbers(), field.buckets) if i in self._samples else field.boundaries,
                )
                for i, field in enumerate(self._schema.key_fields)
                if field.kind == "bucket"
            ),
        )


class _Sample:
    """The numbers of the SAMPLED_ROWS rows with the smallest marks: all rows while there are no more.

    A row's mark is a hash of its number, so the sample depends neither on blocks nor on what is in them.
    """

    def __init__(self):
        self._numbers, self._marks = [], []
        self._held = 0
        self._bound = np.uint64(2**64 - 1)  # rows with larger marks cannot belong to the sample any more

    def add(self, numbers, marks):
        """Take (n) float64 numbers with their rows' marks, (n) uint64."""
        if self._bound < 2**64 - 1:
            few = marks <= self._bound
            numbers, marks = numbers[few], marks[few]
        self._numbers.append(numbers)
        self._marks.append(marks)
        self._held += len(numbers)
        if self._held > SAMPLED_ROWS + SAMPLED_ROWS // 4:
            self._shrink()

    def numbers(self):
        """The sample, (at most SAMPLED_ROWS) float64."""
        self._shrink()
        return self._numbers[0]

    def _shrink(self):
        numbers = np.concatenate(self._numbers) if self._numbers else np.zeros(0)
        marks = np.concatenate(self._marks) if self._marks else np.zeros(0, np.uint64)
        if len(numbers) > SAMPLED_ROWS:
            smallest = np.argpartition(marks, SAMPLED_ROWS - 1)[:SAMPLED_ROWS]
            numbers, marks = numbers[smallest], marks[smallest]
            self._bound = marks.max()
        self._numbers, self._marks, self._held = [numbers], [marks], len(numbers)


def _standardisation(name, moments):
    """A column that does not vary gets std 1, one without numbers mean 0 and std 1."""
    if moments.count == 0:
        return Standardisation(name, 0.0, 1.0)
    std = (moments.squares / moments.count) ** 0.5
    if moments.low == moments.high or std < _SMALLEST_STD:
        return Standardisation(name, moments.low, 1.0)  # the rounded mean of equal numbers may differ from them
    return Standardisation(name, moments.mean, std)


def _quantiles(numbers, buckets):
    """Boundaries at the quantiles 1/buckets, 2/buckets, ... of (n) float64 `numbers`, equal ones merged.

    Boundary i is the smallest number such that i/buckets of the numbers are less than or equal to it.
    """
    if len(numbers) == 0:
        return ()
    ranks = -(-np.arange(1, buckets) * len(numbers) // buckets) - 1  # ceil(i n / buckets), counted from 0
    return tuple(np.unique(np.partition(numbers, ranks)[ranks]).tolist())


@kernel
def _marks(first, rows):
    """mix64 of row numbers first .. first + rows, which is one to one: (rows) uint64."""
    marks = np.empty(rows, np.uint64)
    for i in range(rows):
        marks[i] = mix64((np.uint64(first) + np.uint64(i)) * GOLDEN)
    return marks
