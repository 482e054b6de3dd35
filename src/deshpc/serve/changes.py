"""Rows that lie over those of an exported model: what deltas have changed since it was written."""

from typing import NamedTuple

import numpy as np

END = 2**64  # behind every key


class ModelRows(NamedTuple):
    """Rows in key order.

    keys : (n) uint64, increasing
    weights : (n), or (n, 0) where there are none
    embeddings : (n, k), k = 0 where there are none
    """

    keys: np.ndarray
    weights: np.ndarray
    embeddings: np.ndarray

    def take(self, which):
        """The rows of a slice, of positions, or those that are True."""
        return ModelRows(*(array[which] for array in self))

    def between(self, begin, end):
        """The rows of keys begin .. end - 1, integers up to END.  Views of the arrays."""
        return self.take(slice(*(len(self.keys) if key >= END else np.searchsorted(self.keys, np.uint64(key)) for key in (begin, end))))

    def find(self, wanted):
        """(weights, embeddings of those of `wanted` (n) that have a row, in their order, float64;  (n) bool, which ones have)."""
        at, seen = positions(self.keys, wanted)
        return self.weights[at].astype(np.float64), self.embeddings[at].astype(np.float64), seen


class Changes(NamedTuple):
    """rows : new and changed ones
    gone : keys uint64, increasing, none of them of `rows`, that have no row any more
    """

    rows: ModelRows
    gone: np.ndarray

    def __len__(self):
        return len(self.rows.keys) + len(self.gone)

    def then(self, later, keys):
        """What both change, one after the other, of a model of these keys."""
        rows = merged(self.rows.take(~among(self.rows.keys, later.gone)), later.rows)
        gone = np.union1d(self.gone[~among(self.gone, later.rows.keys)], later.gone[among(later.gone, keys)])
        return Changes(rows, gone)

    def of(self, rows, begin=0, end=END):
        """What becomes of `rows`, which are all that a model has of the keys begin .. end - 1."""
        return merged(rows.take(~among(rows.keys, self.gone)), self.rows.between(begin, end))

    def find(self, rows, wanted):
        """`find` of the rows that these changes make of `rows`."""
        own_weights, own_embeddings, changed = self.rows.find(wanted)
        unchanged = ~changed & ~among(wanted, self.gone)
        old_weights, old_embeddings, old = rows.find(wanted[unchanged])
        seen = changed.copy()
        seen[unchanged] = old
        own = changed[seen]
        weights, embeddings = (np.empty((len(own), *one.shape[1:])) for one in (own_weights, own_embeddings))
        weights[own], weights[~own] = own_weights, old_weights
        embeddings[own], embeddings[~own] = own_embeddings, old_embeddings
        return weights, embeddings, seen


def merged(rows, later):
    """All rows of two ModelRows in key order; of a key that both have, that of `later`."""
    if not len(later.keys):
        return rows
    rows = rows.take(~among(rows.keys, later.keys))
    order = np.argsort(np.concatenate([rows.keys, later.keys]), kind="stable")  # which merges what is in order
    return ModelRows(*(np.concatenate(both)[order] for both in zip(rows, later, strict=True)))


def among(wanted, keys):
    """(n) bool: which of `wanted` (n) are among `keys`, which increase."""
    return positions(keys, wanted)[1]


def positions(keys, wanted):
    """(positions in `keys`, which increase, of those of `wanted` (n) that are among them;  (n) bool, which ones are)."""
    if not len(keys):
        return np.empty(0, np.int64), np.zeros(len(wanted), bool)
    order = np.argsort(wanted)  # neighbours are then found in the same part of memory: six times as fast
    at = np.empty(len(wanted), np.int64)
    at[order] = np.searchsorted(keys, wanted[order])
    at[at == len(keys)] = 0
    seen = keys[at] == wanted
    return at[seen], seen
