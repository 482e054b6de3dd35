"""Files of scores, aligned with the rows that were scored: whole or absent."""

import csv
import gzip
from contextlib import suppress
from pathlib import Path

import numpy as np

from deshpc.errors import ConfigError, DataError
from deshpc.storage.whole_file import partial_name, publish, synchronise


def require_suffix(path):
    """ConfigError unless `open_scores` has a writer for a file of this name."""
    if _kind(path) is None:
        raise ConfigError(f"--out {path}: the name must end in one of {', '.join(_KINDS)}")


def open_scores(path, several_files):
    """A writer for `path`, by its suffix: .csv, .csv.gz or .parquet.

    several_files : whether rows are named by file and number; otherwise by number
    """
    return _kind(path)(path, several_files)


class _Scores:
    """Takes scores in the order of rows; a row that was left out gets none.

    Columns file (where there are several), row: number in its file, from 0, and score: the prediction, empty where the row
    could not be read.  A context manager: without `finish` nothing is left.
    """

    def __init__(self, path, several_files):
        self._path, self._partial = Path(path), partial_name(path)
        self._several_files, self._next = several_files, 0
        try:
            self._attempt(self._open)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with suppress(OSError, AttributeError):  # after `finish` there is nothing left to close; nor where it could not be opened
            self._close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def write(self, file, rows, scores):
        """Scores (n) float64 of the rows (n), ascending, of a file; those before that were left out get their lines."""
        if len(rows):
            everything = np.full(int(rows[-1]) + 1 - self._next, np.nan)
            everything[rows - self._next] = scores
            self._put(file, everything)

    def end_file(self, file, rows):
        """The file has so many rows: the next ones are of another file."""
        self._put(file, np.full(rows - self._next, np.nan))
        self._next = 0

    def finish(self):
        """Close the file and give it its name."""

        def close():
            self._close()
            synchronise(self._partial)
            publish(self._partial, self._path)

        self._attempt(close)

    def _put(self, file, scores):
        numbers = np.arange(self._next, self._next + len(scores))
        self._attempt(lambda: self._lines(str(file), numbers, scores))
        self._next += len(scores)

    def _attempt(self, task):
        try:
            task()
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written: {error.strerror or error}") from None


class CsvScores(_Scores):
    """Text; scores with all digits of a float64."""

    def _open(self):
        opened = gzip.open if self._path.suffix == ".gz" else open
        self._file = opened(self._partial, "xt", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["file", "row", "score"] if self._several_files else ["row", "score"])

    def _lines(self, file, rows, scores):
        texts = ["" if score != score else repr(score) for score in scores.tolist()]
        columns = [[file] * len(rows)] if self._several_files else []
        self._writer.writerows(zip(*columns, rows.tolist(), texts, strict=True))

    def _close(self):
        self._file.close()


class ParquetScores(_Scores):
    """Columns file: string, row: int64, score: float64, null where the row could not be read."""

    def _open(self):
        try:
            import pyarrow as pa
            import pyarrow.parquet as parquet
        except ImportError:
            raise ConfigError(f"--out {self._path} needs the package pyarrow: pip install 'deshpc[data]'") from None
        self._arrow = pa
        columns = [("file", pa.string())] if self._several_files else []
        self._schema = pa.schema([*columns, ("row", pa.int64()), ("score", pa.float64())])
        self._writer = parquet.ParquetWriter(self._partial, self._schema)

    def _lines(self, file, rows, scores):
        if len(rows):
            columns = [self._arrow.array([file] * len(rows))] if self._several_files else []
            columns += [self._arrow.array(rows), self._arrow.array(scores, from_pandas=True)]
            self._writer.write_table(self._arrow.table(columns, schema=self._schema))

    def _close(self):
        self._writer.close()


class NoScores:
    """What the other ranks hold."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Nothing."""

    def write(self, file, rows, scores):
        """Nothing."""

    def end_file(self, file, rows):
        """Nothing."""

    def finish(self):
        """Nothing."""


def _kind(path):
    return next((kind for suffix, kind in _KINDS.items() if str(path).endswith(suffix)), None)


_KINDS = {".csv": CsvScores, ".csv.gz": CsvScores, ".parquet": ParquetScores}
