"""A checkpoint that holds what has changed since a whole one: its rows files, over those of `base/`.

A file has the rows that an update has touched since, and the keys whose rows are gone.  Both files are of one rank and one split.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deshpc.checkpoint.appearing import wait_for
from deshpc.checkpoint.rows_file import RowsFile
from deshpc.errors import DataError
from deshpc.hashing.key_range import LAST_KEY
from deshpc.table.merging import merged
from deshpc.table.shard import BLOCK_ROWS, Rows


@dataclass(frozen=True)
class Change:
    """What a delta checkpoint is of.

    folder : of the whole checkpoint, or the links to its files
    steps : after which that was written
    keys : (n) uint64, ascending, of all rows that this rank has now
    """

    folder: object
    steps: int
    keys: np.ndarray

    @classmethod
    def of(cls, blocks, folder, steps):
        """(Change, [Rows] that were touched since) of all Rows `blocks` of this rank, in key order.  The Rows are copies."""
        keys, changed = [np.empty(0, np.uint64)], []
        for block in blocks:
            keys.append(block.keys)
            if len(some := block.take(block.steps >= steps)):
                changed.append(some)
        whole = Rows.concatenate(changed) if changed else ()
        parts = [whole.take(slice(begin, begin + BLOCK_ROWS)) for begin in range(0, len(whole), BLOCK_ROWS)]
        return cls(folder, steps, np.concatenate(keys)), parts

    def gone(self, name):
        """(m) uint64, ascending: keys of the whole checkpoint's rows file `name` that have no row any more."""
        parts = [keys[~_among(keys, self.keys)] for keys in RowsFile(wait_for(Path(self.folder) / name)).keys_of_blocks()]
        return np.concatenate([np.empty(0, np.uint64), *parts])


class RowsOver:
    """The rows of a rank, of which one RowsFile has those of a whole checkpoint, and another what has changed: as a RowsFile has them."""

    def __init__(self, base, changed):
        """DataError, naming the file, where one cannot lie over the other."""
        self._base, self._changed = base, changed
        if base.decays != changed.decays:
            raise DataError(f"{changed.path}: damaged: counts of its rows decay, those of {base.path} do not, or the other way round")

    def __len__(self):
        return self._changed.model_rows

    @property
    def extents(self):
        """Of the blocks of both files."""
        return self._base.extents, self._changed.extents

    def blocks(self, first=0, last=LAST_KEY):
        """As of a RowsFile."""
        return merged([self._unchanged(first, last), self._changed.blocks(first, last)])

    def waiting(self):
        """As of a RowsFile."""
        return self._changed.waiting()

    def _unchanged(self, first, last):
        """Yield the Rows of the base that stay as they are.  DataError where a key is gone that was not there."""
        gone = _between(self._changed.gone(), first, last)
        changed = np.concatenate([np.empty(0, np.uint64), *self._changed.keys_of_blocks()])
        if _among(gone, changed).any():
            raise DataError(f"{self._changed.path}: damaged: a key whose row is gone has one")
        found = 0
        for block in self._base.blocks(first, last):
            if len(block):
                going = _among(block.keys, gone)
                found += int(going.sum())
                yield block.take(~(going | _among(block.keys, changed)))
        if found != len(gone):
            raise DataError(f"{self._changed.path}: damaged: {len(gone):,} rows of {self._base.path} are gone, which has {found:,} of them")


def _between(keys, first, last):
    """Those of `keys`, which ascend, that are in a range."""
    return keys[np.searchsorted(keys, np.uint64(first)) : np.searchsorted(keys, np.uint64(last), side="right")]


def _among(wanted, keys):
    """(n) bool: which of `wanted` (n) are among `keys`; both ascend."""
    keys = _between(keys, wanted[0], wanted[-1]) if len(wanted) else keys[:0]
    return np.isin(wanted, keys, assume_unique=True)
