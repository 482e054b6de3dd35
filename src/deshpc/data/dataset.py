"""Samples as arrays: compressed sparse rows of hashed keys beside dense features and labels."""

from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from deshpc.backend.values import value_width


@dataclass(frozen=True)
class Dataset:
    """n samples with nnz key occurrences in all.

    offsets : (n + 1) int64     sample i holds occurrences offsets[i] .. offsets[i + 1]
    keys    : (nnz) uint64      field and hash of the raw value (`hashing.key`); never 0
    fields  : (nnz) uint16      index of the categorical field in the schema
    values  : None when every occurrence has weight 1; (nnz) float32; or (nnz, 2) float32: for the embedding in column 0,
              for the linear weight in column 1
    dense   : (n, n_dense) float32   transformed numeric features, in schema order
    labels  : (n) float32       0 or 1, or numbers; (n, T) of T tasks, NaN where one is not known
    truth   : (n) float32, or None   the true probability, where the generator knows it
    weights : (n) float32, or None where all are 1   what each sample counts, finite and at least 0
    """

    offsets: np.ndarray
    keys: np.ndarray
    fields: np.ndarray
    values: np.ndarray | None
    dense: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    @property
    def n_dense(self):
        return self.dense.shape[1]

    @property
    def value_width(self):
        """Numbers beside each key: 0, 1 or 2."""
        return value_width(self.values)

    @property
    def has_truth(self):
        return self.truth is not None

    @property
    def has_weights(self):
        return self.weights is not None

    @property
    def keys_per_sample(self):
        """m, the mean number of key occurrences a sample."""
        return len(self.keys) / max(1, len(self))

    @cached_property
    def starts(self):
        """Row numbers at which its pieces begin, and that at which the last one ends: it is one piece."""
        return np.array([0, len(self)])

    def piece(self, number):
        """Piece `number` as a Dataset."""
        return self

    def touch(self, rows, own):
        """Nothing: what is in memory needs no verification."""

    def read_ahead(self, begin, end):
        """Nothing: it is in memory."""

    def targets(self, begin, end):
        """Yield (first row, labels, weights or None) of consecutive rows that are begin .. end in all."""
        yield begin, self.labels[begin:end], None if self.weights is None else self.weights[begin:end]

    def with_weights(self, weights):
        """The same samples with these weights (n) float32."""
        return replace(self, weights=weights)

    def head(self, rows):
        """The first `rows` samples, as views."""
        return self.slice(0, rows)

    def slice(self, begin, end):
        """Samples begin .. end, as views; offsets are copied unless they begin with 0."""
        offsets = self.offsets[begin : end + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        return Dataset(
            offsets - first if first else offsets,
            self.keys[first:last],
            self.fields[first:last],
            None if self.values is None else self.values[first:last],
            self.dense[begin:end],
            self.labels[begin:end],
            None if self.truth is None else self.truth[begin:end],
            None if self.weights is None else self.weights[begin:end],
        )


ARRAYS = tuple(field.name for field in fields(Dataset))
OF_OCCURRENCES = ("keys", "fields", "values")
"""Arrays that have an element for each occurrence of a key; the others have one for each sample."""


def concatenate(parts):
    """One Dataset of several, which the list `parts` no longer holds afterwards.

    One array after the other is joined and let go, so that memory is that of the samples and of a copy of one array.
    """
    arrays = {name: [getattr(part, name) for part in parts] for name in ARRAYS}
    parts.clear()
    joined = {"offsets": _joined_offsets(arrays.pop("offsets"))}
    for name in list(arrays):
        own = arrays.pop(name)
        joined[name] = None if own[0] is None else np.concatenate(own)
    return Dataset(**joined)


def _joined_offsets(parts):
    joined, begin, nnz = np.zeros(sum(len(part) - 1 for part in parts) + 1, np.int64), 1, 0
    for part in parts:
        end = begin + len(part) - 1
        np.add(part[1:], nnz, out=joined[begin:end])
        begin, nnz = end, nnz + int(part[-1])
    return joined


class ChainedDataset:
    """Data sets one after another, each of which is opened when a row of it is first asked for.

    counts : rows of each piece
    open   : function of a piece's number, and of whether to verify all of it, that gives it as a Dataset
    require_sound : function of a piece's number, it, and (n) rows, that raises unless these may be used
    read_ahead : function of a piece's number that has it read ahead
    nnz    : key occurrences of all pieces
    n_dense, value_width, has_truth, has_weights : of all of them

    The ranks of a node that read the same batches can share the work of verifying: see `share_verification`.
    """

    def __init__(self, counts, open_piece, require_sound, read_ahead, nnz, n_dense, value_width, has_truth, has_weights=False):
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._open, self._require_sound, self._read_ahead, self._pieces, self._nnz = open_piece, require_sound, read_ahead, {}, nnz
        self._weights = None
        self.share_verification(0, 1, np.zeros(len(counts), np.uint8))
        self.n_dense, self.value_width, self.has_truth, self.has_weights = n_dense, value_width, has_truth, has_weights

    def __len__(self):
        return int(self.starts[-1])

    @property
    def keys_per_sample(self):
        """m, the mean number of key occurrences a sample."""
        return self._nnz / max(1, len(self))

    def share_verification(self, rank, ranks, verified):
        """Verify only every `ranks`-th piece from now on: the other ranks of the node verify the others.

        verified : (pieces) uint8, zero, of all these ranks: a piece that has been verified is marked there

        Each rank must then `touch` the rows of whole batches, not of its own share alone: a damaged piece ends the run
        at the rank that verifies it, before the step can be completed in which a row of it is first used.  Nobody waits for
        that: of a piece that is not marked yet, a rank looks at the rows that it uses itself.
        """
        self._rank, self._ranks, self._verified, self._unmarked = rank, ranks, verified, set()

    def touch(self, rows, own):
        """Open the pieces of these rows of a batch, and verify those that are this rank's to verify.

        own : those of the rows that this rank uses.  DataError where one of them is not sound.
        """
        if len(rows) and len(self._pieces) < len(self.starts) - 1:
            for number in self._numbers_of(rows):
                self.piece(number)
        if self._unmarked and len(own):
            self._look_at(own)

    def read_ahead(self, begin, end):
        """Have the rows begin .. end read ahead, as far as their pieces are this rank's to verify."""
        first, last = np.searchsorted(self.starts, (begin, end - 1), side="right") - 1
        for number in range(first, last + 1):
            if self._is_mine(number):
                self._read_ahead(number)

    def piece(self, number):
        """Piece `number` as a Dataset, of which only rows that were touched may be used."""
        if number not in self._pieces:
            mine = self._is_mine(number)
            self._pieces[number] = self._weighted(number, self._open(number, mine))
            if mine:
                self._verified[number] = 1
            else:
                self._unmarked.add(number)
        return self._pieces[number]

    def targets(self, begin, end):
        """Yield (first row, labels, weights or None) of consecutive rows that are begin .. end in all.

        Nothing else of them is read, and nothing verified.
        """
        for number in range(len(self.starts) - 1):
            first, last = (int(start) for start in self.starts[number : number + 2])
            if first < end and begin < last:
                piece = self._weighted(number, self._open(number, False))
                for row, labels, weights in piece.targets(max(0, begin - first), min(end, last) - first):
                    yield first + row, labels, weights

    def with_weights(self, weights):
        """The same samples with these weights (n) float32."""
        other = copy(self)
        other._take(weights)
        return other

    def _take(self, weights):
        self._weights, self.has_weights, self._pieces, self._unmarked = weights, True, {}, set()

    def _weighted(self, number, piece):
        """A piece that was opened, with the weights that it was given since."""
        return piece if self._weights is None else piece.with_weights(self._weights[self.starts[number] : self.starts[number + 1]])

    def head(self, rows):
        """The first `rows` samples, or those of the first piece where these are fewer."""
        first = np.arange(min(rows, int(self.starts[1])))
        self.touch(first, first)
        return self.piece(0).head(len(first))

    def _look_at(self, rows):
        self._unmarked = {number for number in self._unmarked if not self._verified[number]}
        for number in self._unmarked.intersection(self._numbers_of(rows)):
            begin, end = self.starts[number : number + 2]
            self._require_sound(number, self._pieces[number], rows[(rows >= begin) & (rows < end)] - begin)

    def _numbers_of(self, rows):
        """[number] of the pieces of some rows."""
        first, last = np.searchsorted(self.starts, (rows.min(), rows.max()), side="right") - 1
        return [int(first)] if first == last else np.unique(np.searchsorted(self.starts, rows, side="right") - 1).tolist()

    def _is_mine(self, number):
        return number % self._ranks == self._rank
