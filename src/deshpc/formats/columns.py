"""Rows as they were parsed: hashed keys and raw numbers by column, before any fitted transform."""

from dataclasses import dataclass

import numpy as np

from deshpc.formats.carried import Carried


@dataclass(frozen=True)
class Categorical:
    """One key a sample.

    keys : (n) uint64
    """

    keys: np.ndarray


@dataclass(frozen=True)
class Multi:
    """Any number of keys a sample, compressed sparse rows.

    offsets : (n + 1) int64    sample i holds keys[offsets[i]:offsets[i + 1]]
    keys    : (nnz) uint64
    weights : (nnz) float32, or None where every key has weight 1
    """

    offsets: np.ndarray
    keys: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Bucket:
    """One number a sample, to become a key once its boundaries are known.

    numbers : (n) float64    NaN where missing
    """

    numbers: np.ndarray


@dataclass(frozen=True)
class Labels:
    """The labels of a block's rows.

    values    : (n) float32, 0 or 1 where they are of classes
    negatives : {what labels that are not positive say: first row of the block that does}, of classes
    """

    values: np.ndarray
    negatives: dict[str, int]


@dataclass(frozen=True)
class Entries:
    """The keys of all fields at once, where a format names the field beside each key.

    offsets : (n + 1) int64
    keys : (nnz) uint64
    fields : (nnz) uint16
    weights : (nnz) float32, or None (all 1)
    """

    offsets: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Columns:
    """n parsed samples: a block of rows.

    key_fields   : one column for each of the schema's key fields, or a single Entries for all of them
    dense_fields : (n) float64 for each of the schema's dense fields, NaN where missing
    labels       : (n) float32, 0 or 1 unless they are numbers; None where the schema has no label
    rows         : (n) int64, the number of each row in its file, or its Part, from 0, in which rows that were skipped count too
    matrix       : (n, key fields) uint64, contiguous, whose columns the key fields are, the bits of a Bucket's numbers; None
                   where they lie elsewhere
    weights      : (n) float32, what each sample counts; None where the schema has no weight
    carried      : Carried of the block's rows, where columns are to be kept
    begin        : byte of a file of plain text from which on its rows can be read, as a Part; else what is of no use
    """

    key_fields: tuple[Categorical | Multi | Bucket, ...] | Entries
    dense_fields: tuple[np.ndarray, ...]
    labels: np.ndarray | None
    rows: np.ndarray
    matrix: np.ndarray | None = None
    weights: np.ndarray | None = None
    carried: Carried | None = None
    begin: int = 0

    def __len__(self):
        return len(self.rows)
