"""What a Parquet file's own metadata say of the size of its columns when they are decoded: read here, with bounds.

pyarrow has the same numbers, but ends the process where some of them are damaged.  The metadata are Thrift's compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import os
from typing import NamedTuple

import numpy as np

from deshpc.errors import DataError
from deshpc.formats.recognise import why_not_parquet
from deshpc.formats.steady import open_steady
from deshpc.jit import kernel

_MAGIC, _TAIL_BYTES, _MOST_BYTES = b"PAR1", 8, 256 << 20
_MOST_DEPTH = 16
_HEADER_BYTES = 1 << 16  # of a page's header
_DICTIONARY_PAGE = 2
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class Chunk(NamedTuple):
    """A leaf's column in a row group.  values : nulls included;  begin : its first page's place in the file;  codec : of Parquet"""

    values: int
    begin: int
    codec: int


def row_groups(path):
    """[(rows, bytes before compression, {path of a leaf, with dots: Chunk})] of a file's row groups.

    DataError where the file has no such metadata.  They may lie: pyarrow reads no more values of a leaf than they say.
    """
    with open_steady(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length > min(size - _TAIL_BYTES, _MOST_BYTES):
            raise DataError(f"{path}: cannot be read as a Parquet file: {why_not_parquet(path)}")
        file.seek(size - _TAIL_BYTES - length)
        text = file.read(length)
    try:
        return [_row_group(group) for group in _Compact(text).struct().get(4, [])]
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a Parquet file: its metadata are damaged: {error!r}") from None


def _row_group(group):
    chunks = {".".join(part.decode() for part in column[3][3]): _chunk(column[3]) for column in group[1]}
    if min(group[2], group[3]) < 0 or any(min(one) < 0 for one in chunks.values()):
        raise ValueError("a size is negative")
    return group[3], group[2], chunks


def _chunk(about):
    dictionary = about.get(11, 0)
    return Chunk(about[5], min(about[9], dictionary) if dictionary > 0 else about[9], about[4])


def longest_text(path, chunk):
    """Bytes of the longest text in the dictionary of a column of texts; 0 where it begins with none, None where it cannot be read."""
    import pyarrow

    with open_steady(path) as file:
        file.seek(chunk.begin)
        head = file.read(_HEADER_BYTES)
        try:
            reader = _Compact(head)
            header = reader.struct()
            if header[1] != _DICTIONARY_PAGE:
                return 0
            size, stored = header[2], header[3]
            if not 0 <= size <= _MOST_BYTES or not 0 <= stored <= _MOST_BYTES:
                return None
            file.seek(chunk.begin + reader.at)
            page = file.read(stored)
            if chunk.codec != 0:
                page = pyarrow.decompress(page, size, _CODECS[chunk.codec]).to_pybytes()
        except (IndexError, KeyError, TypeError, ValueError, OSError, MemoryError, pyarrow.ArrowException):
            return None
    return int(_longest(np.frombuffer(page, np.uint8)))


@kernel
def _longest(page):
    """The largest of the lengths, of four bytes each, in front of the texts of a page; they may lie."""
    longest, at, end = 0, 0, len(page)
    while at + 4 <= end:
        length = page[at] | np.int64(page[at + 1]) << 8 | np.int64(page[at + 2]) << 16 | np.int64(page[at + 3]) << 24
        longest = max(longest, length)
        at += 4 + length
    return longest


class _Compact:
    """Thrift's compact protocol: a structure as {number of a field: value}."""

    def __init__(self, text):
        self._text, self.at = text, 0

    def struct(self, depth=0):
        fields, number = {}, 0
        if depth > _MOST_DEPTH:
            raise ValueError("structures are nested too deeply")
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, depth + 1)
        return fields

    def _value(self, kind, depth):
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._unsigned()
            self._require(count)
            return [self._element(head & 15, depth) for _ in range(count)]
        if kind == _MAP:
            count = self._unsigned()
            self._require(count)
            kinds = self._byte() if count else 0
            return [(self._element(kinds >> 4, depth), self._element(kinds & 15, depth)) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct(depth)
        raise ValueError(f"type {kind} is none")

    def _element(self, kind, depth):
        return self._byte() == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)

    def _byte(self):
        self.at += 1
        return self._text[self.at - 1]

    def _bytes(self, count):
        self._require(count)
        self.at += count
        return self._text[self.at - count : self.at]

    def _require(self, count):
        """IndexError unless there are so many bytes more."""
        if count > len(self._text) - self.at:
            raise IndexError("the metadata end too early")

    def _unsigned(self):
        number, shift = 0, 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("a number has more than 64 bits")

    def _signed(self):
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
