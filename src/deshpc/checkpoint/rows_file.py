"""The rows of one rank on disk: a container of blocks in key order, each with its first and last key.

    about            {run, rank, ranks, steps, blocks: [[rows, first key, last key]]}
    keys/0 (n) uint64, fields/0 (n) uint16, counts/0, steps/0 (n) uint32, numbers/0 (n, weights + state), keys/1, ...

numbers are [w, v_1 .. v_k | optimizer state of w | of the embedding], which is not the order of a record.  Any range of keys is
found without reading others.  Where rows are split by key, the ranks lie in key order, too: the files of all ranks, one after
another, hold all keys in order.  Where they are split by column, every file has some columns of all rows (`table.columns`).
"""

import numpy as np

from deshpc.errors import DataError
from deshpc.storage.container import Container, ContainerWriter
from deshpc.table.shard import Rows

KIND = "checkpoint rows"
LAST_KEY = 2**64 - 1
_PARTS = ("keys", "fields", "counts", "steps", "numbers")


def write_rows(path, run, rank, ranks, steps, blocks, wrote=lambda: None):
    """Write the Rows `blocks`, distinct keys in ascending order, one after another; `wrote` is called after each."""
    about = {"run": run, "rank": rank, "ranks": ranks, "steps": steps, "blocks": []}
    with ContainerWriter(path, KIND, about) as writer:
        for i, block in enumerate(blocks):
            for part in _PARTS:
                writer.add(f"{part}/{i}", getattr(block, part))
            writer.about["blocks"].append([len(block), int(block.keys[0]), int(block.keys[-1])])
            wrote()
        writer.finish()


class RowsFile:
    """The rows that one rank has written.  DataError, naming the file, where it is damaged."""

    def __init__(self, path):
        self._container = Container(path, KIND)
        try:
            self._blocks = [(int(rows), int(first), int(last)) for rows, first, last in self._container.about["blocks"]]
            fits = all(
                self._container.shape(f"{part}/{i}")[0] == rows
                for i, (rows, _, _) in enumerate(self._blocks)
                for part in _PARTS
            )
        except (KeyError, TypeError, ValueError, IndexError):
            fits = False
        if not fits:
            raise DataError(f"{path}: damaged: the list of blocks does not fit the sections")

    def __len__(self):
        return sum(rows for rows, _, _ in self._blocks)

    @property
    def container(self):
        """The Container, of which not all may be verified yet."""
        return self._container

    @property
    def about(self):
        """What the file says of itself: run, rank, ranks, steps."""
        return self._container.about

    @property
    def extents(self):
        """[(rows, first key, last key)] of the blocks."""
        return self._blocks

    def blocks(self, first=0, last=LAST_KEY):
        """Yield the Rows of keys first .. last, in key order, one block at a time; other blocks are not read.

        Each is a copy; the sections that it comes from are verified.
        """
        for i, (_, low, high) in enumerate(self._blocks):
            if low <= last and first <= high:
                held = [self._container.read(f"{part}/{i}") for part in _PARTS]
                begin = np.searchsorted(held[0], np.uint64(first))
                end = np.searchsorted(held[0], np.uint64(last), side="right")
                yield Rows(*(np.array(array[begin:end]) for array in held))
