"""Text without a header in which a line is a row: files to blocks of rows, and what becomes of lines that are none."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deshpc.errors import DataError
from deshpc.formats import source
from deshpc.formats.byte import byte, occurrences
from deshpc.formats.source import LongRow, Window
from deshpc.jit import kernel

CHUNK_BYTES = 1 << 20
"""Text held in memory at a time; with the block made of it, it stays in a core's cache."""

BLOCK_ROWS = 65_536
"""Most rows of a block."""

# Why a block's `read` stopped before a line; a format's own reasons are OTHER and above.
BLOCK_ENDS, BLANK_LINE, COMMENT_LINE, OTHER = range(4)

_BLANK = ": the line is blank; expected a row, as there are lines below it"
_LF, _CR, _SPACE, _TAB, _HASH = (ord(character) for character in "\n\r \t#")


def blocks(paths, bad_rows, new_block, chunk_bytes):
    """The rows of one file after the other as Columns, block by block.

    paths       : of files, or Parts of files, whose rows are numbered from 0
    chunk_bytes : text to hold at a time; a row may be longer
    bad_rows    : a BadRows, told of every line that is not a row; blank lines at the end of a file are nothing
    new_block   : new_block(data, start, end) has room for the complete lines data[start:end], at most BLOCK_ROWS, and

        read(data, position, end, rows)  reads on from `position`, where it has `rows` rows, up to the first line that is
                                         not a row: (rows, position of that line, why, where), `where` for `complaint`
        complaint(text, why, where)      what is wrong with that line and what was expected, as the end of a message
        columns(rows)                    the block as Columns, given the rows' numbers (n) int64
        loose                            whether a line of white space is blank, and one whose text begins with # a comment

    DataError for a file without any text, whatever becomes of bad rows.
    """
    for path in paths:
        with Window(path, chunk_bytes) as window:
            yield from _File(window, bad_rows, new_block).blocks()


@dataclass
class _File:
    """A file being read.

    line, row : numbers of the line at window.start, from 1, and of its row, from 0: a comment is a line but not a row; in a
                Part they count from its beginning
    blanks    : the blank lines just before it
    """

    window: Window
    bad_rows: Any
    new_block: Any
    line: int = 1
    row: int = 0
    blanks: int = 0

    def blocks(self):
        window = self.window
        window.pass_mark()
        while True:
            end = _after_last_line(window.data, window.start, window.stop)
            while window.start < end:
                columns = self._block(end)
                if len(columns):
                    yield columns
            try:
                if not window.fill(self.line):
                    break
            except LongRow:
                self._blanks_found()
                self._found(self.line, f": the row is longer than {source.MAX_ROW_BYTES} bytes; is a line end missing?")
                window.skip_line(self.line)
                self.line += 1
                self.row += 1
        if not window.ends_file:  # a part is followed by a line that is not blank
            self._blanks_found()
        elif window.begins_file and self.line == 1 + self.blanks:
            raise DataError(f"{window.path}: the file is empty; expected a row in every line")

    def _block(self, end):
        """As many of the lines before data[end] as a block takes."""
        window = self.window
        begin, block = window.place, self.new_block(window.data, window.start, end)
        rows, numbers, why = 0, [], None
        while why != BLOCK_ENDS:
            before = rows
            rows, position, why, where = block.read(window.data, window.start, end, rows)
            window.pass_to(position)
            if self.blanks and (rows > before or why not in (BLOCK_ENDS, BLANK_LINE)):
                self._blanks_found()
            numbers.append(np.arange(self.row, self.row + rows - before))
            self.line += rows - before
            self.row += rows - before
            if why != BLOCK_ENDS:
                self._not_a_row(block, end, why, where)
        return replace(block.columns(np.concatenate(numbers)), begin=begin)

    def _not_a_row(self, block, end, why, where):
        """Pass the line at window.start, where a block's `read` has stopped; of blank ones and comments all alike before `end`."""
        data, start, lines = self.window.data, self.window.start, 1
        if why >= OTHER:
            after = _after_line(data, start, self.window.stop)
            text = data[start : after - 1].tobytes().removesuffix(b"\r")
            self._found(self.line, block.complaint(text, why, where))
        else:
            after, lines = _after_alike(data, start, end, block.loose, why == COMMENT_LINE)
        self.blanks += lines if why == BLANK_LINE else 0
        self.row += lines if why != COMMENT_LINE else 0
        self.line += lines
        self.window.pass_to(after)

    def _blanks_found(self):
        """A line follows the blank ones, if there are any: they are bad rows."""
        first = self.line - self.blanks
        self.bad_rows.found_all(self.blanks, lambda i: self._at(first + i, _BLANK))
        self.blanks = 0

    def _found(self, line, complaint):
        self.bad_rows.found(self._at(line, complaint))

    def _at(self, line, complaint):
        return f"{self.window.path}, line {self.window.line(line)}{complaint}"


def count(files, wanted, chunk_bytes):
    """(lines, and bytes `wanted` unless that is None) in files, or Parts of files, of plain text."""
    lines, found = 0, 0
    for file in files:
        with Window(file, chunk_bytes) as window:
            last = _LF
            while window.fill(1):
                text = window.data[: window.stop]
                lines += occurrences(text, _LF)
                found += occurrences(text, wanted) if wanted is not None else 0
                last = text[-1] if len(text) else last
                window.pass_to(window.stop)
            lines += int(last != _LF)
    return lines, found


@kernel
def _after_last_line(data, start, stop):
    """Where the last line that ends in data[start:stop] ends; start, if none does."""
    while stop > start and byte(data, stop - 1) != _LF:
        stop -= 1
    return stop


@kernel
def _after_line(data, start, stop):
    """Where the first line of data[start:stop] ends; stop, if none does."""
    while start < stop and byte(data, start) != _LF:
        start += 1
    return min(start + 1, stop)


@kernel
def _after_alike(data, start, end, loose, comments):
    """(where the line at `start` and those like it that follow, blank ones or comments, end; how many they are).

    data[end - 1] is a line feed;  loose : see `blocks`
    """
    lines, after = 0, start
    while start < end:
        i = start
        while (loose and (byte(data, i) == _SPACE or byte(data, i) == _TAB)) or (
            byte(data, i) == _CR and (loose or byte(data, i + 1) == _LF)
        ):
            i += 1
        if byte(data, i) != (_HASH if comments else _LF):
            break
        while byte(data, i) != _LF:
            i += 1
        start = i + 1
        after = start
        lines += 1
    return after, lines
