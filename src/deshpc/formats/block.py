"""Parsed columns to one block of rows, from which rows that cannot be read are left out."""

import numpy as np

from deshpc.formats.columns import Columns

SHOWN_LENGTH = 40
"""Bytes or characters of a cell in a message."""


def block_of(schema, rows, parse, complain, bad_rows):
    """The Columns of the rows that can be read, maybe none.

    rows     : (n) int64, the rows' numbers in their file
    parse    : (n, or None for all) integers, rows of the block -> for the label (where the schema has one), each key field
               and each dense field its column and (n) bool, true where a cell is bad, or None
    complain : row of the block, column of `parse` -> what `bad_rows` is told of the row's first bad cell
    """
    parsed = parse(None)
    first_bad = {}
    for column, (_, bad) in enumerate(parsed):
        for row in () if bad is None else np.flatnonzero(bad).tolist():
            first_bad.setdefault(row, column)
    if first_bad:
        for row in sorted(first_bad):
            bad_rows.found(complain(row, first_bad[row]))
        good = np.delete(np.arange(len(rows)), sorted(first_bad))
        rows, parsed = rows[good], parse(good)
    columns = [column for column, _ in parsed]
    labels = None if schema.label is None else columns.pop(0)
    key_fields = len(schema.key_fields)
    return Columns(tuple(columns[:key_fields]), tuple(columns[key_fields:]), labels, rows)


def shown(text):
    """The start of a cell, bytes or text, for a message."""
    start = text[:SHOWN_LENGTH]
    start = start.decode(errors="backslashreplace") if isinstance(text, bytes) else start
    return repr(start) + ("..." if len(text) > SHOWN_LENGTH else "")
