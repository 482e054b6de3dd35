"""The header line of a text file: which column of the file holds which field."""

import csv
import difflib

import numpy as np

from deshpc.errors import DataError

_NAMES_SHOWN = 8


def column_names(line, separator, quoting, path):
    """The names in a header line.

    line : bytes, without its line end;  separator : str;  quoting : bool, as for the rows below it
    """
    try:
        text = line.decode()
        if not text.strip():
            raise DataError(f"{path}, line 1: the line is blank; expected a header line with the columns' names")
        return next(csv.reader([text], delimiter=separator, strict=True)) if quoting else text.split(separator)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}, line 1: the header cannot be read: {error}") from None


def slots(names, wanted, path):
    """For each of the file's columns the index of its name in `wanted`, or -1: (len(names)) int32."""
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
            raise DataError(
                f"{path}, line 1, field {name!r}: no such column; did you mean {near!r}? (the header has: {shown})"
            )
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1, field {name!r}: the header names this column {names.count(name)} times")
    index = {name: slot for slot, name in enumerate(wanted)}
    return np.array([index.get(name, -1) for name in names], np.int32)
