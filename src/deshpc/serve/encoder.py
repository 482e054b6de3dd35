"""Rows of raw values to keys, weights and dense features, by the schema and the transforms of an exported model."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deshpc.config.schema import LISTS
from deshpc.data.transform import Standardisation, transformed
from deshpc.errors import DataError
from deshpc.formats.sequence import newest
from deshpc.hashing.key import field_seed
from deshpc.serve.cells import BadCell, MissingCells, number_of, text_of, values_of
from deshpc.serve.crossed import Occurrences, crossed
from deshpc.serve.keys import keys_of


@dataclass(frozen=True)
class Samples:
    """n samples, with nnz key occurrences in all.

    offsets : (n + 1) int64    sample i holds occurrences offsets[i] .. offsets[i + 1], in the order of their fields
    keys    : (nnz) uint64
    fields : (nnz) uint16
    x, xl   : (nnz) float64    weights of the embedding and of the linear weight
    dense   : (n, n_dense) float64, of float32 precision as in training
    """

    offsets: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    x: np.ndarray
    xl: np.ndarray
    dense: np.ndarray


class _Values(NamedTuple):
    """A field's values: texts, and of each its sample (int64) and the weights x and xl (float64)."""

    texts: list
    samples: np.ndarray
    x: np.ndarray
    xl: np.ndarray


class Encoder:
    """Turns the cells of rows into Samples.

    fields : the FieldConfigs in the order in which `encode` wants their cells
    """

    def __init__(self, schema, transforms, missing=()):
        """transforms : Transforms, None where dense features are taken as they are

        missing : cells that count as missing, see `data.missing`
        """
        self._missing = MissingCells(missing)
        self.fields = (*schema.key_fields, *schema.dense_fields)
        self._key_fields, self._dense_fields = schema.key_fields, schema.dense_fields
        self._numbers = np.array(schema.numbers_of_keys, np.int64)  # of the field whose keys a field's are
        self._seeds = np.array([field_seed(schema.keyed_fields[number].name) for number in self._numbers], np.uint64)
        self._normalise = schema.normalise_samples
        self._crosses, names = schema.crosses, [field.name for field in schema.key_fields]
        self._members = [[names.index(name) for name in one.fields] for one in schema.crosses]
        self._boundaries = {one.name: one.boundaries for one in (transforms.buckets if transforms else ())}
        self._standardisation = None
        if transforms and transforms.dense:  # of all dense fields at once: numbers (n, n_dense)
            means, stds = (np.array([getattr(one, part) for one in transforms.dense]) for part in ("mean", "std"))
            self._standardisation = Standardisation("", means, stds)

    def encode(self, rows, cells, first_row=0):
        """The Samples of so many rows.

        cells : a list of the rows' cells for each of `fields`
        first_row : number of the first row, for messages
        """
        everyone, ones = np.arange(rows), np.ones(rows)
        cells = [self._missing.emptied(some, field.kind in ("dense", "bucket")) for field, some in zip(self.fields, cells, strict=True)]
        parts = [
            self._values(field, column, first_row)
            if field.kind in LISTS
            else _Values(self._texts(field, column, first_row), everyone, ones, ones)
            for field, column in zip(self._key_fields, cells, strict=False)
        ]
        of_cells = len(parts)
        fields = np.repeat(np.arange(of_cells, dtype=np.uint16), [len(part.texts) for part in parts])
        keys = keys_of([text for part in parts for text in part.texts], self._numbers[fields], self._seeds[fields])
        if self._crosses:
            parts += self._crossed(rows, parts, keys)
            fields = np.repeat(np.arange(len(parts), dtype=np.uint16), [len(part.samples) for part in parts])
            keys = np.concatenate([keys, *(part.keys for part in parts[of_cells:])])
        sample = _concatenated([part.samples for part in parts], np.int64)
        order = np.argsort(sample, kind="stable")
        offsets = np.zeros(rows + 1, np.int64)
        np.cumsum(np.bincount(sample, minlength=rows), out=offsets[1:])
        x, xl = (_concatenated([getattr(part, name) for part in parts], np.float64)[order] for name in ("x", "xl"))
        dense = self._dense(rows, cells[of_cells:], first_row)
        if self._normalise:
            x, xl, dense = _normalised(sample[order], x, xl, dense)
        return Samples(offsets, keys[order], fields[order], x, xl, dense)

    def _crossed(self, rows, parts, keys):
        """[Occurrences] of the crosses.  parts : _Values of the fields, whose keys are those, one field after another"""
        ends, found = np.cumsum([len(part.texts) for part in parts]), []
        for part, own in zip(parts, np.split(keys, ends[:-1]), strict=True):
            here = np.array([text != b"" for text in part.texts], bool)
            found.append(Occurrences(own[here], part.samples[here], part.x[here], part.xl[here]))
        return [
            crossed(rows, [found[number] for number in members], one.name, len(parts) + c)
            for c, (one, members) in enumerate(zip(self._crosses, self._members, strict=True))
        ]

    def _texts(self, field, column, first_row):
        """A text a row, of a field that has one value."""
        if field.kind == "categorical":
            return converted(text_of, field, column, first_row)
        if field.kind == "bucket":
            boundaries = self._boundaries[field.name]
            numbers = converted(number_of, field, column, first_row)
            return [b"%d" % bisect_right(boundaries, number) if number == number else b"" for number in numbers]
        raise ValueError(f"no text for a field of kind = {field.kind!r}")

    def _values(self, field, column, first_row):
        """The _Values of a multi field, or of a sequence."""
        pairs = converted(lambda cell: values_of(cell, field.separator, field.weight_separator), field, column, first_row)
        counts = np.array([len(texts) for texts, _ in pairs], np.int64)
        texts, weights = ([one for pair in pairs for one in pair[part]] for part in (0, 1))
        weights = _rounded(np.array(weights, np.float64))
        if field.kind == "sequence":
            places, offsets, recent = newest(np.concatenate([[0], np.cumsum(counts)]), field)
            texts, counts = [texts[place] for place in places.tolist()], np.diff(offsets)
            weights = np.ones(len(texts)) if recent is None else recent.astype(np.float64)
        pooled = {"sum": weights, "mean": _rounded(weights / np.repeat(counts, counts))}
        return _Values(
            texts,
            np.repeat(np.arange(len(counts)), counts),
            pooled[field.pooling],
            pooled[field.linear_pooling or field.pooling],
        )

    def _dense(self, rows, cells, first_row):
        numbers = np.empty((rows, len(self._dense_fields)))
        for j, (field, column) in enumerate(zip(self._dense_fields, cells, strict=True)):
            numbers[:, j] = converted(number_of, field, column, first_row)
            if self._standardisation is not None:
                numbers[:, j] = transformed(field, numbers[:, j])
        if self._standardisation is None:
            with np.errstate(over="ignore"):
                numbers = _rounded(np.nan_to_num(numbers, nan=0.0))
            for row, j in np.argwhere(np.isinf(numbers)).tolist():
                raise DataError(f"row {first_row + row}, field {self._dense_fields[j].name!r}: {_shown(cells[j][row])} is too large for float32")
            return numbers
        return self._standardisation.standardise(numbers).astype(np.float64)


def _normalised(samples, x, xl, dense):
    """x, xl (nnz) and dense (n, n_dense), divided by their samples' norms: the NumPy twin of `data.norms`.  samples : (nnz), of each its sample"""
    totals = np.bincount(samples, x * x, len(dense)) + (dense * dense).sum(axis=1)
    norms = np.sqrt(np.where(totals > 0, totals, 1.0))
    return _rounded(x / norms[samples]), _rounded(xl / norms[samples]), _rounded(dense / norms[:, None])


def _concatenated(arrays, dtype):
    return np.concatenate([np.empty(0, dtype), *arrays])


def _rounded(numbers):
    """To float32, in which samples are trained, and back."""
    return numbers.astype(np.float32).astype(np.float64)


def converted(convert, field, column, first_row):
    """[convert(cell) for each cell]; DataError names row and field of one that is bad.

    convert : a function of `serve.cells`
    first_row : number of the first cell's row
    """
    try:
        return [convert(cell) for cell in column]
    except BadCell:
        for row, cell in enumerate(column, first_row):
            try:
                convert(cell)
            except BadCell as bad:
                raise DataError(f"row {row}, field {field.name!r}: {_shown(cell)} is not {bad}") from None
        raise


def _shown(cell):
    try:
        text = repr(cell)
    except ValueError:  # of a huge integer
        text = f"this {type(cell).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
