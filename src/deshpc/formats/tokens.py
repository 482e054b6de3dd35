"""Separated text to cells as a kernel: where each wanted cell of each row starts and stops.

Rows end in LF or CRLF.  With quoting (RFC 4180) a cell that begins with a quote runs to the next quote that is not
doubled, and may hold separators, line ends and doubled quotes; a quote inside any other cell is an ordinary byte.
"""

from deshpc.formats.byte import byte
from deshpc.jit import kernel

# Why the kernel stopped.
BLOCK_FULL = 0
TEXT_ENDS = 1  # before the next row, or after blank lines
ROW_IS_OPEN = 2  # the text ends inside a row
BLANK_LINES = 3  # and a row after them: blank lines at the end of a file are nothing
CELL_COUNT = 4  # the row has more or fewer cells than there are columns
AFTER_QUOTE = 5  # a closing quote is followed by neither a separator nor a line end

_LF, _CR, _QUOTE = ord("\n"), ord("\r"), ord('"')


@kernel
def tokenise(data, position, stop, line, separator, quoting, slots, starts, stops, lines):
    """Find the wanted cells of the complete rows in data[position:stop], up to a full block.

    data          : (any) uint8           quoted cells of complete rows lose their doubled quotes, in place
    position      : int64                 start of a row, on physical line `line`
    separator     : int64                 the byte between cells
    quoting       : bool
    slots         : (columns) int32       the slot of each column's cells, -1 where unwanted
    starts, stops : (slots, rows) int32   out: the cell is data[start:stop]
    lines         : (rows) int64          out: physical line on which the row starts

    Returns (rows, position, line, why, cells, cell, after): the rows found; where and on which line the next row starts;
    why the kernel stopped there.  Where that row (or some blank lines) is at fault, or open: how many of its cells come
    before the fault, or the end; where the next cell starts; and where the row after it starts, or the text ends.
    """
    for row in range(len(lines)):
        i = position
        while i < stop and (byte(data, i) == _LF or (byte(data, i) == _CR and i + 1 < stop and byte(data, i + 1) == _LF)):
            i += 1
        if i == stop or (byte(data, i) == _CR and i + 1 == stop):
            return row, position, line, TEXT_ENDS, 0, position, position
        if i > position:
            return row, position, line, BLANK_LINES, 0, position, i
        cells = 0
        inner_lines = 0
        fault_cells = -1
        fault_cell = position
        doubled = False
        row_ended = False
        while not row_ended:
            cell = i
            if quoting and i < stop and byte(data, i) == _QUOTE:
                first = i + 1
                last, breaks, pairs = _closing_quote(data, first, stop)
                inner_lines += breaks
                doubled |= pairs > 0
                i = last + 1
                if i + 1 < stop and byte(data, i) == _CR and byte(data, i + 1) == _LF:
                    i += 1
                behind = i
                while i < stop and byte(data, i) != separator and byte(data, i) != _LF:
                    i += 1
                if i > behind and fault_cells < 0:
                    fault_cells, fault_cell = cells, cell
            else:
                first = i
                while i < stop and byte(data, i) != separator and byte(data, i) != _LF:
                    i += 1
                last = i
                if i < stop and byte(data, i) == _LF and last > first and byte(data, last - 1) == _CR:
                    last -= 1
            if i >= stop:
                return row, position, line, ROW_IS_OPEN, cells, cell, stop
            row_ended = byte(data, i) == _LF
            if cells < len(slots) and slots[cells] >= 0:
                starts[slots[cells], row] = first
                stops[slots[cells], row] = last
            cells += 1
            i += 1
        if fault_cells >= 0:
            return row, position, line, AFTER_QUOTE, fault_cells, fault_cell, i
        if cells != len(slots):
            return row, position, line, CELL_COUNT, cells, i, i
        if doubled:
            _undouble_quotes(data, starts[:, row], stops[:, row])
        lines[row] = line
        line += inner_lines + 1
        position = i
    return len(lines), position, line, BLOCK_FULL, 0, position, position


@kernel
def _closing_quote(data, i, stop):
    """(where the quoted cell that starts at i has its closing quote, or stop; LFs and doubled quotes before it)."""
    breaks = 0
    pairs = 0
    while i < stop:
        if byte(data, i) == _LF:
            breaks += 1
        elif byte(data, i) == _QUOTE:
            if i + 1 == stop or byte(data, i + 1) != _QUOTE:
                break
            pairs += 1
            i += 1
        i += 1
    return i, breaks, pairs


@kernel
def _undouble_quotes(data, starts, stops):
    """Make each doubled quote of a row's quoted cells one quote."""
    for slot in range(len(starts)):
        start, stop = starts[slot], stops[slot]
        if start == 0 or byte(data, start - 1) != _QUOTE:
            continue
        end = start
        i = start
        while i < stop:
            data[end] = byte(data, i)
            end += 1
            i += 2 if byte(data, i) == _QUOTE else 1
        stops[slot] = end
