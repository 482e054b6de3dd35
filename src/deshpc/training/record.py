"""The run's record: one JSON line per report, written by rank 0 to record.jsonl in the run's directory."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from deshpc.storage.strict_json import json_text

_NAME = "record.jsonl"


class Record:
    """Appends reports to a file; each line holds "event", "time_s" since the start, and the report's own entries.

    append : keep the lines of the run that this one goes on from, but for a last one that was cut off.  Otherwise it is a new
    file, so that a run that has lost its folder writes to the old one, which has no name any more.
    held : called before each line, raises unless the folder is still this run's
    """

    def __init__(self, directory, append=False, held=lambda: None):
        path = Path(directory) / _NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            with suppress(FileNotFoundError):
                path.unlink()
        self._file = _open(path)
        self._held, self._start = held, time.perf_counter()

    def write(self, event, **entries):
        """Add one line and flush it."""
        self._held()
        line = {"event": event, "time_s": round(time.perf_counter() - self._start, 3), **entries}
        self._file.write(json_text(line) + "\n")
        self._file.flush()

    def close(self):
        """Close the file."""
        self._file.close()


def _open(path):
    """The file, to add whole lines to; OSError where it is anything but a regular file, such as a link to one elsewhere."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with open(file, "rb+", closefd=False) as whole:
        whole.truncate(whole.read().rfind(b"\n") + 1)
    return open(file, "a", encoding="utf-8")


class NoRecord:
    """What the other ranks hold."""

    def write(self, event, **entries):
        """Nothing."""

    def close(self):
        """Nothing."""
