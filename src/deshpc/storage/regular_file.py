"""Files that are read have to be regular ones: whoever opens a pipe waits for its writer, and a device may have no end."""

import os
import stat

from deshpc.errors import DataError

_KINDS = (
    (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def open_regular(path):
    """A regular file, open for reading its bytes.  DataError, at once, where it is none or cannot be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(path):
    """DataError unless `path` is a regular file, or a link to one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    _require_regular(path, mode)


def read_small(path, most):
    """The bytes of a regular file of at most so many; DataError where it has more."""
    with open_regular(path) as file:
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
    if len(data) > most:
        raise DataError(f"{path}: is longer than {most:,} bytes; no such file is")
    return data


def _require_regular(path, mode):
    if not stat.S_ISREG(mode):
        what = next((words for test, words in _KINDS if test(mode)), "something else")
        raise DataError(f"{path}: cannot be read: it is {what}; expected a regular file")


def _unreadable(path, error):
    if not isinstance(error, FileNotFoundError):
        return DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
    if os.path.islink(path):
        return DataError(f"{path}: no such file: it is a link to {os.readlink(path)}, which is not there")
    return DataError(f"{path}: no such file")
