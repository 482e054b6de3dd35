"""The directory of a container: what its JSON text has to say, so that whoever reads sections stays inside the file."""

import numpy as np

from deshpc.storage.json_form import COUNT, parse, require

FORMAT = 1
ALIGNMENT = 64
DTYPES = frozenset(("|u1", "<u2", "<u4", "<u8", "|i1", "<i4", "<i8", "<f4", "<f8"))

MOST_BYTES = 64 << 20
"""Of a directory: as Python objects it takes twenty times that at most.  A cache of 4e9 rows has as much."""

_MOST_EXTENTS = 8
_FORM = {"format": int, "kind": str, "about": dict, "sections": list}
_SECTION = {"name": str, "version": COUNT, "dtype": str, "shape": [COUNT], "offset": COUNT, "crc32": COUNT}


def parse_directory(text, end):
    """(kind, about, {name: section}) of a directory that begins at byte `end`, where its sections end.  ValueError says what is wrong."""
    directory = parse(text)
    require(directory, _FORM, "the directory")
    if directory["format"] != FORMAT:
        raise ValueError(f"it is of format {directory['format']}; expected {FORMAT}")
    sections, begin = {}, ALIGNMENT
    for section in directory["sections"]:
        require(section, _SECTION, "a section")
        name, room = section["name"], 8
        for extent in section["shape"]:
            room *= max(1, extent)  # NumPy counts so, even where an extent is 0
        if name in sections or section["dtype"] not in DTYPES or section["offset"] != begin:
            raise ValueError(f"section {name[:60]!r} is there twice, has no type of number, or does not follow the one before")
        if len(section["shape"]) > _MOST_EXTENTS or room >= 2**63:
            raise ValueError(f"section {name[:60]!r} has a shape that no array has")
        sections[name] = section
        begin += padded(size_of(section))
        if begin > end:
            raise ValueError(f"section {name[:60]!r} does not end inside the file")
    if begin != end:
        raise ValueError("its sections do not end where it begins")
    return directory["kind"], directory["about"], sections


def size_of(section):
    """Bytes of a section's array."""
    count = 1
    for extent in section["shape"]:
        count *= extent
    return count * np.dtype(section["dtype"]).itemsize


def padded(size):
    """Bytes up to the next section."""
    return -(-size // ALIGNMENT) * ALIGNMENT
