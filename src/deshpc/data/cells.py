"""Cells to columns: a parser for each kind of column, which takes one block of rows after another.

A block is the text `data` with the `starts` and `stops` of one column's cells (see `tokens`); `column` returns
what became of all blocks.
"""

import numpy as np

from deshpc.data.byte import byte
from deshpc.data.columns import Bucket, Categorical, Multi
from deshpc.data.growing import GrowingArray
from deshpc.data.number import MALFORMED, number
from deshpc.hashing.key import field_seed
from deshpc.hashing.xxh64 import hash_key
from deshpc.jit import kernel


def parser_of(field):
    """A new parser for the cells of `field`, a FieldConfig."""
    if field.kind == "categorical":
        return CategoricalParser(field.name)
    if field.kind == "multi":
        return MultiParser(field.name, field.separator, field.pooling)
    return BucketParser() if field.kind == "bucket" else NumberParser()


class NumberParser:
    """Numbers: an empty cell is missing, NaN."""

    expected = "a finite number, or empty where it is missing"

    def __init__(self):
        self._numbers = GrowingArray(np.float64)

    def take(self, data, starts, stops):
        """Parse one block; returns the first row whose cell is not `expected`, or None."""
        numbers = self._numbers.extend(len(starts))
        _parse_numbers(data, starts, stops, numbers)
        return _first(numbers == MALFORMED)

    def column(self):
        """(n) float64"""
        return self._numbers.array()


class BucketParser(NumberParser):
    """Numbers that will become keys."""

    def column(self):
        return Bucket(super().column())


class LabelParser:
    """Labels: the number 0 or 1."""

    expected = "0 or 1"

    def __init__(self):
        self._labels = GrowingArray(np.float32)

    def take(self, data, starts, stops):
        """Parse one block; returns the first row whose cell is not `expected`, or None."""
        numbers = np.empty(len(starts), np.float64)
        _parse_numbers(data, starts, stops, numbers)
        self._labels.extend(len(starts))[:] = numbers
        return _first((numbers != 0) & (numbers != 1))

    def column(self):
        """(n) float32"""
        return self._labels.array()


class CategoricalParser:
    """One key a cell, of the cell's raw bytes; an empty cell is a value like any other."""

    def __init__(self, name):
        self._seed = np.uint64(field_seed(name))
        self._keys = GrowingArray(np.uint64)

    def take(self, data, starts, stops):
        """Hash one block; any text will do."""
        _hash_cells(data, starts, stops, self._seed, self._keys.extend(len(starts)))

    def column(self):
        return Categorical(self._keys.array())


class MultiParser:
    """A key for each value of a cell; where there is nothing between separators, or in the cell, there is no value."""

    def __init__(self, name, separator, pooling):
        self._seed = np.uint64(field_seed(name))
        self._separator = ord(separator)
        self._pooling = pooling
        self._counts = GrowingArray(np.int64)
        self._keys = GrowingArray(np.uint64)

    def take(self, data, starts, stops):
        """Hash one block; any text will do."""
        most = int((stops - starts + 1).sum()) // 2  # a value takes at least one byte and a separator
        counts, keys = self._counts.extend(len(starts)), self._keys.extend(most)
        found = _hash_values(data, starts, stops, self._separator, self._seed, counts, keys)
        self._keys.shorten(most - found)

    def column(self):
        counts = self._counts.array()
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return Multi(offsets, self._keys.array(), self._pooling)


def _first(rows):
    """The first row that is true in (n) bool, or None."""
    return int(np.argmax(rows)) if rows.any() else None


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
            while last < stop and byte(data, last) != separator:
                last += 1
            if last > first:
                keys[found] = hash_key(data, first, last, seed)
                found += 1
            first = last + 1
        counts[row] = found - before
    return found
