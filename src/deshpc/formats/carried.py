"""Cells that are carried along as they stand, beside what is parsed: for scores that name their rows, and for names of keys."""

from dataclasses import dataclass
from typing import Any

from deshpc.storage.strict_json import json_text


@dataclass(frozen=True)
class Carried:
    """Columns of the neighbouring rows of a block, those that make no sample among them.

    first   : number of the first row in its file
    columns : for each column its values: [str] of text, whose bytes that are no UTF-8 are surrogates, or an Arrow array
    """

    first: int
    columns: tuple[Any, ...]

    def __len__(self):
        return len(self.columns[0])

    def text(self, column, row):
        """The value of row number `row` of the file as text."""
        return text_of(self.columns[column][row - self.first])


def text_of(value):
    """A value as text: null is empty, lists and structs are JSON, true and false as there."""
    if hasattr(value, "as_py"):
        value = value.as_py()
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return json_text(value, default=str, ensure_ascii=False) if isinstance(value, (list, dict, tuple)) else str(value)
