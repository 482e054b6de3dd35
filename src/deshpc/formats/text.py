"""Read CSV and TSV files into blocks of keys and numbers.  docs/data.md describes the formats."""

from dataclasses import replace

import numpy as np

from deshpc.errors import DataError
from deshpc.formats import header, tokens
from deshpc.formats.block import SHOWN_LENGTH, block_of, missing_hint, shown
from deshpc.formats.byte import occurrences
from deshpc.formats.carried import Carried
from deshpc.formats.cells import LabelParser, SampleWeightParser, parser_of
from deshpc.formats.path_values import PathColumns
from deshpc.formats.source import LongRow, Window
from deshpc.formats.words import missing_words

CHUNK_BYTES = 1 << 20
"""Text held in memory at a time; with the cells of a block it stays in a core's cache."""

_BLOCK_ROWS = 4000  # not a power of two: the cells of all columns would compete for the same cache lines
_BLANK = ": the line is blank; expected a row, as there are rows below it"
_DIALECTS = {"csv": (",", True), "tsv": ("\t", False)}  # separator, quoting
_LF, _QUOTE = ord("\n"), ord('"')


class Text:
    """The reader, as `formats.open` has it, for files whose columns are found by name: of a header line, or of the configuration."""

    divisible = True

    def __init__(self, config, schema, chunk_bytes=CHUNK_BYTES, keep=()):
        self.schema, self._keep = schema, keep
        self._separator, self._quoting = _DIALECTS[config.format]
        self._separator = config.delimiter or self._separator
        self.rows_are_lines = not self._quoting
        self._columns = None if config.header else list(config.columns)
        self._chunk_bytes = chunk_bytes
        fields = schema.key_fields + schema.dense_fields
        self._names = [field.name for field in fields]
        self._parsers = [parser_of(*column) for column in schema.columns]
        if schema.weight is not None:
            self._names.insert(0, schema.weight)
            self._parsers.insert(0, SampleWeightParser())
        for name, kind in reversed(schema.label_columns):
            self._names.insert(0, name)
            self._parsers.insert(0, LabelParser(config.positive if kind == "classes" else "", kind, schema.tasks > 0))
        self._missing = missing_words(config.missing)

    def divides(self, part):
        """Whether no line end of a Part is inside a cell: in CSV, whether there is no quote."""
        if not self._quoting:
            return True
        with Window(part, self._chunk_bytes) as window:
            while window.fill(1):
                if occurrences(window.data[: window.stop], _QUOTE):
                    return False
                window.pass_to(window.stop)
        return True

    def room(self, paths):
        """None: a cell may have any number of values."""

    def blocks(self, paths, bad_rows):
        """Columns, block by block, of one file after the other.  DataError names file, line and field."""
        for path in paths:
            with Window(path, self._chunk_bytes) as window:
                yield from self._file_blocks(window, bad_rows)

    def _file_blocks(self, window, bad_rows):
        columns, where = self._columns_of(window)
        of_path = PathColumns(window.path, self._names, columns, self._parsers, self._missing)
        own = [self._names[i] for i in of_path.own]
        header.require(columns, own, where, self._separator if self._columns is None else "")
        kept = PathColumns(window.path, self._keep, columns, (), None)
        header.require(columns, [self._keep[i] for i in kept.own], f"--keep: {where}")
        own += [self._keep[i] for i in kept.own if self._keep[i] not in own]
        slots = header.slots(columns, own)
        starts, stops = np.empty((2, len(own), _BLOCK_ROWS), np.int32)
        lines = np.empty(_BLOCK_ROWS, np.int64)
        separator = ord(self._separator)
        row, line = 0, 2 if window.begins_file and self._columns is None else 1
        more = True
        while more:
            begin = window.place
            rows, position, line, why, cells, cell, after = tokens.tokenise(
                window.data, window.start, window.stop, line, separator, self._quoting, slots, starts, stops, lines
            )
            window.pass_to(position)
            if rows:
                texts = [self._kept(window.data, kept, i, own, starts[:, :rows], stops[:, :rows]) for i in range(len(self._keep))]
                block = self._block(window, row, of_path, starts[:, :rows], stops[:, :rows], lines, bad_rows)
                block = replace(block, begin=begin, carried=Carried(row, tuple(texts)) if texts else None)
                row += rows
                if len(block) or texts:
                    yield block
            if why == tokens.TEXT_ENDS:
                more = window.fill(line)
            if why in (tokens.TEXT_ENDS, tokens.BLOCK_FULL):
                continue
            fault = _fault(why, columns, cells, window.data[cell:after], self._columns is None)
            if why == tokens.ROW_IS_OPEN:
                if not _read_on(window, line, fault, bad_rows):
                    row, line = row + 1, line + 1
            else:
                lines_lost = np.count_nonzero(window.data[window.start : after] == _LF)
                rows_lost = lines_lost if why == tokens.BLANK_LINES else 1
                _found_all(bad_rows, window, line, rows_lost, fault)
                window.pass_to(after)
                row, line = row + rows_lost, line + lines_lost
        if not window.ends_file:  # blank lines at the end of a Part are followed by one that is not
            _found_all(bad_rows, window, line, np.count_nonzero(window.data[window.start : window.stop] == _LF), _BLANK)

    def _columns_of(self, window):
        """Names of the file's columns, and where they are; a header is passed if the window begins with it."""
        if self._columns is not None:
            window.pass_mark()
            if window.start == window.stop and not window.fill(line=1):
                raise DataError(f"{window.path}: the file is empty; expected a row in every line")
            return self._columns, f"{window.path}: data.columns"
        columns = header.column_names(self._header(window), self._separator, self._quoting, window.path)
        return columns, f"{window.path}, line 1"

    def _header(self, window):
        """The first line of the window's file, which is passed if the window begins with it."""
        if window.begins_file:
            return window.first_line()
        with Window(window.path, self._chunk_bytes) as first:
            return first.first_line()

    def _kept(self, data, of_path, column, own, starts, stops):
        """[str] of the cells of a column that is kept.  own : names of the columns of starts and stops"""
        text = of_path.text(column)
        if text is not None:
            return [text.decode(errors="surrogateescape")] * starts.shape[1]
        slot = own.index(self._keep[column])
        begin, end = int(starts[slot].min()), int(stops[slot].max())
        text, cells = data[begin:end].tobytes(), zip((starts[slot] - begin).tolist(), (stops[slot] - begin).tolist(), strict=True)
        return [text[start:stop].decode(errors="surrogateescape") for start, stop in cells]

    def _block(self, window, row, of_path, starts, stops, lines, bad_rows):
        """The Columns of a block of cells, whose first row is number `row` of the file.

        of_path : PathColumns;  starts, stops : (own columns, n) int32
        """
        data, place = window.data, {column: slot for slot, column in enumerate(of_path.own)}
        filled = stops
        if self._missing:
            filled = np.array([self._missing.emptied(data, *cells) for cells in zip(starts, stops, strict=True)]).reshape(stops.shape)

        def parse(rows):
            some_starts, some_stops = (starts, filled) if rows is None else (starts[:, rows], filled[:, rows])
            return [
                parser.parse(data, some_starts[place[column]], some_stops[place[column]])
                if column in place
                else of_path.parse(column, some_starts.shape[1])
                for column, parser in enumerate(self._parsers)
            ]

        def complain(at, column, problem):
            cell = of_path.text(column)
            if cell is None:
                cell = data[starts[place[column], at] : stops[place[column], at]].tobytes()
            hint = missing_hint(cell) if self._names[column] not in (*dict(self.schema.label_columns), self.schema.weight) else ""
            where = f"{window.path}, line {window.line(lines[at])}, field {self._names[column]!r}"
            return f"{where}: {shown(cell)} {problem or f'is not {self._parsers[column].expected}{hint}'}"

        return block_of(self.schema, window.path, np.arange(row, row + starts.shape[1]), parse, complain, bad_rows)


def _found_all(bad_rows, window, line, rows, fault):
    """So many lines from number `line` on are bad rows."""
    bad_rows.found_all(rows, lambda i: f"{window.path}, line {window.line(line + i)}{fault}")


def _read_on(window, line, fault, bad_rows):
    """Whether there is more text for the row at the window's start.  If not, its first line is left behind as a bad row.

    A row that never ends has a quote that opens by mistake: the lines below it are rows again.
    """
    try:
        if window.fill(line):
            return True
    except LongRow as error:
        bad_rows.found(str(error))
    else:
        bad_rows.found(f"{window.path}, line {window.line(line)}{fault}")
    window.skip_line(line)
    return False


def _fault(why, columns, cells, text, has_header):
    """What is wrong with a row of a file with these `columns` after its first `cells` cells, where `text` begins."""
    if why == tokens.BLANK_LINES:
        return _BLANK
    if why == tokens.CELL_COUNT:
        return f": the row has {cells} cells; expected {len(columns)}, as in {'the header' if has_header else 'data.columns'}"
    field = f", field {columns[cells]!r}" if cells < len(columns) else ""
    start = shown(text[: SHOWN_LENGTH + 1].tobytes())
    if why == tokens.AFTER_QUOTE:
        return f"{field}: in {start} text follows the closing quote; expected a separator or the end of the line"
    return f"{field}: the quote that opens {start} is never closed"
