"""Which days a chain has: what patterns find, each file or folder a day, in the order of their names."""

import glob
import os
import re
from typing import NamedTuple

from deshpc.errors import DataError

_SUFFIXES = re.compile(r"(\.(csv|tsv|txt|parquet|cache|libsvm|libffm|svm|ffm|gz|zst))+$")


class Day(NamedTuple):
    """name : of the file or folder, without what says its format;  path : absolute, of what is learnt that day"""

    name: str
    path: str


def days_of(patterns):
    """[Day] of all that paths and patterns find, in the order of names, in which numbers count as such: day_2 comes before day_10.

    A path that exists is taken literally; anything else is a pattern with *, ? and [...].  Hidden files, and those whose name begins with an
    underscore, are none.  DataError where a pattern finds nothing, or two have the same name.
    """
    days = {}
    for pattern in patterns:
        found = [pattern] if os.path.lexists(pattern) else glob.glob(pattern)
        paths = [path for path in found if os.path.basename(os.path.normpath(path))[:1] not in (".", "_")]
        if not paths:
            raise DataError(f"--days {pattern}: nothing matches; give files or folders, one a day, such as 'data/2026-*'")
        for path in map(os.path.abspath, paths):
            name = _SUFFIXES.sub("", os.path.basename(path)) or os.path.basename(path)
            if days.setdefault(name, path) != path:
                raise DataError(f"--days: {days[name]} and {path} have the same name, {name!r}: a day is one file, or one folder of files")
    return [Day(name, days[name]) for name in sorted(days, key=in_order)]


def in_order(name):
    """What names are sorted by: numbers in them by their value."""
    return [(int(part), part) if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)], name
