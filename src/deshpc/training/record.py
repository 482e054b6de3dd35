"""The run's record: one JSON line per report, written by rank 0 to record.jsonl in the run's directory."""

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from deshpc.comm.console import say


class Record:
    """Appends reports to a file; each line holds "event", "time_s" since the start, and the report's own entries.

    A line that cannot be written (the disk is full) is left out as a whole; the first time a warning says so.
    append : keep the lines of the run that this one goes on from, but for a last one that was cut off
    """

    def __init__(self, directory, name="record.jsonl", append=False):
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        if append:
            _cut_to_whole_lines(path / name)
        self._path = path / name
        self._file = open(self._path, "ab" if append else "wb", buffering=0)  # noqa: SIM115  open as long as the run
        self._start, self._complete = time.perf_counter(), True

    def write(self, event, **entries):
        """Add one line."""
        line = {"event": event, "time_s": round(time.perf_counter() - self._start, 3), **entries}
        data, end = json.dumps(line).encode() + b"\n", self._file.seek(0, os.SEEK_END)
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


def _cut_to_whole_lines(path):
    if path.exists():
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


class NoRecord:
    """What the other ranks hold."""

    def write(self, event, **entries):
        """Nothing."""

    def close(self):
        """Nothing."""
