"""One file of named, versioned, checksummed arrays: caches, checkpoints and exported models are such files.

     0  16 bytes "deshpc container"
    64  sections, each at a multiple of 64: an array in C order, zeros up to the next multiple
        directory: JSON {"format", "kind", "about", "sections": [{"name", "version", "dtype", "shape", "offset", "crc32"}]}
        trailer, 32 bytes: offset and length of the directory uint64, CRC-32 of the directory and of this trailer
        up to here uint32, 8 bytes "deshpc.\\n"

`storage.directory` says what a directory has to be.  All numbers are little-endian.  Every byte of the file is under a checksum or compared: a truncated or changed file is
found.  A section is verified when it is first read.  CRC-32 is zlib's, so that a reader needs nothing but NumPy.
"""

import hashlib
import math
import mmap
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from deshpc.errors import DataError
from deshpc.storage.directory import ALIGNMENT, DTYPES, FORMAT, MOST_BYTES, padded, parse_directory, size_of
from deshpc.storage.regular_file import open_regular
from deshpc.storage.strict_json import json_text
from deshpc.storage.watched_file import WatchedFile
from deshpc.storage.whole_file import partial_name, publish, require_replaceable

MAGIC = b"deshpc container"
_MAGIC = MAGIC.ljust(ALIGNMENT, b"\0")
_TAIL = b"deshpc.\n"
_TRAILER = struct.Struct("<QQI")
_TRAILER_BYTES = _TRAILER.size + 4 + len(_TAIL)


def identity_of(kind, about, sections):
    """64 digits that name what a container holds, whoever writes it: a digest of its directory without the offsets.

    sections : entries of a directory, in file order, or of `SectionSum`
    """
    content = [[section[part] for part in ("name", "version", "dtype", "shape", "crc32")] for section in sections]
    return hashlib.sha256(json_text([kind, about, content]).encode()).hexdigest()


class SectionSum:
    """What a directory would say of a section whose rows come in blocks, and which nobody writes.

    like : an array without rows, of the section's type and width
    """

    def __init__(self, name, like, version=1):
        self._name, self._like, self._version = name, like, version
        self._rows = self._crc = 0

    def add(self, block):
        """Add rows."""
        self._crc = zlib.crc32(_bytes(np.asarray(block, self._like.dtype, order="C")), self._crc)
        self._rows += len(block)

    def section(self):
        """The entry for `identity_of`."""
        shape = [self._rows, *self._like.shape[1:]]
        nbytes = math.prod(shape) * self._like.dtype.itemsize
        return {
            "name": self._name, "version": self._version, "dtype": self._like.dtype.newbyteorder("<").str, "shape": shape,
            "crc32": zlib.crc32(_padding(nbytes), self._crc),
        }  # fmt: skip


class ContainerWriter:
    """Writes a container beside its final name, as `partial_name` says, and gives it that name in `finish`.

    kind  : what the file is, such as "checkpoint rows"; a reader asks for it
    about : JSON object that travels in the directory
    crc32 : computes what zlib.crc32 does, perhaps faster
    A context manager: without `finish` the partial file is removed.  DataError where the file cannot be written.
    """

    def __init__(self, path, kind, about=None, crc32=zlib.crc32):
        require_replaceable(path)
        self.path, self._partial = Path(path), partial_name(path)
        self.about = dict(about or {})
        self._kind, self._sections, self._end, self._crc32 = kind, {}, ALIGNMENT, crc32
        self._finished = False
        self._file = self._attempt(lambda: open(self._partial, "x+b"))  # noqa: SIM115  open until it is finished
        self._attempt(lambda: self._file.write(_MAGIC))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with suppress(OSError):  # what could not be written is tried again
            self._file.close()
        if not self._finished:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def add(self, name, array, version=1):
        """Append a section; returns its entry of the directory."""
        array = np.asarray(array, order="C")
        dtype = array.dtype.newbyteorder("<").str
        if dtype not in DTYPES or name in self._sections:
            raise ValueError(f"section {name!r} of {array.dtype}: a new name and a plain number type are needed")
        self._sections[name] = {
            "name": name, "version": version, "dtype": dtype, "shape": list(array.shape), "offset": self._end,
            "crc32": self._write(self._end, array),
        }  # fmt: skip
        self._end += padded(array.nbytes)
        return self._sections[name]

    def read(self, name):
        """A copy of a section that was added."""
        section = self._sections[name]
        array = np.empty(section["shape"], section["dtype"])
        self._attempt(lambda: self._file.seek(section["offset"]))
        self._attempt(lambda: self._file.readinto(_bytes(array)))
        return array

    def replace(self, name, array):
        """Write other content, of the same shape and type, into a section that was added."""
        section = self._sections[name]
        array = np.asarray(array, section["dtype"], order="C")
        if list(array.shape) != section["shape"]:
            raise ValueError(f"section {name!r} has shape {section['shape']}, not {list(array.shape)}")
        section["crc32"] = self._write(section["offset"], array)

    @property
    def identity(self):
        """`identity_of` what was added so far."""
        return identity_of(self._kind, self.about, self._sections.values())

    def finish(self):
        """Write the directory, wait until everything is on disk, and give the file its name."""
        directory = json_text(
            {"format": FORMAT, "kind": self._kind, "about": self.about, "sections": list(self._sections.values())}
        ).encode()
        if len(directory) > MOST_BYTES:
            raise DataError(f"{self.path}: cannot be written: its directory would be longer than {MOST_BYTES:,} bytes; write several files")
        trailer = _TRAILER.pack(self._end, len(directory), zlib.crc32(directory))
        trailer += struct.pack("<I", zlib.crc32(trailer)) + _TAIL

        def close():
            self._file.seek(self._end)
            self._file.write(directory + trailer)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            publish(self._partial, self.path)

        self._attempt(close)
        self._finished = True

    def _write(self, offset, array):
        data = _bytes(array)
        padding = _padding(array.nbytes)
        self._attempt(lambda: self._file.seek(offset))
        self._attempt(lambda: self._file.write(data))
        self._attempt(lambda: self._file.write(padding))
        return zlib.crc32(padding, self._crc32(data))

    def _attempt(self, task):
        try:
            return task()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from None


class Container:
    """A container file, mapped into memory.

    path  : DataError, naming it, unless it is a whole container of `kind` (None: of any kind) with sound directory
    crc32 : computes what zlib.crc32 does, perhaps faster
    copy  : the file is read into memory instead: whatever becomes of it makes no difference
    watch : the file stays open, for `require_unchanged`
    kind  : what it is
    about : the JSON object that its writer gave
    names : of its sections, in file order
    """

    def __init__(self, path, kind=None, crc32=zlib.crc32, copy=False, watch=False):
        self.path, self._crc32, self._watched = str(path), crc32, None
        self._map = self._open(copy, watch)
        self._directory(kind)
        self._verified = set()

    @property
    def names(self):
        return list(self._sections)

    @property
    def identity(self):
        """`identity_of` the file, as its directory says it; nothing is verified."""
        return identity_of(self.kind, self.about, self._sections.values())

    @property
    def nbytes(self):
        """Size of the file in bytes."""
        return len(self._map)

    def __contains__(self, name):
        return name in self._sections

    def read(self, name, version=1, verify=True):
        """A section as a read-only array that maps the file; verified at the first call, if it is to be."""
        section = self._section(name)
        if section["version"] != version:
            raise DataError(f"{self.path}, section {name!r}: version {section['version']}; expected {version}")
        start, size = section["offset"], size_of(section)
        if verify and name not in self._verified:
            if self._crc32(self._map[start : start + padded(size)]) != section["crc32"]:
                raise DataError(f"{self.path}, section {name!r}: damaged: its checksum differs from its content")
            self._verified.add(name)
        return self._map[start : start + size].view(section["dtype"]).reshape(section["shape"])

    def require_unchanged(self):
        """DataError where the mapped file, if it is watched, was written to since it was opened."""
        if self._watched is not None:
            self._watched.require_unchanged()

    def read_ahead(self, first, last):
        """Have the operating system read the file from section `first` to section `last` ahead, while we go on."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        begin, end = self._section(first), self._section(last)
        start = begin["offset"] // mmap.PAGESIZE * mmap.PAGESIZE
        self._memory.madvise(mmap.MADV_WILLNEED, start, end["offset"] + size_of(end) - start)

    def shape(self, name):
        """Shape of a section, which is not read."""
        return tuple(self._section(name)["shape"])

    def dtype(self, name):
        """Type of a section, which is not read."""
        return np.dtype(self._section(name)["dtype"])

    def verify(self):
        """Verify every section now."""
        for name, section in self._sections.items():
            self.read(name, section["version"])

    def sections(self):
        """[(name, version, dtype, shape)] in file order."""
        return [(s["name"], s["version"], s["dtype"], tuple(s["shape"])) for s in self._sections.values()]

    def _section(self, name):
        if name not in self._sections:
            raise DataError(f"{self.path}: has no section {name!r}")
        return self._sections[name]

    def _open(self, copy, watch):
        with open_regular(self.path) as file:
            try:
                if copy:
                    data = np.fromfile(file, np.uint8)
                    data.setflags(write=False)
                    return data
                if watch:
                    self._watched = WatchedFile(self.path, file)
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise DataError(f"{self.path}: the file is empty; expected a deshpc container") from None
            except (OSError, OverflowError) as error:
                raise DataError(f"{self.path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return np.frombuffer(self._memory, np.uint8)

    def _directory(self, kind):
        data = self._map
        if len(data) < ALIGNMENT + _TRAILER_BYTES or data[:ALIGNMENT].tobytes() != _MAGIC:
            raise DataError(f"{self.path}: not a deshpc container, or cut off")
        trailer = data[-_TRAILER_BYTES:].tobytes()
        offset, length, crc = _TRAILER.unpack_from(trailer)
        (own_crc,) = struct.unpack_from("<I", trailer, _TRAILER.size)
        if trailer[-len(_TAIL) :] != _TAIL or own_crc != zlib.crc32(trailer[: _TRAILER.size]):
            raise DataError(f"{self.path}: cut off or damaged: the file does not end as a deshpc container does")
        if offset + length + _TRAILER_BYTES != len(data) or length > MOST_BYTES:
            raise DataError(f"{self.path}: damaged: the directory is not where the file's end says")
        text = data[offset : offset + length].tobytes()
        if zlib.crc32(text) != crc:
            raise DataError(f"{self.path}: damaged: the directory's checksum differs from its content")
        try:
            self.kind, self.about, self._sections = parse_directory(text, offset)
        except ValueError as error:
            raise DataError(f"{self.path}: damaged: the directory is not one: {error}") from None
        if kind not in (None, self.kind):
            raise DataError(f"{self.path}: holds {self.kind!r}; expected {kind!r}")


def _padding(nbytes):
    """The zeros behind a section of so many bytes."""
    return bytes(padded(nbytes) - nbytes)


def _bytes(array):
    """The array's memory as bytes."""
    return memoryview(array.reshape(-1).view(np.uint8))
