"""Columns that a path has and its file has not: hive/day=2024-01-01/a.csv is a file whose rows all have that day."""

from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np

_NO_VALUE = b"__HIVE_DEFAULT_PARTITION__"


def path_values(path):
    """{name: value as bytes} of the folders `name=value` above a file, whose special characters may be written as %20."""
    pairs = (part.partition("=") for part in Path(path).parent.parts)
    values = {unquote_to_bytes(name).decode(errors="replace"): unquote_to_bytes(value) for name, equals, value in pairs if name and equals}
    return {name: b"" if value == _NO_VALUE else value for name, value in values.items()}


class PathColumns:
    """Which of some columns a file does not have, but its path.

    parsers : for each of the names, see `formats.cells`
    missing : Words that count as empty, or None
    """

    def __init__(self, path, names, columns, parsers, missing):
        absent = [i for i, name in enumerate(names) if name not in columns]
        values = path_values(path) if absent else {}
        self._values = {i: values[names[i]] for i in absent if names[i] in values}
        self._parsers, self._missing = parsers, missing
        self.own = [i for i in range(len(names)) if i not in self._values]  # those that the file has to have

    def text(self, column):
        """The bytes of the value of a column of the path, or None."""
        return self._values.get(column)

    def parse(self, column, rows):
        """What a block of so many rows has in a column of the path, as its parser gives it."""
        text = self._values[column]
        if self._missing and text in self._missing.texts:
            text = b""
        return self._parsers[column].parse(np.array(list(text), np.uint8), np.zeros(rows, np.int32), np.full(rows, len(text), np.int32))
