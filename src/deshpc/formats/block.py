"""Parsed columns to one block of rows, from which rows that cannot be read are left out."""

from functools import partial

import numpy as np

from deshpc.formats.columns import Columns

SHOWN_LENGTH = 40
"""Bytes or characters of a cell in a message."""

_OFTEN_MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "\\n", "nil", "?", "-", "."}


def block_of(schema, path, rows, parse, complain, bad_rows):
    """The Columns of the rows that can be read, maybe none.

    path     : of the rows' file
    rows     : (n) int64, the rows' numbers in their file
    parse    : (n, or None for all) integers, rows of the block -> for the labels and the weight (where the schema has them), each
               key field and each dense field its column and (n) bool, true where a cell is bad, or None
    complain : row of the block, column of `parse`, what is wrong with the cell (None: it is not what was expected) -> what
               `bad_rows` is told of it; a row's first bad cell is
    """
    parsed, good = parse(None), np.arange(len(rows))
    first_bad = {}
    for column, (_, bad) in enumerate(parsed):
        for row in () if bad is None else np.flatnonzero(bad).tolist():
            first_bad.setdefault(row, column)
    if first_bad:
        for row in sorted(first_bad):
            bad_rows.found(complain(row, first_bad[row], None))
        good = np.delete(good, sorted(first_bad))
        rows, parsed = rows[good], parse(good)
    columns = [column for column, _ in parsed]
    labels = [columns.pop(0) for _ in schema.label_columns]
    for column, ((label, _), one) in enumerate(zip(schema.label_columns, labels, strict=True)):
        for name, row in sorted(one.negatives.items(), key=lambda pair: pair[1]):
            bad_rows.negative_label(name, f"{path}, field {label!r}", partial(complain, good[row], column), label)
    values = [one.values for one in labels]
    labels = np.stack(values, axis=1) if schema.tasks else values[0] if values else None
    weights = columns.pop(0) if schema.weight is not None else None
    key_fields = len(schema.key_fields)
    return Columns(tuple(columns[:key_fields]), tuple(columns[key_fields:]), labels, rows, weights=weights)


def shown(text):
    """The start of a cell, bytes or text, for a message."""
    start = text[:SHOWN_LENGTH]
    start = start.decode(errors="backslashreplace") if isinstance(text, bytes) else start
    return repr(start) + ("..." if len(text) > SHOWN_LENGTH else "")


def missing_hint(cell):
    """What to do about a cell, bytes, that is no number, but often stands for a missing one; as the end of a message."""
    text = cell.decode(errors="replace").strip()
    quoted = "'\\N'" if text == "\\N" else repr(text)
    return f"; if it stands for a missing value, set data.missing = [{quoted}]" if text.lower() in _OFTEN_MISSING else ""
