"""A file that appears under its name when it is complete, and survives a crash from then on."""

import os
from contextlib import suppress
from pathlib import Path

from deshpc.errors import DataError


def require_replaceable(path):
    """DataError if something other than a regular file has that name, such as a device: `publish` would replace it."""
    if Path(path).exists() and not Path(path).is_file():
        raise DataError(f"{path}: is there and no regular file; expected the name of a file to write")


def publish(temporary, final):
    """Give the complete file or directory `temporary` its name `final`, replacing a file of that name, durably.

    The caller has flushed and synchronised what `temporary` holds (`synchronise`).  The folder may get another name as soon as
    the file is there, by whoever has waited for it: so it is opened before.
    """
    folder = os.open(Path(final).parent, os.O_RDONLY)
    try:
        os.replace(temporary, final)
        os.fsync(folder)
    finally:
        os.close(folder)


def synchronise(path):
    """Wait until a file's content, or a directory's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text):
    """Write a text file that is whole or absent."""
    write_bytes(path, text.encode())


def write_bytes(path, data):
    """Write a file that is whole or absent.  OSError where it cannot be written; nothing is left of it then."""
    require_replaceable(path)
    path = Path(path)
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_bytes(data)
        synchronise(temporary)
        publish(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
