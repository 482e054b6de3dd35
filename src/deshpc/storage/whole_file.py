"""A file that appears under its name when it is complete, and survives a crash from then on."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from deshpc.errors import DataError


def require_replaceable(path):
    """DataError if something other than a regular file has that name, such as a device: `publish` would replace it."""
    if Path(path).exists() and not Path(path).is_file():
        raise DataError(f"{path}: is there and no regular file; expected the name of a file to write")


def partial_name(path):
    """A name beside `path` under which to write it, which no other writer has."""
    return Path(f"{path}.{secrets.token_hex(4)}.partial")


def remove_partials(path):
    """Remove what writers of `path` that were ended have left: called by who holds the folder's lock, so that none is under way."""
    path = Path(path)
    left = re.compile(re.escape(path.name) + r"\.[0-9a-f]{8}\.partial")
    for name in os.listdir(path.parent):
        if left.fullmatch(name):
            (path.parent / name).unlink()


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
    temporary = partial_name(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        synchronise(temporary)
        publish(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
