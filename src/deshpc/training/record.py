"""The run's record: one JSON line per report, written by rank 0 to record.jsonl in the run's directory."""

import json
import time
from pathlib import Path


class Record:
    """Appends reports to a file; each line holds "event", "time_s" since the start, and the report's own entries."""

    def __init__(self, directory, name="record.jsonl"):
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        self._file = open(path / name, "w", encoding="utf-8")  # noqa: SIM115  open as long as the run
        self._start = time.perf_counter()

    def write(self, event, **entries):
        """Add one line and flush it."""
        line = {"event": event, "time_s": round(time.perf_counter() - self._start, 3), **entries}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self):
        """Close the file."""
        self._file.close()


class NoRecord:
    """What the other ranks hold."""

    def write(self, event, **entries):
        """Nothing."""

    def close(self):
        """Nothing."""
