"""The first rows of a file of which nothing is known yet: its format, its columns' names, its cells as texts."""

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice

from deshpc.errors import DataError
from deshpc.formats.header import column_names
from deshpc.formats.recognise import is_parquet
from deshpc.formats.source import Window

ROWS = 5000
"""Rows that are looked at."""

_BYTES = 4 << 20  # of text in which they are looked for
_DELIMITERS = ",\t;|\x01"
_LOOKED_AT, _ALIKE = 200, 0.95  # rows that tell the delimiter, and how many of them have to have the same number of cells
_LIBSVM = re.compile(r"[-+]?[0-9.]+(\s+[0-9]+:[-+0-9.eE]+)+\s*(#.*)?")
_LIBFFM = re.compile(r"[-+]?[0-9.]+(\s+[0-9]+:[0-9]+:[-+0-9.eE]+)+\s*(#.*)?")
_READ = ("number", "decimal", "text", "list", "pairs", "time")  # kinds of columns, of Parquet and of tables, that can be looked at
_CRITEO = re.compile(r"[01]\t(-?[0-9]*\t){13}([0-9a-f]{0,8}\t){25}[0-9a-f]{0,8}")


@dataclass(frozen=True)
class Sample:
    """What the first rows of a file tell.

    format    : of `data.format`
    delimiter : the character between cells; that of the format where it is empty
    header    : whether the columns' names are those of the file; else they are c1, c2, ...
    columns   : {name: cells of the rows as texts, empty where they are missing}; empty where the format knows its fields
    types     : {name: "number", "decimal", "text", "list", "pairs", "time", or why it cannot be read, in words}; empty for text
    unusable  : {name: why a text's column cannot be read by it}
    row_bytes : mean of the rows
    libffm_fields : one more than the largest field of libffm that was seen
    """

    format: str
    delimiter: str = ""
    header: bool = True
    columns: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    row_bytes: float = 1.0
    libffm_fields: int = 0


def sample_of(path):
    """The Sample of a file, Parquet or text, compressed or not.  DataError where it cannot be read or has no columns."""
    if is_parquet(path):
        return _of_parquet(path)
    text = _beginning(path)
    lines = [line for line in text.splitlines()[:_LOOKED_AT] if line.strip() and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path}: the file is empty; expected rows")
    mean = len(text.encode()) / max(1, text.count("\n"))
    for format, pattern in (("criteo", _CRITEO), ("libffm", _LIBFFM), ("libsvm", _LIBSVM)):
        if all(pattern.fullmatch(line) for line in lines):
            numbers = [int(token.partition(":")[0]) for line in lines for token in line.split()[1:] if format == "libffm" and ":" in token]
            return Sample(format, row_bytes=mean, libffm_fields=1 + max(numbers, default=-1))
    return _of_cells(path, text, mean)


def together(samples):
    """One Sample of several files': the rows of all in the columns of the first, of which some may be unusable in another.

    samples : {path: Sample}, not empty
    """
    first = next(iter(samples.values()))
    columns, unusable = {name: [] for name in first.columns}, dict(first.unusable)
    for path, sample in samples.items():
        for name in columns:
            columns[name] += sample.columns.get(name, [])
            if name not in sample.columns:
                unusable.setdefault(name, f"{path} has no such column")
            elif name in sample.unusable:
                unusable.setdefault(name, f"in {path} {sample.unusable[name]}")
    return replace(first, columns=columns, unusable=unusable)


def _beginning(path):
    """The first whole lines of a text."""
    with Window(path, _BYTES) as window:
        window.pass_mark()
        while window.stop - window.start < _BYTES and window.fill(line=1):
            pass
        data = window.data[window.start : window.stop].tobytes()
    return data[: data.rfind(b"\n") + 1 or None].decode(errors="backslashreplace")


def _of_cells(path, text, row_bytes):
    cells, delimiter, quoting = max(_consistent(text), default=(1, "", True), key=lambda found: found[0])
    if cells < 2:
        raise DataError(f"{path}: its lines are not divided into the same number of cells by a comma, tab, semicolon or |")
    rows = [row for row in _rows(text, delimiter, quoting, ROWS + 1) if len(row) == cells]
    header = _is_header(rows)
    names = [f"c{i + 1}" for i in range(cells)]
    if header:
        names = column_names(text.partition("\n")[0].removesuffix("\r").encode(), delimiter, quoting, path)
        if len(names) != cells:
            raise DataError(f"{path}, line 1: the header has {len(names)} cells between {delimiter!r}; most rows below it have {cells}")
    columns, unusable = {}, {}
    for i, name in enumerate(names):
        columns.setdefault(name, [row[i] for row in rows[header:]])
        if not name or names.count(name) > 1:
            unusable[name] = "several columns have this name" if name else "the column has no name"
    format = "csv" if quoting else "tsv"
    return Sample(format, "" if delimiter == ("," if quoting else "\t") else delimiter, header, columns, {}, unusable, row_bytes)


def _consistent(text):
    """(cells, delimiter, quoting) of delimiters that divide nearly all rows into as many cells."""
    for delimiter in _DELIMITERS:
        quoting = delimiter != "\t" or bool(re.search(r'(^|\t)"[^\t\n]*"(\t|\r?$)', text[:100_000], re.MULTILINE))
        rows = _rows(text, delimiter, quoting, _LOOKED_AT)
        if rows:
            cells, count = Counter(map(len, rows)).most_common(1)[0]
            if count >= _ALIKE * len(rows):
                yield cells, delimiter, quoting


def _rows(text, delimiter, quoting, most):
    how = {} if quoting else {"quoting": csv.QUOTE_NONE}
    try:
        return [row for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **how), most) if row]
    except csv.Error:
        return []


def _is_header(rows):
    """Whether the first row has names: no number, no name twice, and nothing that the rows below have in the same column."""
    names = rows[0]
    if any(is_number(name) for name in names) or len(set(names) - {""}) < len(names) / 2:
        return False
    columns = list(zip(*rows[1:], strict=True))
    if any(column and sum(map(is_number, column)) > len(column) / 2 for column in columns):
        return True
    return all(name not in column for name, column in zip(names, columns, strict=True)) if columns else True


def is_number(text):
    """Whether a text is a finite number."""
    try:
        return text.strip().lower().lstrip("+-")[:1] not in ("i", "n") and "_" not in text and float(text) is not None
    except ValueError:
        return False


def _of_parquet(path):
    import pyarrow.types as types

    from deshpc.formats.record_batches import record_batches

    kinds = {}

    def choose(schema):
        kinds.update({name: _kind(schema.field(i).type, types) for i, name in enumerate(schema.names)})
        unknown = [name for name in kinds if schema.names.count(name) > 1]
        kinds.update(dict.fromkeys(unknown, "several columns have this name"))
        chosen = [name for name, kind in kinds.items() if kind in _READ]
        if not chosen:
            raise DataError(f"{path}: none of its columns has a type that can be read")
        return chosen

    batch = next(record_batches(str(path), choose, ROWS, 64 << 20), None)
    if batch is None or not len(batch):
        raise DataError(f"{path}: the file is empty; expected rows")
    return Sample("parquet", columns=_texts(batch, kinds), types=kinds, row_bytes=max(1.0, batch.nbytes / len(batch)))


def sample_of_table(table, name):
    """The Sample of a pyarrow.Table: rows at equal distances.  DataError where it is empty.  name : of it, for messages

    What is encoded as a dictionary, as pandas does with categories, is taken for texts, though they may be numbers.
    """
    import numpy as np
    import pyarrow.types as types

    if not table.num_rows:
        raise DataError(f"{name}: the table is empty; expected rows")
    some = table.take(np.linspace(0, table.num_rows - 1, min(ROWS, table.num_rows)).astype(np.int64))
    kinds = {one.name: "text" if types.is_dictionary(one.type) else _kind(one.type, types) for one in table.schema}
    return Sample("table", columns=_texts(some, kinds), types=kinds, row_bytes=max(1.0, table.nbytes / table.num_rows))


def _texts(rows, kinds):
    """{name: cells as texts} of a table or batch, empty ones where a column cannot be read."""
    read = [name for name, kind in kinds.items() if kind in _READ and rows.schema.names.count(name) == 1]
    return {name: [_text(value) for value in rows.column(name).to_pylist()] if name in read else [""] * len(rows) for name in kinds}


def _kind(kind, types):
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_type
        if types.is_struct(inner):
            return "pairs" if sorted(one.name for one in inner) == ["value", "weight"] else f"its type is {kind}"
        return "list" if _kind(inner, types) == "text" or types.is_integer(inner) else f"its type is {kind}"
    if types.is_map(kind):
        return "pairs"
    if types.is_temporal(kind):
        return "time"
    if types.is_decimal(kind):
        return "decimal"
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_boolean)
    return "text" if any(is_text(kind) for is_text in texts) else f"its type is {kind}"


def _text(value):
    """A value of Parquet as a cell of text."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (list, dict)):
        return "|".join(map(str, value))
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
