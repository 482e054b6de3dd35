"""Cells that are one of a few texts, such as NA or true: which one."""

import numpy as np

from deshpc.formats.byte import byte
from deshpc.jit import kernel


class Words:
    """Some texts, as bytes, with which cells are compared byte for byte."""

    def __init__(self, texts):
        self.texts = tuple(texts)
        self._bytes = np.array(list(b"".join(self.texts)), np.uint8)
        self._offsets = np.cumsum([0, *map(len, self.texts)])

    def find(self, data, starts, stops):
        """(n) int64: for each cell the first of the texts that it is, or -1.  data, starts, stops : see `formats.cells`"""
        found = np.empty(len(starts), np.int64)
        _find(data, starts, stops, self._bytes, self._offsets, found)
        return found

    def emptied(self, data, starts, stops):
        """`stops`, with cells that are one of the texts made empty."""
        return np.where(self.find(data, starts, stops) >= 0, starts, stops)


def missing_words(texts):
    """Words of strings, or None where there is none."""
    return Words(text.encode() for text in texts) if texts else None


@kernel
def _find(data, starts, stops, words, offsets, found):
    for row in range(len(starts)):
        start = np.int64(starts[row])
        length = np.int64(stops[row]) - start
        found[row] = -1
        for one in range(len(offsets) - 1):
            first = offsets[one]
            if offsets[one + 1] - first != length:
                continue
            same = 0
            while same < length and byte(data, start + same) == byte(words, first + same):
                same += 1
            if same == length:
                found[row] = one
                break
