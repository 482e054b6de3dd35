"""The rows of a folder that grows, of standard input, or of files, as they come: one process reads them for all.

Files of a folder are read in the order of their names, each when it has its final name.  Where the reading is, is said by a Place, which depends on
files alone, not on when they came.
"""

import os
import threading
import time
from dataclasses import dataclass
from itertools import chain

from deshpc.config.load import STANDARD_INPUT
from deshpc.data.block import Block, Rooms, Sampler, blocks_of
from deshpc.errors import DataError
from deshpc.formats import files
from deshpc.formats.source import Standard
from deshpc.launch.console import say

_LOOK_S = 0.2


@dataclass(frozen=True)
class Place:
    """Where a stream goes on.

    file : whose samples come next, or, if it is `done`, the last one whose samples were all taken; empty: at the begin
    row : samples of that file before the block that comes next
    number : of that block
    """

    file: str = ""
    row: int = 0
    done: bool = False
    number: int = 0


class Growing:
    """Reads a stream by a DataConfig.

    source : the RowInput, whose transforms are fitted, if they are not known, to the first file or, by `data.fit_rows`, to its first rows
    class_weights : `train.class_weights`
    block_rows : of a block
    whole : whether a block waits until it has all its rows, or its file ends
    """

    def __init__(self, config, source, class_weights, block_rows, whole):
        self._config, self._source, self._class_weights, self._block_rows, self._whole = config, source, class_weights, block_rows, whole
        self._rooms, self._closed = Rooms(), threading.Event()
        self._folder = "" if is_given(config) else config.train[0]

    def close(self):
        """Look for no more files, so that `blocks` ends: for another thread, which waits in it."""
        self._closed.set()

    def blocks(self, place):
        """Yield the Blocks from a Place on; a Block without samples where a file ends.

        DataError where a file cannot be read, or the file of the place is not there, or shorter.
        """
        bad_rows, number = self._source.begin_reading("train"), place.number
        for file in self._files(place):
            one = Standard() if file == STANDARD_INPUT else os.path.join(self._folder, file)
            columns = self._columns(one, bad_rows)
            sampler = Sampler(self._source.schema, self._source.transforms, self._class_weights)
            skip = row = place.row if file == place.file else 0
            for begin, samples, room in blocks_of(columns, sampler, self._block_rows, skip, self._whole, self._rooms):
                yield Block(samples, number, file, begin, room)
                number, row = number + 1, begin + len(samples)
            if row == skip > 0:
                self._require_rows(one, skip)
            yield Block(None, number, file, row)

    def _columns(self, one, bad_rows):
        """The Columns of a file, block by block; the transforms are known before they are asked for."""
        if self._source.fitted:
            return self._source.columns([one], bad_rows)
        if not self._config.fit_rows:
            self._source.fit_to([one])
            return self._source.columns([one], bad_rows)
        columns = self._source.fitted_to_first(self._source.columns([one], bad_rows), self._config.fit_rows)
        first = next(columns, None)
        return chain(() if first is None else (first,), columns)

    def _require_rows(self, one, expected):
        """DataError where a file that had so many good rows has fewer now."""
        found = sum(map(len, self._source.columns([one], self._source.quiet_rows()))) if not isinstance(one, Standard) else expected
        if found < expected:
            raise DataError(f"{one}: has {found:,} rows; {expected:,} of it were learnt from before the checkpoint: it is another file by now")

    def _files(self, place):
        """Yield the names of files from the place on, as they appear."""
        if self._folder == STANDARD_INPUT:
            yield STANDARD_INPUT
            return
        if not self._folder:
            yield from self._given(place)
            return
        last, since, known = place.file, time.monotonic(), None
        if place.file and not place.done:
            if not os.path.exists(os.path.join(self._folder, place.file)):
                raise DataError(f"{os.path.join(self._folder, place.file)}: is not there any more, and {place.row:,} of its rows were learnt from")
            yield place.file
            since = time.monotonic()
        while True:
            over = bool(self._config.follow_end) and os.path.exists(os.path.join(self._folder, self._config.follow_end))
            names = sorted(os.path.relpath(path, self._folder) for path in files.complete_files(self._folder))
            names = [name for name in names if name != self._config.follow_end]
            _tell_late(self._folder, [name for name in names if name < last and name not in (names if known is None else known)], last)
            known, new = set(names), [name for name in names if name > last]
            for name in new:
                yield name
                last, since = name, time.monotonic()
            silent = self._config.follow_silence_s and time.monotonic() - since >= self._config.follow_silence_s
            if not new and (over or silent or self._closed.wait(_LOOK_S)):
                return

    def _given(self, place):
        """Yield the files that the configuration names, from the place on."""
        paths = files.expand(self._config.train)
        if place.file and place.file not in paths:
            raise DataError(f"{place.file}: is not among the files of data.train any more, and the run goes on in it: name it as before")
        yield from paths[paths.index(place.file) + place.done if place.file else 0 :]


def is_given(config):
    """Whether a DataConfig names the files of a stream, instead of a folder that may grow, or standard input."""
    return len(config.train) != 1 or (config.train != (STANDARD_INPUT,) and not os.path.isdir(config.train[0]))


def _tell_late(folder, names, last):
    """Say that files have come whose names are before that of the last one that was read."""
    for name in names:
        say(f"deshpc: warning: {os.path.join(folder, name)}: is not read: it came after {last!r}, and files are read in the order of their names\n")
