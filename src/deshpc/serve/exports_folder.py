"""A folder of exports: what servers follow of a model that trains on.

    export-00000000.model      the whole model
    export-00000001.delta      what has changed since
    export-00000002.delta      ...
    export-00000050.model      whole again; the deltas behind it go over it

Numbers ascend, and from a whole model on none is missing.  A file appears when it is complete.
"""

import os
import re
from pathlib import Path

from deshpc.errors import DataError

_NAME = re.compile(r"export-(\d{8})\.(model|delta)")
_LEFT = re.compile(r"export-\d{8}\.(model|delta)\.[0-9a-f]{8}\.partial")


def newest_chain(folder):
    """[path] of the newest whole model in a folder of exports, and of the deltas behind it, in their order; empty where there is none.

    DataError where a number between them is missing.
    """
    found = numbered(folder)
    whole = max((number for number, path in found.items() if path.suffix == ".model"), default=None)
    if whole is None:
        return []
    numbers = [number for number in found if number >= whole]
    missing = next((number for number, expected in zip(numbers, range(whole, whole + len(numbers)), strict=True) if number != expected), None)
    if missing is not None:
        raise DataError(f"{found[missing]}: the export before it is missing: a delta goes over that one alone")
    return [found[number] for number in numbers]


def path_of(folder, number, whole):
    """Path of an export, a whole model or a delta."""
    return Path(folder) / f"export-{number:08d}.{'model' if whole else 'delta'}"


def begin(folder):
    """Make the folder, and remove what writers that were ended have left there.  DataError where it cannot be written."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in os.listdir(folder):
            if _LEFT.fullmatch(name):
                (Path(folder) / name).unlink()
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from None


def numbered(folder):
    """{number: path} of the exports in a folder, ascending."""
    try:
        names = sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
    return {int(_NAME.fullmatch(name)[1]): Path(folder) / name for name in names}
