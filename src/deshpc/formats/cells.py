"""Cells to columns: a parser for each kind of column.

A block of cells is the text `data` with the `starts` and `stops` of one column's cells: cell i is data[starts[i]:stops[i]].

parse(data, starts, stops)    data : (any) uint8;  starts, stops : (n) integers
                              -> the block's column and (n) bool, true where a cell is not what `expected` says, or None
"""

import numpy as np

from deshpc.formats import labels
from deshpc.formats.byte import byte
from deshpc.formats.columns import Bucket, Categorical, Multi
from deshpc.formats.label_kinds import EXPECTED
from deshpc.formats.number import MALFORMED, number
from deshpc.formats.sequence import newest
from deshpc.formats.word import word
from deshpc.hashing.key import field_seed
from deshpc.hashing.xxh64 import hash_key, hash_key_of_word
from deshpc.jit import kernel

NO_SEPARATOR = -1
"""Is no byte: the whole cell is one value."""


def parser_of(field, name, number):
    """The parser for the cells of `field`, a FieldConfig.

    name, number : of the key field whose keys they become, where it is one
    """
    if field.kind == "categorical":
        return CategoricalParser(name, number)
    if field.kind == "multi" and field.weight_separator:
        return WeightedParser(name, number, ord(field.separator), ord(field.weight_separator))
    if field.kind == "multi":
        return MultiParser(name, number, ord(field.separator))
    if field.kind == "sequence":
        return SequenceParser(field, name, number)
    return {"bucket": BucketParser, "dense": NumberParser}[field.kind]()


class NumberParser:
    """(n) float64; an empty cell is missing, NaN."""

    expected = "a finite number, or empty where it is missing"

    def parse(self, data, starts, stops):
        numbers = np.empty(len(starts), np.float64)
        _parse_numbers(data, starts, stops, numbers)
        return numbers, numbers == MALFORMED


class BucketParser(NumberParser):
    """Numbers that will become keys."""

    def parse(self, data, starts, stops):
        numbers, bad = super().parse(data, starts, stops)
        return Bucket(numbers), bad


class LabelParser(NumberParser):
    """Labels: of cells that are understood, see `formats.labels`, or, where one is named, of those that are `positive` and others.

    optional : whether an empty cell is a label that is not known, NaN; else the row is bad
    """

    def __init__(self, positive="", kind="classes", optional=False):
        self._positive, self._kind, self._optional = positive.encode(), kind, optional
        if kind == "classes":
            self.expected = f"{positive!r}, the positive, nor another label" if positive else labels.UNDERSTOOD
        else:
            self.expected = EXPECTED[kind]

    def parse(self, data, starts, stops):
        found = self._parsed(data, starts, stops)
        return labels.where_there(*found, stops <= starts) if self._optional else found

    def _parsed(self, data, starts, stops):
        if self._positive:
            return labels.of_cells(self._positive, data, starts, stops)
        numbers, _ = super().parse(data, starts, stops)
        if self._kind != "classes":
            return labels.of_any_numbers(numbers, self._kind)
        found, bad = labels.of_numbers(numbers)
        return labels.of_words(found, bad, data, starts, stops) if bad.any() else (found, bad)


class SampleWeightParser(NumberParser):
    """(n) float32, what each sample counts; an empty cell is none."""

    expected = "a weight, a finite number of at least 0; where a row is not to count, give 0"

    def parse(self, data, starts, stops):
        numbers, _ = super().parse(data, starts, stops)
        return sample_weights(numbers)


class CategoricalParser:
    """One key a cell, of the cell's raw bytes; an empty cell is a value like any other."""

    def __init__(self, name, number):
        self._field = np.uint64(field_seed(name)), np.uint64(number)

    def parse(self, data, starts, stops):
        keys = np.empty(len(starts), np.uint64)
        _hash_cells(data, starts, stops, *self._field, keys)
        return Categorical(keys), None


class MultiParser:
    """A key for each value of a cell; where there is nothing between separators, or in the cell, there is no value.

    separator : the byte between values, or NO_SEPARATOR
    """

    def __init__(self, name, number, separator):
        self._field = np.uint64(field_seed(name)), np.uint64(number)
        self._separator = separator

    def parse(self, data, starts, stops):
        offsets, keys = _room(starts, stops)
        _hash_values(data, starts, stops, self._separator, *self._field, offsets, keys)
        return Multi(offsets, keys[: offsets[-1]].copy()), None


class SequenceParser(MultiParser):
    """The keys of a MultiParser, of each cell's newest values, with the weights that these have by their places."""

    def __init__(self, field, name, number):
        super().__init__(name, number, ord(field.separator))
        self._sequence = field

    def parse(self, data, starts, stops):
        values, bad = super().parse(data, starts, stops)
        return newest_of(values, self._sequence), bad


class WeightedParser:
    """Keys as those of a MultiParser, each value followed by the last weight separator in it and its weight, or weight 1."""

    def __init__(self, name, number, separator, weight_separator):
        self._field = np.uint64(field_seed(name)), np.uint64(number)
        self._separator, self._weight_separator = separator, weight_separator
        between = "" if separator == NO_SEPARATOR else f"{chr(separator)}b{chr(weight_separator)}2"
        self.expected = f"a list of values with finite weights, such as a{chr(weight_separator)}0.5{between}"

    def parse(self, data, starts, stops):
        offsets, keys = _room(starts, stops)
        weights = np.empty(len(keys), np.float32)
        bad = np.empty(len(starts), np.bool_)
        _hash_weighted_values(
            data, starts, stops, self._separator, self._weight_separator, *self._field, offsets, keys, weights, bad
        )
        found = offsets[-1]
        return Multi(offsets, keys[:found].copy(), weights[:found].copy()), bad


def newest_of(values, field):
    """The Multi of a sequence's newest values.  values : Multi of all of them"""
    places, offsets, weights = newest(values.offsets, field)
    return Multi(offsets, values.keys[places], weights)


def sample_weights(numbers):
    """((n) float32;  (n) bool, true where a number is no weight) of (n) float64."""
    bad = ~((numbers >= 0) & (numbers <= np.finfo(np.float32).max))
    return np.where(bad, 1, numbers).astype(np.float32), bad


def _room(starts, stops):
    """Arrays for the offsets and for as many keys as the cells can hold: a value takes a byte and a separator."""
    return np.zeros(len(starts) + 1, np.int64), np.empty(int((stops - starts + 1).sum()) // 2 + 1, np.uint64)


@kernel(inline=True)
def _key(data, start, stop, seed, field):
    """`hash_key`, faster where the value fits into a word."""
    if stop - start <= 8 and start + 8 <= len(data):
        return hash_key_of_word(word(data, start), np.uint64(stop - start), seed, field)
    return hash_key(data, start, stop, seed, field)


@kernel
def _parse_numbers(data, starts, stops, numbers):
    for row in range(len(starts)):
        numbers[row] = number(data, np.int64(starts[row]), np.int64(stops[row]))


@kernel
def _hash_cells(data, starts, stops, seed, field, keys):
    for row in range(len(starts)):
        keys[row] = _key(data, np.int64(starts[row]), np.int64(stops[row]), seed, field)


@kernel
def _hash_values(data, starts, stops, separator, seed, field, offsets, keys):
    """Hash what lies between separators."""
    found = 0
    for row in range(len(starts)):
        first = np.int64(starts[row])
        stop = np.int64(stops[row])
        while first < stop:
            last = first
            while last < stop and byte(data, last) != separator:
                last += 1
            if last > first:
                keys[found] = _key(data, first, last, seed, field)
                found += 1
            first = last + 1
        offsets[row + 1] = found


@kernel
def _hash_weighted_values(data, starts, stops, separator, weight_separator, seed, field, offsets, keys, weights, bad):
    """Hash what lies between separators, up to its last weight separator, and read the number behind that."""
    found = 0
    for row in range(len(starts)):
        first = np.int64(starts[row])
        stop = np.int64(stops[row])
        bad[row] = False
        while first < stop:
            last = first
            middle = np.int64(-1)
            while last < stop and byte(data, last) != separator:
                if byte(data, last) == weight_separator:
                    middle = last
                last += 1
            if last > first:
                weights[found] = 1.0
                if middle >= 0:
                    weights[found] = number(data, middle + 1, last)
                    bad[row] |= middle == first or not np.isfinite(weights[found])
                keys[found] = _key(data, first, last if middle < 0 else middle, seed, field)
                found += 1
            first = last + 1
        offsets[row + 1] = found
