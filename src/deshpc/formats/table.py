"""Tables in memory, read as a Parquet file with the same columns is: the same keys, numbers and labels, the same complaints."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from deshpc.errors import ConfigError, DataError
from deshpc.formats.parquet import ArrowRows, Parquet

_BLOCK_ROWS = 16_384


class ArrowStream(Protocol):
    """Whatever hands its rows out as Arrow does: tables of pandas, polars and pyarrow, results of queries."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule with a stream of record batches."""


TableLike: TypeAlias = ArrowStream | Mapping[str, Any]
"""What `arrow_table` takes, and is not only known by its methods: a dictionary's columns are lists or arrays."""

_KINDS = "a table of pandas, polars or pyarrow, an object with __arrow_c_stream__, or a dictionary of columns"


@dataclass(frozen=True)
class TablePart:
    """The rows begin .. end of a pyarrow.Table.  name : of the table, for messages"""

    name: str
    table: object
    begin: int
    end: int

    def __str__(self):
        return f"the table {self.name}"


class Table(Parquet):
    """The reader, as `formats.open` has it, for TableParts in the place of paths.  Rows are numbered as in the table."""

    kind = "a table"

    def blocks(self, parts, bad_rows):
        """Columns, block by block.  DataError names table, row (from 0) and field."""
        for part in parts:
            rows = ArrowRows(self, part.name, bad_rows)
            chosen = part.table.select(rows.choose(part.table.schema))
            for begin in range(part.begin, part.end, _BLOCK_ROWS):
                batch = _batch(chosen, begin, min(begin + _BLOCK_ROWS, part.end))
                if len(block := rows.block(begin, batch)) or self.keep:
                    yield block


def is_table(given):
    """Whether something is a table for `arrow_table`, and no name of a file or list of such."""
    if isinstance(given, Mapping) or hasattr(given, "__arrow_c_stream__") or hasattr(given, "to_table"):
        return True
    return hasattr(given, "columns") and hasattr(given, "shape")


def arrow_table(given, name, columns=None):
    """The pyarrow.Table of a table.  ConfigError where it is none, DataError where pyarrow cannot take a column.

    given : a table of pandas, polars or pyarrow, a dictionary of columns, or anything with __arrow_c_stream__ or to_table(), as data sets
    have; a stream is read once
    name : of it, for messages
    columns : names of those that are needed, others are left out; None: all
    """
    if not is_table(given):
        raise ConfigError(f"{name}: a {type(given).__name__} is no table; expected {_KINDS}")
    try:
        import pyarrow
    except ImportError:
        raise ConfigError(f"{name}: tables need the package pyarrow: pip install 'deshpc[data]'") from None
    try:
        return _taken(given, columns, pyarrow)
    except (pyarrow.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        problem = " ".join(str(one) for one in error.args)
        raise DataError(f"{name}: cannot be read as a table: {problem}") from None


def described(kind, table):
    """What a table is, in a few words.  kind : its type;  table : it, as a pyarrow.Table"""
    return f"a {kind.__module__.partition('.')[0]} {kind.__name__}, {table.num_rows:,} rows".replace("a builtins ", "a ")


def digest(table):
    """SHA-256 of the names, types and values of a pyarrow.Table, however it is divided into chunks, as hexadecimal text."""
    import pyarrow as pa

    found = hashlib.sha256(repr([(one.name, str(one.type)) for one in table.schema]).encode())
    for begin in range(0, table.num_rows, _BLOCK_ROWS):
        batch = _batch(table, begin, min(begin + _BLOCK_ROWS, table.num_rows))
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            packed, sink = column.take(np.arange(len(column))), io.BytesIO()  # no offset, nothing under nulls
            with pa.ipc.new_stream(sink, pa.schema([pa.field("", packed.type)])) as stream:
                stream.write_batch(pa.record_batch([packed], [""]))
            found.update(sink.getvalue())
    return found.hexdigest()


def _batch(table, begin, end):
    """The RecordBatch of some rows, at least one."""
    import pyarrow as pa

    some = table.slice(begin, end - begin).combine_chunks()
    return pa.record_batch([column.chunk(0) for column in some.columns], schema=some.schema) if some.num_columns else some.to_batches()[0]


def _taken(given, columns, pyarrow):
    if isinstance(given, Mapping):
        given = {str(name): values for name, values in given.items()}
        return pyarrow.table({name: _column(given[name], name, pyarrow) for name in _wanted(given, columns)})
    if isinstance(given, (pyarrow.Table, pyarrow.RecordBatch)):
        table = given if isinstance(given, pyarrow.Table) else pyarrow.Table.from_batches([given])
    elif type(given).__module__.partition(".")[0] == "pandas":
        named = given.rename(columns=str)  # names may be numbers
        return pyarrow.Table.from_pandas(named[_wanted(list(named.columns), columns)], preserve_index=False)
    elif hasattr(given, "__arrow_c_stream__"):
        table = pyarrow.table(given)
    elif hasattr(given, "schema") and hasattr(given.schema, "names"):
        return given.to_table(columns=_wanted(given.schema.names, columns))  # a data set of pyarrow, whose other columns nobody reads
    else:
        table = given.to_table() if hasattr(given, "to_table") else given.to_arrow()
    return table if columns is None else table.select(_wanted(table.column_names, columns))


def _wanted(names, columns):
    """Those of some names that are needed; of a column that is missing, its reader will say so."""
    return list(names) if columns is None else [name for name in names if name in columns]


def _column(values, name, pyarrow):
    if getattr(values, "ndim", 1) != 1:
        raise DataError(f"column {name!r} has {values.ndim} dimensions; expected 1: a cell a row")
    return pyarrow.array(values)
