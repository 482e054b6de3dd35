"""Files of lines in pieces of bytes, each of which whoever reads it finds by itself: rows that are read once need no look at all of them before."""

import os
from dataclasses import dataclass

from deshpc.data.block import Block, Rooms, Sampler
from deshpc.errors import DataError
from deshpc.formats.parts import lines_between
from deshpc.formats.source import is_plain
from deshpc.formats.steady import open_steady, read_ahead, trying

_LOOKED_AT = 1 << 20  # bytes, of which lines are counted


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin at the bytes low .. high.  size : of the file"""

    path: str
    low: int
    high: int
    size: int


def pieces_of(paths, piece_bytes):
    """The Pieces of some files, one file after the other."""
    sizes = [os.path.getsize(path) for path in paths]
    return [
        Piece(path, low, min(size, low + piece_bytes), size) for path, size in zip(paths, sizes, strict=True) for low in range(0, size, piece_bytes)
    ]


def bytes_of(pieces):
    """Bytes of some Pieces."""
    return sum(piece.high - piece.low for piece in pieces)


def piece_bytes(paths, rows):
    """Bytes of about so many rows, by the first lines of the first file that has some; None unless lines of all files can be read from any on."""
    if not all(map(is_plain, paths)):
        return None
    for path in paths:
        with open_steady(path) as file:
            text = file.read(_LOOKED_AT)
        if text:
            return max(1, rows * len(text) // max(1, text.count(b"\n")))
    return None


def blocks_of_pieces(pieces, numbers, source, class_weights, rows, bad_rows):
    """Yield a Block of each of some Pieces, one without samples where there is no row.

    numbers : of the pieces
    source : the RowInput, whose transforms are known
    rows : of about each;  bad_rows : BadRows
    DataError where a file has changed, or cannot be read.
    """
    rooms, sampler = Rooms(), Sampler(source.schema, source.transforms, class_weights)
    for index, number in enumerate(numbers):
        piece = pieces[number]
        _require_size(piece)
        found = lines_between(piece.path, piece.low, piece.high, piece.size)
        room = rooms.take(rows)
        for columns in source.columns(found, bad_rows) if found else ():
            room.put(sampler(columns))
        if index + 1 < len(numbers):
            following = pieces[numbers[index + 1]]
            read_ahead(following.path, following.low, following.high)
        if room.rows:
            samples, room = room.all()
            yield Block(samples, number, piece.path, 0, room)
        else:
            room.give_back()
            yield Block(None, number + 1, piece.path)


def _require_size(piece):
    """DataError unless the file of a Piece has as many bytes as when the run began."""
    try:
        size = trying(piece.path, lambda: os.path.getsize(piece.path))
    except OSError as error:
        raise DataError(f"{piece.path}: cannot be read: {error.strerror}") from None
    if size != piece.size:
        raise DataError(f"{piece.path}: has changed: it had {piece.size:,} bytes when the run began; files have to be complete before they are read")
