"""Read CSV and TSV files, plain or gzip, into columns of keys and numbers.  docs/data.md describes the formats."""

import numpy as np

from deshpc.config import DataConfig
from deshpc.data import header, tokens
from deshpc.data.cells import LabelParser, parser_of
from deshpc.data.columns import Columns
from deshpc.data.schema import Schema
from deshpc.data.source import Window
from deshpc.errors import DataError

CHUNK_BYTES = 1 << 20
"""Text held in memory at a time; with the cells of a block it stays in a core's cache."""

_BLOCK_ROWS = 4000  # not a power of two: the cells of all columns would compete for the same cache lines
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_BYTES_SHOWN = 40


def read(paths, config: DataConfig, chunk_bytes=CHUNK_BYTES) -> Columns:
    """The rows of all files, one file after the other, as the columns that `config` asks for.

    paths       : each file has a header line of its own, by which its columns are found
    chunk_bytes : text to hold at a time; a row may be longer

    DataError names the file, line and field that cannot be read.
    """
    schema = Schema.from_config(config)
    label = LabelParser()
    key_fields = [parser_of(field) for field in schema.key_fields]
    dense_fields = [parser_of(field) for field in schema.dense_fields]
    names = [schema.label, *(field.name for field in schema.key_fields + schema.dense_fields)]
    for path in paths:
        with Window(path, chunk_bytes) as window:
            _read_file(window, config.format, names, [label, *key_fields, *dense_fields])
    return Columns(
        key_fields=tuple(parser.column() for parser in key_fields),
        dense_fields=tuple(parser.column() for parser in dense_fields),
        labels=label.column(),
    )


def _read_file(window, file_format, names, parsers):
    """Hand the cells of the columns `names` to their parsers, block by block."""
    separator, quoting = _SEPARATORS[file_format], file_format == "csv"
    columns = header.column_names(window.first_line(), separator, quoting, window.path)
    slots = header.slots(columns, names, window.path)
    starts, stops = np.empty((2, len(names), _BLOCK_ROWS), np.int32)
    lines = np.empty(_BLOCK_ROWS, np.int64)
    line = 2
    why = tokens.BLOCK_FULL
    while why == tokens.BLOCK_FULL or (why == tokens.TEXT_ENDS and window.fill(line)):
        rows, window.start, line, why, cells, cell = tokens.tokenise(
            window.data, window.start, window.stop, line, ord(separator), quoting, slots, starts, stops, lines
        )
        bad = []
        for slot, parser in enumerate(parsers):
            row = parser.take(window.data, starts[slot, :rows], stops[slot, :rows])
            if row is not None:
                bad.append((row, slot))
        if bad:
            row, slot = min(bad)
            cell = _shown(window.data[starts[slot, row] : stops[slot, row]])
            where = f"{window.path}, line {lines[row]}, field {names[slot]!r}"
            raise DataError(f"{where}: {cell} is not {parsers[slot].expected}")
    rest = window.data[window.start : window.stop]
    if rest.tobytes().strip(b"\r\n"):
        complaint = _complaint(why, columns, cells, window.data[cell : window.stop])
        raise DataError(f"{window.path}, line {line}{complaint}")


def _complaint(why, columns, cells, text):
    """Why a row of a file with these `columns` cannot be read on after its first `cells` cells, where `text` begins."""
    if why == tokens.BLANK_LINE:
        return ": the line is blank; expected a row, as there are rows below it"
    if why == tokens.CELL_COUNT:
        return f": the row has {cells} cells; expected {len(columns)}, as in the header"
    field = f", field {columns[cells]!r}" if cells < len(columns) else ""
    if why == tokens.AFTER_QUOTE:
        return f"{field}: in {_shown(text)} text follows the closing quote; expected a separator or the end of the line"
    return f"{field}: the quote that opens {_shown(text)} is never closed"


def _shown(text):
    """The start of some bytes for a message."""
    start = text[:_BYTES_SHOWN].tobytes().decode(errors="backslashreplace")
    return repr(start) + ("..." if len(text) > _BYTES_SHOWN else "")
