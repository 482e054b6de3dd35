"""The run's record: one JSON line per report, written by rank 0 to record.jsonl in the run's directory."""

import time
from pathlib import Path

from deshpc.storage.strict_json import json_text


class Record:
    """Appends reports to a file; each line holds "event", "time_s" since the start, and the report's own entries.

    append : keep the lines of the run that this one goes on from, but for a last one that was cut off
    """

    def __init__(self, directory, name="record.jsonl", append=False):
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        if append:
            _cut_to_whole_lines(path / name)
        self._file = open(path / name, "a" if append else "w", encoding="utf-8")  # noqa: SIM115  open as long as the run
        self._start = time.perf_counter()

    def write(self, event, **entries):
        """Add one line and flush it."""
        line = {"event": event, "time_s": round(time.perf_counter() - self._start, 3), **entries}
        self._file.write(json_text(line) + "\n")
        self._file.flush()

    def close(self):
        """Close the file."""
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
