"""The bytes of a text file, plain or gzip, seen through a window of bounded size."""

import gzip
import zlib

import numpy as np

from deshpc.errors import DataError

MAX_ROW_BYTES = 64 << 20
"""A longer row is taken for a quote that was never closed."""

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_LF = ord("\n")


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
        self._file = gzip.GzipFile(fileobj=self._raw) if _is_gzip(path, self._raw) else self._raw
        self._ended = False
        self.data = np.empty(chunk_bytes + 1, np.uint8)  # one more for a missing line end
        self.start = self.stop = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._raw.close()

    def fill(self, line):
        """Read on; False if the file has ended.  `line` is the line number at `start`, for errors."""
        if self._ended:
            return False
        unused = self.data[self.start : self.stop]
        if len(unused) > MAX_ROW_BYTES:
            raise DataError(
                f"{self.path}, line {line}: the row is longer than {MAX_ROW_BYTES} bytes; is a quote never closed?"
            )
        room = len(self.data) - 1
        if 2 * len(unused) > room:
            self.data = np.empty(2 * room + 1, np.uint8)
        self.data[: len(unused)] = unused
        self.start, self.stop = 0, len(unused)
        self.stop += self._read(memoryview(self.data)[self.stop : -1], line)
        if self.stop == len(unused):
            self._ended = True
            if self.stop and self.data[self.stop - 1] != _LF:
                self.data[self.stop] = _LF
                self.stop += 1
        return True

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
        try:
            return self._file.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{self.path}, line {line} or later: damaged gzip data: {error}") from None
        except OSError as error:
            raise DataError(f"{self.path}, line {line} or later: cannot be read: {error.strerror}") from None


def _open(path):
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _is_gzip(path, file):
    return str(path).endswith(".gz") or file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
