"""A file whose reading goes on after an error that passes: a server of files that starts again, a disk that answers the second time.

Such a file is opened again and read on from the byte where it was.  Anything else, and an error that stays, is the caller's.  All readers of rows
open their files here.
"""

import errno
import io
import os
import time
from contextlib import suppress

from deshpc.errors import DataError
from deshpc.launch.console import say
from deshpc.storage.regular_file import open_regular

PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)
"""Errors after which a file is tried again.  One that is not there is tried again, too, if it was there before."""

TRIES, FIRST_WAIT_S = 5, 0.2
"""How often a file is tried again, and seconds before the first time; before each further one twice as long."""


class SteadyFile(io.RawIOBase):
    """A regular file that is read.  DataError where it cannot be opened; OSError where an error of reading does not pass."""

    def __init__(self, path):
        super().__init__()
        self._path, self._at = path, 0
        self._file = trying(path, lambda: open_regular(path))

    def readable(self):
        """Yes."""
        return True

    def seekable(self):
        """Yes."""
        return True

    def tell(self):
        """The byte that is read next."""
        return self._at

    def seek(self, offset, whence=io.SEEK_SET):
        """Read on from another byte; returns its number."""
        self._at = self._file.seek(offset, whence)
        return self._at

    def readinto(self, buffer):
        """Fill a buffer, or some of it; the number of bytes, 0 at the end."""
        count = trying(self._path, lambda: self._file.readinto1(buffer), self._again)
        self._at += count
        return count

    def close(self):
        """Close the file."""
        self._file.close()
        super().close()

    def _again(self):
        self._file.close()
        self._file = open_regular(self._path)
        self._file.seek(self._at)


def open_steady(path):
    """A SteadyFile behind a buffer, as `open_regular` gives a file."""
    return io.BufferedReader(SteadyFile(path))


def read_ahead(path, begin, end):
    """Have the system read the bytes begin .. end of a file, while we go on."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError, DataError), open_regular(path) as file:
            os.posix_fadvise(file.fileno(), begin, end - begin, os.POSIX_FADV_WILLNEED)


def trying(path, read, again=lambda: None):
    """read(), tried again a few times after errors that pass, each time after again(), which may fail alike; says so.

    OSError or DataError of the last time.
    """
    problem = None
    for number in range(TRIES + 1):
        try:
            if problem:
                time.sleep(FIRST_WAIT_S * 2 ** (number - 1))
                again()
            return read()
        except (OSError, DataError) as error:
            cause = error if isinstance(error, OSError) else error.__context__  # of a file that could not be opened
            if isinstance(cause, OSError) and cause.errno in PASSING:
                problem = cause
            elif problem is None or isinstance(error, OSError):
                raise
            if number == TRIES:
                raise
        say(f"deshpc: note: {path}: {problem.strerror}; it is tried again ({number + 1} of {TRIES} times)\n")
    raise AssertionError
