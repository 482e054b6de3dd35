"""Cells to columns: a parser for each kind of column, which takes one block of rows after another.

A block is the text `data` with the `starts` and `stops` of one column's cells (see `tokens`).  Parsers keep what
they made of each block and join the pieces once, so that a column needs no more memory than twice its size.
"""

import numpy as np

from deshpc.data.columns import Bucket, Categorical, Multi
from deshpc.data.number import MALFORMED, number
from deshpc.hashing.key import field_seed
from deshpc.hashing.xxh64 import hash_key
from deshpc.jit import kernel


class BadCell(Exception):
    """A cell cannot be parsed.

    row      : int   the cell's row in its block
    expected : str   what it should have been
    """

    def __init__(self, row, expected):
        super().__init__(row, expected)
        self.row = row
        self.expected = expected


def parser_of(field):
    """A new parser for the cells of `field`, a FieldConfig."""
    if field.kind == "categorical":
        return CategoricalParser(field.name)
    if field.kind == "multi":
        return MultiParser(field.name, field.separator, field.pooling)
    return BucketParser() if field.kind == "bucket" else NumberParser()


class NumberParser:
    """Numbers: an empty cell is missing, NaN."""

    def __init__(self):
        self._pieces = []

    def take(self, data, starts, stops):
        """Parse one block; BadCell names its first cell that is not a finite number."""
        numbers = _numbers(data, starts, stops)
        _require(numbers != MALFORMED, "a finite number, or nothing where it is missing")
        self._pieces.append(numbers)

    def column(self):
        """(n) float64"""
        return _join(self._pieces, np.float64)


class BucketParser(NumberParser):
    """Numbers that become keys later."""

    def column(self):
        return Bucket(super().column())


class LabelParser:
    """Labels: the number 0 or 1."""

    def __init__(self):
        self._pieces = []

    def take(self, data, starts, stops):
        """Parse one block; BadCell names its first cell that is not a label."""
        numbers = _numbers(data, starts, stops)
        _require((numbers == 0) | (numbers == 1), "0 or 1")
        self._pieces.append(numbers.astype(np.float32))

    def column(self):
        """(n) float32"""
        return _join(self._pieces, np.float32)


class CategoricalParser:
    """One key a cell, of the cell's raw bytes; an empty cell is a value like any other."""

    def __init__(self, name):
        self._seed = np.uint64(field_seed(name))
        self._pieces = []

    def take(self, data, starts, stops):
        """Hash one block."""
        keys = np.empty(len(starts), np.uint64)
        _hash_cells(data, starts, stops, self._seed, keys)
        self._pieces.append(keys)

    def column(self):
        return Categorical(_join(self._pieces, np.uint64))


class MultiParser:
    """A key for each value of a cell; nothing between two separators, or in the cell, is no value."""

    def __init__(self, name, separator, pooling):
        self._seed = np.uint64(field_seed(name))
        self._separator = ord(separator)
        self._pooling = pooling
        self._counts, self._keys = [], []

    def take(self, data, starts, stops):
        """Hash one block."""
        counts = np.empty(len(starts), np.int64)
        most = int((stops - starts + 1).sum()) // 2  # a value takes at least one byte and a separator
        keys = np.empty(most, np.uint64)
        found = _hash_values(data, starts, stops, self._separator, self._seed, counts, keys)
        self._counts.append(counts)
        self._keys.append(keys[:found].copy())

    def column(self):
        counts = _join(self._counts, np.int64)
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return Multi(offsets, _join(self._keys, np.uint64), self._pooling)


def _numbers(data, starts, stops):
    numbers = np.empty(len(starts), np.float64)
    _parse_numbers(data, starts, stops, numbers)
    return numbers


def _require(good, expected):
    if not good.all():
        raise BadCell(int(np.argmin(good)), expected)


def _join(pieces, dtype):
    """All pieces as one array; lets go of them."""
    column = np.concatenate(pieces) if pieces else np.empty(0, dtype)
    pieces.clear()
    return column


@kernel
def _parse_numbers(data, starts, stops, numbers):
    for row in range(len(starts)):
        numbers[row] = number(data, np.int64(starts[row]), np.int64(stops[row]))


@kernel
def _hash_cells(data, starts, stops, seed, keys):
    for row in range(len(starts)):
        keys[row] = hash_key(data, np.int64(starts[row]), np.int64(stops[row]), seed)


@kernel
def _hash_values(data, starts, stops, separator, seed, counts, keys):
    """Hash what lies between separators; returns the number of keys."""
    found = 0
    for row in range(len(starts)):
        before = found
        first = np.int64(starts[row])
        stop = np.int64(stops[row])
        while first < stop:
            last = first
            while last < stop and data[last] != separator:
                last += 1
            if last > first:
                keys[found] = hash_key(data, first, last, seed)
                found += 1
            first = last + 1
        counts[row] = found - before
    return found
