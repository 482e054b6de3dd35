"""The rows of one rank on disk: a container of blocks in key order, each with its first and last key.

    about            {run, rank, ranks, steps, blocks: [[rows, first key, last key]]}
    keys/0 (n) uint64, fields/0 (n) uint16, counts/0, steps/0 (n) uint32, numbers/0 (n, weights + state), keys/1, ...

Where counts of sights decay, about has decayed: true, and every block decayed/0 (n) float64, counts as of the last steps.  Where keys wait
for a row, about has waiting: true, and there are waiting/keys (m) uint64 in key order, waiting/sights and waiting/steps (m) uint32.

In a checkpoint of what has changed (`changed_rows`), about has model_rows, how many rows the rank has then, and there is gone (m) uint64, the
keys in key order that have no row any more.

numbers are [w, v_1 .. v_k | optimizer state of w | of the embedding], which is not the order of a record.  Any range of keys is
found without reading others.  Where rows are split by key, the ranks lie in key order, too: the files of all ranks, one after
another, hold all keys in order.  Where they are split by column, every file has some columns of all rows (`table.columns`).
"""

import numpy as np

from deshpc.checkpoint.parts import require_written_together
from deshpc.checkpoint.row_form import RowForm
from deshpc.errors import DataError
from deshpc.hashing.key_range import LAST_KEY
from deshpc.storage.container import Container, ContainerWriter
from deshpc.storage.json_form import COUNT, require
from deshpc.table.shard import Rows
from deshpc.table.sights import Sights

KIND = "checkpoint rows"
_DTYPES = {"keys": np.dtype(np.uint64), "fields": np.dtype(np.uint16), "counts": np.dtype(np.uint32), "steps": np.dtype(np.uint32)}
_PARTS = (*_DTYPES, "numbers")
_DECAYED, _WAITING, _GONE = "decayed", "waiting", "gone"
_OF_WAITING = {"keys": np.dtype(np.uint64), "sights": np.dtype(np.uint32), "steps": np.dtype(np.uint32)}


def write_rows(path, run, rank, ranks, steps, blocks, wrote=lambda: None, waiting=None, gone=None, model_rows=None):
    """Write the Rows `blocks`, distinct keys in ascending order, one after another; `wrote` is called after each.

    waiting : `Sights` of keys that wait for a row, in key order; None: none do
    gone, model_rows : of what has changed, as in the file; None: the rows are all
    """
    about = {"run": run, "rank": rank, "ranks": ranks, "steps": steps, "blocks": []}
    with ContainerWriter(path, KIND, about) as writer:
        for i, block in enumerate(blocks):
            for part in _PARTS:
                writer.add(f"{part}/{i}", getattr(block, part))
            if block.decayed is not None:
                writer.add(f"{_DECAYED}/{i}", block.decayed)
                writer.about[_DECAYED] = True
            writer.about["blocks"].append([len(block), int(block.keys[0]), int(block.keys[-1])])
            wrote()
        if waiting is not None and len(waiting.keys):
            writer.about[_WAITING] = True
            for part, array in waiting._asdict().items():
                writer.add(f"{_WAITING}/{part}", array)
        if gone is not None:
            writer.about["model_rows"] = model_rows
            writer.add(_GONE, gone)
        writer.finish()


class RowsFile:
    """The rows that one rank has written.  DataError, naming the file, where it is damaged.

    manifest, rank : of the model, and the rank whose rows they have to be; None where nothing is read but how many there are
    fields : fields that have keys, None where that is not known
    path : of the file
    model_rows : rows that the rank had when it was written, also where the file has only what has changed
    """

    def __init__(self, path, manifest=None, rank=None, fields=None):
        self._container, self.path = Container(path, KIND), path
        about, form = self._container.about, None
        if manifest is not None:
            require_written_together(path, about, manifest, rank)
            form = RowForm.of(manifest, rank, fields)
        self._form = form
        try:
            require(about.get("blocks"), [list], "the list of blocks")
            self._blocks = list(map(_extent, about["blocks"]))
            self._decays, self._waits = (_is_true(about, name) for name in (_DECAYED, _WAITING))
            self._parts = (*_PARTS, *([_DECAYED] if self._decays else ()))
            self._is_change = "model_rows" in about
            self.model_rows = about.get("model_rows", sum(rows for rows, _, _ in self._blocks))  # len() takes no number beyond 2^63
            require(self.model_rows, COUNT, "'model_rows'")
            others = (len(_OF_WAITING) if self._waits else 0) + self._is_change
            if len(self._container.names) != len(self._parts) * len(self._blocks) + others:
                raise ValueError("the list of blocks does not fit the sections")
            if self._is_change != (manifest is not None and "base" in manifest) and manifest is not None:
                raise ValueError("it has all rows, where its manifest wants what has changed, or the other way round")
            self._require_waiting()
            for i, (rows, first, last) in enumerate(self._blocks):
                self._require_sections(i, rows)
                if not (i == 0 or self._blocks[i - 1][2] < first) or (form and not form.first <= first <= last <= form.last):
                    raise ValueError(f"the keys of block {i} are not in order, or not the rank's")
        except ValueError as error:
            raise DataError(f"{path}: damaged: {error}") from None

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
    def decays(self):
        """Whether counts of sights decay."""
        return self._decays

    @property
    def extents(self):
        """[(rows, first key, last key)] of the blocks."""
        return self._blocks

    def blocks(self, first=0, last=LAST_KEY):
        """Yield the Rows of keys first .. last, in key order, one block at a time; other blocks are not read.

        Each is a copy; the sections that it comes from are verified, and the rows are sound (`RowForm.require_sound`).
        """
        for i, (_, low, high) in enumerate(self._blocks):
            if low <= last and first <= high:
                held = Rows(*(self._container.read(f"{part}/{i}") for part in self._parts))
                try:
                    if (int(held.keys[0]), int(held.keys[-1])) != (low, high):
                        raise ValueError("its first and last key are not those of the list of blocks")
                    if self._form is not None:
                        self._form.require_sound(held)
                except ValueError as error:
                    raise DataError(f"{self.path}, block {i}: damaged: {error}") from None
                begin = np.searchsorted(held.keys, np.uint64(first))
                end = np.searchsorted(held.keys, np.uint64(last), side="right")
                yield Rows(*(np.array(getattr(held, part)[begin:end]) for part in self._parts))

    def keys_of_blocks(self):
        """Yield the keys of each block, verified."""
        for i in range(len(self._blocks)):
            yield self._container.read(f"keys/{i}")

    def gone(self):
        """(m) uint64, ascending and verified: keys that have no row any more, in a file of what has changed."""
        gone = self._container.read(_GONE)
        if gone.dtype != np.uint64 or gone.ndim != 1 or not (gone[1:] > gone[:-1]).all():
            raise DataError(f"{self.path}: damaged: section {_GONE!r} is no list of ascending keys")
        return gone

    def waiting(self):
        """`Sights` of the keys that wait for a row, verified; None where none do."""
        if not self._waits:
            return None
        sights = Sights(*(np.array(self._container.read(f"{_WAITING}/{part}")) for part in _OF_WAITING))
        try:
            if self._form is not None:
                self._form.require_sound_sights(sights)
        except ValueError as error:
            raise DataError(f"{self.path}, keys that wait for a row: damaged: {error}") from None
        return sights

    def _require_waiting(self):
        """ValueError unless the sections of waiting keys have one length and their types."""
        if self._waits:
            names = [f"{_WAITING}/{part}" for part in _OF_WAITING]
            shapes, types = [self._container.shape(name) for name in names], [self._container.dtype(name) for name in names]
            if len(set(shapes)) > 1 or len(shapes[0]) != 1 or types != list(_OF_WAITING.values()):
                raise ValueError(f"keys that wait for a row have not their sections: {shapes}, {list(map(str, types))}")

    def _require_sections(self, i, rows):
        """ValueError unless block i has the sections of so many rows."""
        shapes = {part: self._container.shape(f"{part}/{i}") for part in self._parts}
        types = {part: self._container.dtype(f"{part}/{i}") for part in self._parts}
        numbers, kind = (shapes["numbers"][1:], types["numbers"]) if self._form is None else ((self._form.numbers,), self._form.precision)
        expected = {part: (rows,) for part in self._parts} | {"numbers": (rows, *numbers)}
        kinds = {**_DTYPES, "numbers": np.dtype(kind), **({_DECAYED: np.dtype(np.float64)} if self._decays else {})}
        if rows < 1 or shapes != expected or types != kinds:
            raise ValueError(f"block {i} of {rows} rows has not their sections: {shapes}, {list(map(str, types.values()))}")


def _is_true(about, name):
    """Whether a file says so; ValueError where it says something else than true, or nothing."""
    if about.get(name, True) is not True:
        raise ValueError(f"{name!r} is not true")
    return name in about


def _extent(block):
    """(rows, first key, last key) of an entry of the list of blocks."""
    if len(block) != 3 or any(type(one) is not int for one in block) or not 0 <= block[1] <= block[2] <= LAST_KEY:
        raise ValueError("the list of blocks has an entry that is not rows, first key and last key")
    return tuple(block)
