"""The columns of a file by their names: the header line of a text file, and which column holds which field."""

import csv
import json

import numpy as np

from deshpc.errors import DataError, did_you_mean

_NAMES_SHOWN, _SHOWN_LENGTH = 8, 40
_SEPARATORS = "\t;|, "
_MOST_COLUMNS, _MOST_COMPARED = 1 << 20, 10_000


def column_names(line, separator, quoting, path):
    """The names in a header line.

    line : bytes, without its line end
    separator : str
    quoting : bool, as for the rows below it
    """
    try:
        text = line.decode()
        if not text.strip():
            raise DataError(f"{path}, line 1: the line is blank; expected a header line with the columns' names")
        if text.count(separator) >= _MOST_COLUMNS:
            raise DataError(f"{path}, line 1: the header has more than {_MOST_COLUMNS:,} columns; is a line end missing?")
        return next(csv.reader([text], delimiter=separator, strict=True)) if quoting else text.split(separator)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}, line 1: the header cannot be read: {error}") from None


def require(names, wanted, where, separator=""):
    """DataError, which begins with `where`, unless each name in `wanted` is once in `names`.

    separator : that between names of a line of text, which may be no header, or have others
    """
    for name in wanted:
        if name not in names:
            few = [one[:_SHOWN_LENGTH] for one in names[:_MOST_COMPARED]]
            shown = ", ".join(few[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
            doubt = _doubt(few, separator) if separator else ""
            raise DataError(f"{where}, field {name!r}: no such column{did_you_mean(name, few)} (the columns are: {shown}){doubt}")
        if names.count(name) > 1:
            raise DataError(f"{where}, field {name!r}: {names.count(name)} columns have this name; expected one")


def _doubt(names, separator):
    """Why names may be none: they are numbers, or one name has all of them."""
    other = next((one for one in _SEPARATORS if one != separator and len(names) == 1 and one in names[0]), None)
    if other:
        return f"; are cells separated by {other!r}? Then set data.delimiter = {json.dumps(other)}"
    if any(_is_number(name) for name in names):
        return "; is this a row and no header? Then set data.header = false, and name the columns in data.columns"
    return ""


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def slots(names, wanted):
    """For each of the file's columns the index of its name in `wanted`, or -1: (len(names)) int32."""
    index = {name: slot for slot, name in enumerate(wanted)}
    return np.array([index.get(name, -1) for name in names], np.int32)
