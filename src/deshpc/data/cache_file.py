"""A cache as it is read: mapped into memory, and checked before anybody uses it.  NumPy alone; `data.cache` has what is in it."""

import zlib

import numpy as np

from deshpc.data.dataset import ARRAYS, Dataset
from deshpc.data.soundness import require_sound
from deshpc.data.transform import Transforms
from deshpc.errors import DataError
from deshpc.formats.schema import Schema
from deshpc.hashing.key import HASH_ID
from deshpc.storage.container import Container
from deshpc.storage.json_form import COUNT, require

KIND = "samples"
VERSION = 1
"""Of what is in the container; a change of it needs a new number."""

_NUMBERS = {"missing": COUNT, "present": COUNT, "min": (float, None), "max": (float, None), "mean": (float, None)}
_DTYPES = {
    "offsets": np.int64, "keys": np.uint64, "fields": np.uint16, "values": np.float32, "dense": np.float32,
    "labels": np.float32, "truth": np.float32, "weights": np.float32,
}  # fmt: skip
_ABOUT = {
    "version": int, "hash": str, "rows": COUNT, "piece_rows": COUNT, "schema": dict, "transforms": (dict, None),
    "value_width": COUNT, "truth": bool, "skipped": COUNT, "examples": [str], "numbers": {str: _NUMBERS},
}  # fmt: skip


class Cache:
    """A cache file, mapped into memory.  DataError, naming it, where it is damaged or not one of this version.

    rows, schema, transforms (None where there are none), numbers : as its writer has given them
    skipped, examples : number of rows that could not be read, and complaints about some of them
    counts : rows of each piece
    nnz : key occurrences
    nbytes : of the file
    """

    def __init__(self, path, crc32=zlib.crc32):
        """crc32 : computes what zlib.crc32 does, perhaps faster"""
        self._file = Container(path, KIND, crc32)
        about = self._file.about
        if about.get("version") != VERSION:
            raise DataError(
                f"{path}: a cache of version {str(about.get('version'))[:20]}; expected {VERSION}: convert the rows again"
            )
        try:
            require(about, _ABOUT, "about")
        except ValueError as error:
            raise DataError(f"{path}: damaged: {error}") from None
        if about["hash"] != HASH_ID:
            raise DataError(
                f"{path}: keys were hashed by {about['hash'][:40]!r}, this version hashes by {HASH_ID!r}; convert the rows again"
            )
        self.path, self.nbytes = self._file.path, self._file.nbytes
        self.rows, self._piece_rows = about["rows"], about["piece_rows"]
        self.value_width, self.has_truth = about["value_width"], about["truth"]
        self.skipped, self.examples, self.numbers = about["skipped"], about["examples"], about["numbers"]
        try:
            self.schema = Schema.from_json(about["schema"])
            self.transforms = None if about["transforms"] is None else Transforms.from_json(about["transforms"])
            if self.transforms is not None:
                self.transforms.require_of(self.schema)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if not set(self.numbers) <= {field.name for field in self.schema.dense_fields}:
            raise DataError(f"{path}: damaged: it has statistics of fields that are not dense")
        pieces = self._pieces()
        self.counts = [min(self._piece_rows, self.rows - number * self._piece_rows) for number in range(pieces)]
        self.nnz = sum(map(self._nnz, range(pieces)))

    def piece(self, number, verify=True):
        """Piece `number` as a Dataset that maps the file.

        verify : its checksums, and that all its rows are sound; without it, `require_sound` asks for rows before they are used
        """
        arrays = {name: self._array(name, number, verify) for name in self._arrays}
        arrays.setdefault("dense", np.empty((self.counts[number], 0), np.float32))
        piece = Dataset(**{"values": None, **arrays})
        if verify:
            self.require_sound(number, piece)
        return piece

    def require_sound(self, number, piece, rows=None):
        """DataError, naming the row, unless rows (n) int64 of piece `number`, or all, are what a kernel may see."""
        begin = number * self._piece_rows
        require_sound(piece, self.schema, rows, lambda row: f"{self.path}, row {begin + row} (from 0)")

    def read_ahead(self, number):
        """Have piece `number` read ahead."""
        self._file.read_ahead(*(f"{self._arrays[end]}/{number}" for end in (0, -1)))

    def _pieces(self):
        """Number of pieces; DataError unless the file has the sections of all of them, and no others."""
        here = {"values": self.value_width, "dense": self.schema.dense_fields, "truth": self.has_truth, "weights": self.schema.weight}
        self._arrays = [name for name in ARRAYS if here.get(name, True)]
        pieces = -(-self.rows // self._piece_rows) if self._piece_rows else 0
        names = self._file.names
        if self.value_width > 2 or not (self._piece_rows and pieces * len(self._arrays) == len(names)):
            raise DataError(
                f"{self.path}: damaged: {self.rows} rows, {self._piece_rows} rows a piece, {self.value_width} values a key "
                f"do not go with {len(names)} sections"
            )
        return pieces

    def _nnz(self, number):
        """Keys of a piece; DataError unless its sections have the types and shapes that go with that."""
        rows, nnz = self.counts[number], (self._file.shape(f"keys/{number}") or (0,))[0]
        shapes = {
            "offsets": (rows + 1,), "keys": (nnz,), "fields": (nnz,), "values": (nnz, 2)[: self.value_width],
            "dense": (rows, len(self.schema.dense_fields)), "labels": self.schema.labels_like(rows), "truth": (rows,), "weights": (rows,),
        }  # fmt: skip
        for name in self._arrays:
            found = self._file.dtype(f"{name}/{number}"), self._file.shape(f"{name}/{number}")
            if found != (_DTYPES[name], shapes[name]):
                raise DataError(
                    f"{self._rows(number)}: damaged: section '{name}/{number}' is of {found[0]}, with the shape {found[1]}; "
                    f"expected {np.dtype(_DTYPES[name])} and {shapes[name]}"
                )
        return nnz

    def _array(self, name, number, verify):
        section = f"{name}/{number}"
        try:
            array = self._file.read(section, verify=verify)
        except DataError as error:
            begin = number * self._piece_rows
            raise DataError(f"{error} (rows {begin} to {begin + self.counts[number] - 1})") from None
        return _as_in_memory(array)

    def _rows(self, number):
        begin = number * self._piece_rows
        return f"{self.path}, rows {begin} to {begin + self.counts[number] - 1}"


class _Mapped:
    """A read-only array that says that it may be written."""

    def __init__(self, array):
        self._array = array
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _as_in_memory(array):
    """A mapped array of the type that arrays in memory have: to Numba, read-only arrays are another type, for which every
    kernel would be compiled again.  Nobody writes into a data set; a mapped page would refuse it.
    """
    return np.asarray(_Mapped(array))
