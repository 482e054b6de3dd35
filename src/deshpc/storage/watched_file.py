"""Whether a file that is mapped into memory still has the bytes that were verified."""

import os
import weakref

from deshpc.errors import DataError


class WatchedFile:
    """An open file, and what the system said of it: whoever writes into it, or cuts it, changes its size or time of change.

    Another file that takes its name changes nothing: this one stays open, with its bytes.  What the system does not say is not
    seen: writes within the clock tick of the last ones before, a time that was set back, or one that a network has not told yet.
    """

    def __init__(self, path, file):
        """path : its name in messages
        file : open, and may be closed afterwards"""
        self._path, self._descriptor = path, os.dup(file.fileno())
        self._was = _state(self._descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def require_unchanged(self):
        """DataError where somebody has written into the file."""
        if _state(self._descriptor) != self._was:
            raise DataError(
                f"{self._path}: the file was changed in place while it was in use; write a new file and rename it to this name, "
                "or open it with copy=True"
            )


def _state(descriptor):
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
