"""The bytes of a text file, plain, gzip or Zstandard, or of a part of a plain one, seen through a window of bounded size."""

import gzip
import io
import math
import os
import zlib
from dataclasses import dataclass

import numpy as np

from deshpc.errors import DataError
from deshpc.formats import zstd
from deshpc.formats.recognise import START_BYTES, require_text
from deshpc.formats.steady import open_steady

MAX_ROW_BYTES = 64 << 20
"""A longer row is taken for a quote that was never closed."""

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_LF = ord("\n")
_COUNTED_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """The bytes begin .. end of a file, to its end where that is None.  Only a file of plain text has parts.

    A part begins where a line begins that is not blank, or where its file begins.
    """

    path: str
    begin: int = 0
    end: int | None = None

    def lines_before(self):
        """The line ends before the part."""
        lines, left = 0, self.begin
        with open_steady(self.path) as file:
            while left and (text := file.read(min(left, _COUNTED_BYTES))):
                lines += text.count(b"\n")
                left -= len(text)
        return lines


@dataclass(frozen=True)
class Standard:
    """Standard input, which has no end while somebody may write to it.  path : what messages call it"""

    path: str = "standard input"
    begin, end = 0, None

    def lines_before(self):
        """None."""
        return 0


class _Arriving(io.RawIOBase):
    """What arrives at a file descriptor, as soon as some of it is there."""

    def __init__(self, descriptor):
        super().__init__()
        self._descriptor = descriptor

    def readable(self):
        """Yes."""
        return True

    def readinto(self, buffer):
        """Wait for some bytes; their number, 0 at the end."""
        some = os.read(self._descriptor, len(buffer))
        buffer[: len(some)] = some
        return len(some)


class _Promptly:
    """What has arrived of a compressed file: whoever reads gets what is there, not as much as was asked for.  file : a buffered one"""

    def __init__(self, file):
        self._file = file

    def read(self, size):
        """At most so many bytes, none at the end; waits for one."""
        return self._file.read1(size)


class LongRow(DataError):
    """The row that begins at the window's start does not end within MAX_ROW_BYTES."""


class Window:
    """What was read of a file and is not used up yet: data[start:stop].

    The user says by `pass_to` what it has used and calls `fill` for more.  Where the file's last line has no line end, it is given one.
    A context manager; DataError where the file cannot be read.

    file        : path; a Part of a file: then it ends where the part ends; or Standard: then what has arrived is to be used at once
    data        : (any) uint8; a new array, or one with moved contents, after `fill`
    chunk_bytes : bytes of text read at a time; the window grows for a row that is longer
    """

    def __init__(self, file, chunk_bytes):
        part = file if isinstance(file, (Part, Standard)) else Part(file)
        self.path, self.begins_file, self.ends_file = part.path, part.begin == 0, part.end is None
        self._part, self._left = part, math.inf if part.end is None else part.end - part.begin
        self._arrives = isinstance(part, Standard)
        self._raw = io.BufferedReader(_Arriving(0)) if self._arrives else open_steady(part.path)
        self._compression, self._file = _decompressed(part.path, self._raw)
        if part.begin:
            self._raw.seek(part.begin)
        self._lines_before = None
        self._ended = False
        self._chunk_bytes = chunk_bytes
        self.data = np.empty(chunk_bytes + 1, np.uint8)  # one more for a missing line end
        self.start = self.stop = 0
        self._first = part.begin  # byte of the file at data[0]

    @property
    def place(self):
        """The byte of the file, of plain text, at `start`."""
        return self._first + self.start

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._raw.close()

    def fill(self, line):
        """Read on; False if the file has ended.  `line` is the line number at `start`, for errors.

        LongRow where MAX_ROW_BYTES are unused already; the window stays as it is.
        """
        if self._ended:
            return False
        unused = self.data[self.start : self.stop]
        if len(unused) > MAX_ROW_BYTES:
            raise LongRow(
                f"{self.path}, line {self.line(line)}: the row is longer than {MAX_ROW_BYTES} bytes; is a quote never closed?"
            )
        room = self._chunk_bytes
        while room < 2 * len(unused):
            room *= 2
        if room + 1 != len(self.data):
            self.data = np.empty(room + 1, np.uint8)
        self.data[: len(unused)] = unused
        self._first += self.start
        self.start, self.stop = 0, len(unused)
        self.stop += self._read(memoryview(self.data)[self.stop : -1], line)
        if self.stop == len(unused):
            self._ended = True
            if self.stop and self.data[self.stop - 1] != _LF:
                self.data[self.stop] = _LF
                self.stop += 1
        return True

    def pass_to(self, position):
        """The data before this position are used up."""
        self.start = position

    def skip_line(self, line):
        """Move `start` behind the next line end, however far that is; to the end of a file without one."""
        while True:
            ends = self.data[self.start : self.stop] == _LF
            if ends.any():
                self.start += int(np.argmax(ends)) + 1
                return
            self.start = self.stop
            if not self.fill(line):
                return

    def pass_mark(self):
        """Pass the byte order mark, if the file begins with one: before anything else is read."""
        while self.stop < len(_BOM) and self.fill(line=1):
            pass
        if self.begins_file and self.data[: min(len(_BOM), self.stop)].tobytes() == _BOM:
            self.pass_to(len(_BOM))

    def first_line(self):
        """Take the file's first line out of the window: its bytes without byte order mark and line end."""
        self.pass_mark()
        while True:
            line, line_end, _ = self.data[self.start : self.stop].tobytes().partition(b"\n")
            if line_end:
                self.start += len(line) + 1
                return line.removesuffix(b"\r")
            if not self.fill(line=1):
                raise DataError(f"{self.path}: the file is empty; expected a header line with the columns' names")

    def line(self, line):
        """The number in the file of line number `line` of the part."""
        if self._lines_before is None:
            self._lines_before = self._part.lines_before()
        return self._lines_before + line

    def _read(self, buffer, line):
        """Fill the buffer as far as the file goes; the number of bytes."""
        done, buffer = 0, buffer[: min(len(buffer), self._left)]
        try:
            while done < len(buffer) and (read := self._read_some(buffer[done:])):
                done += read
                if self._arrives:
                    break
        except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
            raise DataError(f"{self.path}, line {line} or later: damaged {self._compression} data: {error}") from None
        except OSError as error:
            raise DataError(f"{self.path}, line {line} or later: cannot be read: {error.strerror}") from None
        self._left -= done
        return done

    def _read_some(self, buffer):
        """Fill a buffer as far as one reading goes; the number of bytes."""
        return self._file.readinto1(buffer) if self._arrives else self._file.readinto(buffer)


def is_plain(path):
    """Whether a file is text as it stands, not compressed."""
    with open_steady(path) as file:
        return not _decompressed(path, file)[0]


def _decompressed(path, file):
    """(name of the compression, file of the text), by the path's suffix or the first bytes; DataError where they are of no text."""
    start = file.peek(START_BYTES)[:START_BYTES]
    require_text(path, start)
    if str(path).endswith(".gz") or start.startswith(_GZIP_MAGIC):
        return "gzip", gzip.GzipFile(fileobj=_Promptly(file) if isinstance(file.raw, _Arriving) else file, mode="rb")
    if str(path).endswith(".zst") or start.startswith(zstd.MAGIC):
        return "Zstandard", zstd.ZstdFile(_Promptly(file) if isinstance(file.raw, _Arriving) else file, path)
    return "", file
