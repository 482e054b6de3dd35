"""Files of scores, aligned with the rows that were scored: whole or absent."""

import csv
import gzip
from contextlib import suppress
from pathlib import Path

import numpy as np

from deshpc.errors import ConfigError, DataError
from deshpc.formats.carried import text_of
from deshpc.storage.whole_file import partial_name, publish, synchronise
from deshpc.training.carried_cells import CarriedCells


def require_suffix(path):
    """ConfigError unless `open_scores` has a writer for a file of this name."""
    if _kind(path) is None:
        raise ConfigError(f"--out {path}: the name must end in one of {', '.join(_KINDS)}")


def require_columns(keep, tasks=()):
    """ConfigError where a column that is carried along has a name that a file of scores has already."""
    for name in keep:
        if name in (*_OWN, *_columns_of(tasks)):
            raise ConfigError(f"--keep {name}: a file of scores has a column {name!r} of its own; give the input's column another name")


def open_scores(path, several_files, keep=(), carried=(), tasks=()):
    """A writer for `path`, by its suffix: .csv, .csv.gz or .parquet.

    several_files : whether rows are named by file and number; otherwise by number
    keep : names of the columns that are carried along
    carried : [Carried], the first ones, whose types columns of Parquet get
    tasks : names of the tasks, where there are several
    """
    return _kind(path)(path, several_files, keep, carried, tasks)


class _Scores:
    """Takes scores in the order of rows; a row that was left out gets none.

    Columns file (where there are several), row: number in its file, from 0, those that are carried along, and score: the prediction, or
    score_NAME of each of several tasks, empty where the row could not be read.  A context manager: without `finish` nothing is left.
    """

    def __init__(self, path, several_files, keep, carried, tasks):
        self._path, self._partial = Path(path), partial_name(path)
        self._keep, self._cells = keep, CarriedCells(len(keep))
        self._types = [_type_of(column) for column in carried[0].columns] if carried else [None] * len(keep)
        self._several_files, self._next, self._scores = several_files, 0, _columns_of(tasks)
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

    def carry(self, carried):
        """Take [Carried] of the rows that are written next."""
        for one in carried:
            self._cells.add(one)

    def write(self, file, rows, scores):
        """Scores (n), or (n, T), float64 of the rows (n), ascending, of a file; those before that were left out get their lines."""
        if len(rows):
            everything = np.full((int(rows[-1]) + 1 - self._next, len(self._scores)), np.nan)
            everything[rows - self._next] = scores.reshape(len(rows), -1)
            self._put(file, everything)

    def end_file(self, file, rows):
        """The file has so many rows: the next ones are of another file."""
        self._put(file, np.full((rows - self._next, len(self._scores)), np.nan))
        self._next = 0
        self._cells.end_file()

    def finish(self):
        """Close the file and give it its name."""

        def close():
            self._close()
            synchronise(self._partial)
            publish(self._partial, self._path)

        self._attempt(close)

    def _put(self, file, scores):
        numbers = np.arange(self._next, self._next + len(scores))
        cells = self._cells.take(self._next, self._next + len(scores))
        self._attempt(lambda: self._lines(str(file), numbers, cells, scores))
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
        self._file = opened(self._partial, "xt", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*["file"] * self._several_files, "row", *self._keep, *self._scores])

    def _lines(self, file, rows, cells, scores):
        texts = [["" if score != score else repr(score) for score in column] for column in scores.T.tolist()]
        columns = [[file] * len(rows)] if self._several_files else []
        self._writer.writerows(zip(*columns, rows.tolist(), *map(_texts, cells), *texts, strict=True))

    def _close(self):
        self._file.close()


class ParquetScores(_Scores):
    """Columns file: string, row: int64, those that are carried along, of strings where they come from text, else of their type,
    and score: float64, null where the row could not be read."""

    def _open(self):
        try:
            import pyarrow as pa
            import pyarrow.parquet as parquet
        except ImportError:
            raise ConfigError(f"--out {self._path} needs the package pyarrow: pip install 'deshpc[data]'") from None
        self._arrow = pa
        columns = [("file", pa.string())] if self._several_files else []
        self._types = [kind or pa.string() for kind in self._types]
        self._schema = pa.schema(
            [*columns, ("row", pa.int64()), *zip(self._keep, self._types, strict=True), *((name, pa.float64()) for name in self._scores)]
        )  # fmt: skip
        self._writer = parquet.ParquetWriter(self._partial, self._schema)

    def _lines(self, file, rows, cells, scores):
        if len(rows):
            columns = [self._arrow.array([file] * len(rows))] if self._several_files else []
            kept = [self._column(*column) for column in zip(self._keep, self._types, cells, strict=True)]
            columns += [self._arrow.array(rows), *kept, *(self._arrow.array(column, from_pandas=True) for column in scores.T)]
            self._writer.write_table(self._arrow.table(columns, schema=self._schema))

    def _column(self, name, kind, pieces):
        """An Arrow array of the pieces of a column; DataError where they are of no type that fits."""
        pa = self._arrow
        try:
            return pa.concat_arrays([_array(pa, piece, kind) for piece in pieces])
        except pa.ArrowException as error:
            raise DataError(f"{self._path}: --keep {name}: files have columns of different types: {error}") from None

    def _close(self):
        self._writer.close()


class NoScores:
    """What the other ranks hold."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Nothing."""

    def carry(self, carried):
        """Nothing."""

    def write(self, file, rows, scores):
        """Nothing."""

    def end_file(self, file, rows):
        """Nothing."""

    def finish(self):
        """Nothing."""


def _kind(path):
    return next((kind for suffix, kind in _KINDS.items() if str(path).endswith(suffix)), None)


def _columns_of(tasks):
    """Names of the columns of predictions."""
    return [f"score_{name}" for name in tasks] or ["score"]


def _type_of(column):
    """The Arrow type of a column of a Carried, None of texts."""
    return None if isinstance(column, list) else column.type


def _texts(pieces):
    """All values of the pieces of a column as text."""
    for piece in pieces:
        if isinstance(piece, int):
            yield from [""] * piece
        else:
            yield from piece if isinstance(piece, list) else map(text_of, piece)


def _array(pa, piece, kind):
    if isinstance(piece, int):
        return pa.nulls(piece, kind)
    if isinstance(piece, list):
        piece = pa.array([text.encode(errors="surrogateescape").decode(errors="replace") for text in piece], pa.string())
    return piece if piece.type == kind else piece.cast(kind)


_OWN = ("file", "row", "score")
_KINDS = {".csv": CsvScores, ".csv.gz": CsvScores, ".parquet": ParquetScores}
