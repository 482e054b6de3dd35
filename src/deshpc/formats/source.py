"""The bytes of a text file, plain, gzip or Zstandard, seen through a window of bounded size."""

import gzip
import zlib

import numpy as np

from deshpc.errors import DataError
from deshpc.formats import zstd

MAX_ROW_BYTES = 64 << 20
"""A longer row is taken for a quote that was never closed."""

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_LF = ord("\n")


class LongRow(DataError):
    """The row that begins at the window's start does not end within MAX_ROW_BYTES."""


class Window:
    """What was read of a file and is not used up yet: data[start:stop].

    The user moves `start` on and calls `fill` for more.  Where the file's last line has no line end, it is given one.
    A context manager; DataError where the file cannot be read.

    data        : (any) uint8; a new array, or one with moved contents, after `fill`
    chunk_bytes : bytes of text read at a time; the window grows for a row that is longer
    """

    def __init__(self, path, chunk_bytes):
        self.path = path
        self._raw = _open(path)
        self._compression, self._file = _decompressed(path, self._raw)
        self._ended = False
        self._chunk_bytes = chunk_bytes
        self.data = np.empty(chunk_bytes + 1, np.uint8)  # one more for a missing line end
        self.start = self.stop = 0

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
                f"{self.path}, line {line}: the row is longer than {MAX_ROW_BYTES} bytes; is a quote never closed?"
            )
        room = self._chunk_bytes
        while room < 2 * len(unused):
            room *= 2
        if room + 1 != len(self.data):
            self.data = np.empty(room + 1, np.uint8)
        self.data[: len(unused)] = unused
        self.start, self.stop = 0, len(unused)
        self.stop += self._read(memoryview(self.data)[self.stop : -1], line)
        if self.stop == len(unused):
            self._ended = True
            if self.stop and self.data[self.stop - 1] != _LF:
                self.data[self.stop] = _LF
                self.stop += 1
        return True

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

    def first_line(self):
        """Take the file's first line out of the window: its bytes without byte order mark and line end."""
        while True:
            line, line_end, _ = self.data[self.start : self.stop].tobytes().partition(b"\n")
            if line_end:
                self.start += len(line) + 1
                return line.removeprefix(_BOM).removesuffix(b"\r")
            if not self.fill(line=1):
                raise DataError(f"{self.path}: the file is empty; expected a header line with the columns' names")

    def _read(self, buffer, line):
        """Fill the buffer as far as the file goes; the number of bytes."""
        done = 0
        try:
            while done < len(buffer) and (read := self._file.readinto(buffer[done:])):
                done += read
        except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
            raise DataError(f"{self.path}, line {line} or later: damaged {self._compression} data: {error}") from None
        except OSError as error:
            raise DataError(f"{self.path}, line {line} or later: cannot be read: {error.strerror}") from None
        return done


def _open(path):
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _decompressed(path, file):
    """(name of the compression, file of the text), by the path's suffix or the first bytes."""
    start = file.peek(len(zstd.MAGIC))
    if str(path).endswith(".gz") or start.startswith(_GZIP_MAGIC):
        return "gzip", gzip.GzipFile(fileobj=file)
    if str(path).endswith(".zst") or start.startswith(zstd.MAGIC):
        return "Zstandard", zstd.ZstdFile(file, path)
    return "", file
