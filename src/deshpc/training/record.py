"""The run's record: one JSON line per report, written by rank 0 to record.jsonl in the run's directory."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from deshpc.launch.console import say
from deshpc.storage.strict_json import json_text

_NAME = "record.jsonl"


class Record:
    """Appends reports to a file; each line holds "event", "time_s" since the start, and the report's own entries.

    A line that cannot be written (the disk is full) is left out as a whole; the first time a warning says so.
    append : keep the lines of the run that this one goes on from, but for a last one that was cut off.  Otherwise it is a new
    file, so that a run that has lost its folder writes to the old one, which has no name any more.
    held : called before each line, raises unless the folder is still this run's
    """

    def __init__(self, directory, append=False, held=lambda: None):
        self._path = Path(directory) / _NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            with suppress(FileNotFoundError):
                self._path.unlink()
        self._file = _open(self._path)
        self._held, self._start, self._complete = held, time.perf_counter(), True

    def write(self, event, **entries):
        """Add one line."""
        self._held()
        line = {"event": event, "time_s": round(time.perf_counter() - self._start, 3), **entries}
        data, end = json_text(line).encode() + b"\n", self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(data) == len(data):
                return
            why = os.strerror(errno.ENOSPC)
        except OSError as error:
            why = error.strerror
        with suppress(OSError):
            self._file.truncate(end)
        if self._complete:
            say(f"deshpc: warning: {self._path} cannot be written: {why}: lines of it will be missing\n")
        self._complete = False

    def close(self):
        """Close the file."""
        with suppress(OSError):
            self._file.close()


def _open(path):
    """The file, to add whole lines to; OSError where it is anything but a regular file, such as a link to one elsewhere."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with open(file, "rb+", closefd=False) as whole:
        whole.truncate(whole.read().rfind(b"\n") + 1)
    return open(file, "ab", buffering=0)


class NoRecord:
    """What the other ranks hold."""

    def write(self, event, **entries):
        """Nothing."""

    def close(self):
        """Nothing."""
