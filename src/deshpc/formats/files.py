"""Which files a configuration means: paths, patterns and folders to a list of files."""

import glob
import os
from pathlib import Path

from deshpc.errors import DataError
from deshpc.formats.steady import trying
from deshpc.storage.regular_file import require_regular

UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".inprogress", ".swp", "~")
"""Ends of the names of files that somebody is still writing."""


def expand(patterns):
    """The files that `patterns` name, in that order; what one pattern or folder stands for is sorted by name.

    A path that exists is taken literally.  Anything else is a pattern with *, ?, [...] and ** for any folders between.
    What it names has to be a regular file: nobody waits for a pipe, or reads a device to its end.
    A folder stands for its regular files, but for hidden ones and those whose name begins with an underscore, and for those of its
    folders `name=value` (see `formats.path_values`); so do the folders that a pattern finds, where it finds no file.  DataError where
    there is none.
    """
    return [str(path) for pattern in patterns for path in _files(str(pattern))]


def complete_files(folder):
    """[path] of the files of a folder that grows, in the order of their names: those that `expand` gives, but for names that say that a
    file is still being written.  DataError where the folder cannot be read; it may be empty.
    """
    return [str(path) for path in _in_folder(Path(folder)) if not path.name.lower().endswith(UNFINISHED)]


def _files(pattern):
    path = Path(pattern)
    if os.path.isdir(path):
        return _in_folder(path) or _nothing(pattern, "the folder has no files (hidden ones and _names do not count)")
    if os.path.lexists(path):
        require_regular(path)
        return [path]
    if not glob.has_magic(pattern):
        _nothing(pattern, "no such file")
    found = _matches(path)
    files = [one for one in found if one.is_file()] or [file for one in found if one.is_dir() for file in _in_folder(one)]
    return files or _nothing(pattern, "no file matches the pattern")


def _matches(pattern):
    """What a pattern finds, sorted; characters of a pattern in the name of an existing folder above stand for themselves."""
    above = pattern.parent
    while not os.path.isdir(above):
        above = above.parent
    rest = str(pattern.relative_to(above))
    return sorted(above / name for name in glob.glob(rest, root_dir=above, recursive=True))


def _in_folder(folder):
    try:
        entries = sorted(path for path in trying(folder, lambda: list(folder.iterdir())) if path.name[0] not in "._")
        own = [[path] if path.is_file() else _in_folder(path) if "=" in path.name and path.is_dir() else [] for path in entries]
        return [path for files in own for path in files]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None


def _nothing(pattern, why):
    raise DataError(f"{pattern}: {why}; give paths of files, patterns such as day_*.gz, or folders")
