"""Files divided among workers: to each an equal part of the bytes, in order, which begins and ends with lines."""

import os

from deshpc.formats.source import Part, is_plain
from deshpc.formats.steady import open_steady

_READ_BYTES = 1 << 16


def parts_of(paths, worker, workers, divisible):
    """What `worker`, one of 0 .. workers, reads of some files: Parts, and paths of files that nobody else reads.

    divisible : whether lines are rows, so that a plain file may be divided; one that is compressed never is

    All parts of all workers in order are the files.
    """
    sizes = [os.path.getsize(path) for path in paths]
    low, high = (sum(sizes) * one // workers for one in (worker, worker + 1))
    found, begin = [], 0
    for path, size in zip(paths, sizes, strict=True):
        end = begin + size
        if divisible and size and low < end and begin < high and not (low <= begin and end <= high) and is_plain(path):
            found += lines_between(path, max(0, low - begin), min(size, high - begin), size)
        elif low <= begin < high or (begin == high and worker == workers - 1):
            found.append(path)
        begin = end
    return found


def lines_between(path, low, high, size):
    """[Part] of the lines that begin at the bytes low .. high of a file of plain text, blank ones that follow them included, if there are any."""
    with open_steady(path) as file:
        begin, end = (_line_start(file, offset, size) for offset in (low, high))
    return [Part(path, begin, None if end == size else end)] if begin < end else []


def _line_start(file, offset, size):
    """Where the first line that begins at `offset` or behind it, and is not blank, begins; `size` where there is none."""
    if offset in (0, size):
        return offset
    file.seek(offset - 1)
    place, start = offset - 1, None
    while text := file.read(_READ_BYTES):
        begin = 0
        if start is None:
            begin = text.find(b"\n") + 1
        if begin or start is not None:
            rest = text[begin:]
            blank = len(rest) - len(rest.lstrip(b" \t\r\n"))
            start = place + begin + rest.rfind(b"\n", 0, blank) + 1 if b"\n" in rest[:blank] or begin else start
            if blank < len(rest):
                return start
        place += len(text)
    return size
