"""Fit transforms to training rows: block by block in bounded memory, or to a data set by several workers.

What is fitted depends on the rows alone: moments are those of every MOMENT_ROWS rows, merged in order, and quantiles those
of a sample that a hash of the row's number chooses.  So text and caches, and any number of workers, have the same bits.
"""

import numpy as np

from deshpc.config.schema import LISTS
from deshpc.data.moments import Moments, column_moments
from deshpc.data.transform import Buckets, Standardisation, Transforms
from deshpc.hashing.splitmix import GOLDEN, mix64
from deshpc.jit import kernel

MOMENT_ROWS = 1 << 14

SAMPLED_ROWS = 1 << 20
"""Numbers of a bucket field from which its quantiles are taken: all, or the sample of so many."""

_SMALLEST_STD = 1e-30  # the largest signed logarithm, 710, divided by less would leave float32


class Fitting:
    """Takes blocks of training rows, then gives the Transforms of a schema."""

    def __init__(self, schema):
        self._schema, self._rows = schema, 0
        self._logs = np.empty((MOMENT_ROWS, len(schema.dense_fields)), np.float32)
        self._held, self._moments = 0, []
        self._samples = {i: _Sample() for i in _unknown_buckets(schema)}

    @property
    def needs_rows(self):
        """Whether the schema has anything to fit: a dense field, or a bucket field without boundaries."""
        return bool(self._schema.dense_fields or self._samples)

    def add(self, columns, logs, rows=None):
        """Take a block: its Columns and (n, n_dense) float32 transformed numbers of its dense fields.  rows : only so many of them; None: all"""
        rows = len(columns) if rows is None else rows
        if self._schema.dense_fields:
            self._add_logs(logs[:rows])
        if self._samples:
            marks = _marks(self._rows, rows)
            for i, sample in self._samples.items():
                sample.add(columns.key_fields[i].numbers[:rows], marks)
        self._rows += rows

    def finish(self):
        """The fitted Transforms; a bucket field with `boundaries` in its configuration keeps those."""
        moments = [*self._moments, column_moments(self._logs[: self._held])] if self._held else self._moments
        fields = self._schema.key_fields
        return _transforms(
            self._schema, moments, {i: _quantiles(one.numbers(), fields[i].buckets) for i, one in self._samples.items()}
        )

    def _add_logs(self, logs):
        while len(logs):
            some = logs[: MOMENT_ROWS - self._held]
            self._logs[self._held : self._held + len(some)] = some
            self._held += len(some)
            logs = logs[len(some) :]
            if self._held == MOMENT_ROWS:
                self._moments.append(column_moments(self._logs))
                self._held = 0


def fit(dataset, schema, workers):
    """The Transforms of an `unfinished` Dataset of all training rows.  Collective, see `comm.workers`."""
    blocks = range(0, len(dataset) if dataset.n_dense else 0, MOMENT_ROWS)
    unknown = _unknown_buckets(schema)

    def part(worker):
        own = blocks[len(blocks) * worker // workers.size : len(blocks) * (worker + 1) // workers.size]
        moments = [column_moments(dataset.dense[begin : begin + MOMENT_ROWS]) for begin in own]
        return moments, {i: _boundaries(dataset, schema, i) for i in unknown[worker :: workers.size]}

    parts = workers.run(part)
    boundaries = {i: one for _, some in parts for i, one in some.items()}
    return _transforms(schema, [one for moments, _ in parts for one in moments], boundaries)


def _unknown_buckets(schema):
    """Indices of the key fields whose boundaries have to be fitted."""
    return [i for i, field in enumerate(schema.key_fields) if field.kind == "bucket" and not field.boundaries]


def _numbers(dataset, schema, i):
    """The numbers of bucket field `i`, which is once in every row: (rows) float64."""
    fields = len(schema.key_fields)
    several = schema.crosses or any(one.kind in LISTS for one in schema.key_fields)
    regular = len(dataset.keys) == len(dataset) * fields and not several
    own = dataset.keys[i::fields] if regular else dataset.keys[dataset.fields == i]
    return own.view(np.float64)


def _boundaries(dataset, schema, i):
    sample, numbers = _Sample(), _numbers(dataset, schema, i)
    for begin in range(0, len(numbers), SAMPLED_ROWS):
        some = numbers[begin : begin + SAMPLED_ROWS]
        sample.add(some, _marks(begin, len(some)))
    return _quantiles(sample.numbers(), schema.key_fields[i].buckets)


def _transforms(schema, moments, boundaries):
    """Transforms from the moments (n_dense, 5) of each block of rows, and {index: boundaries} of the fitted bucket fields."""
    dense = [Moments() for _ in schema.dense_fields]
    for block in moments:
        for one, numbers in zip(dense, block.tolist(), strict=True):
            one.merge(*numbers)
    return Transforms(
        dense=tuple(_standardisation(field, one) for field, one in zip(schema.dense_fields, dense, strict=True)),
        buckets=tuple(
            Buckets(field.name, boundaries.get(i, field.boundaries))
            for i, field in enumerate(schema.key_fields)
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
        """Take (n) float64 numbers, NaN where missing, with their rows' marks, (n) uint64."""
        present = ~np.isnan(numbers)
        numbers, marks = numbers[present], marks[present]
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


def _standardisation(field, moments):
    """A column that does not vary gets std 1, one without numbers, or that is not to be standardised, mean 0 and std 1."""
    name = field.name
    if moments.count == 0 or not field.standardise:
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
