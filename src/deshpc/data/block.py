"""Rows of files, or of standard input, as blocks of a stated size: what is read at a time where nobody holds all of them."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from deshpc.comm.workers import OneWorker
from deshpc.data.class_weights import weighted_by_class
from deshpc.data.dataset import ARRAYS, OF_OCCURRENCES, Dataset
from deshpc.data.samples import samples_of

_MORE, _AT_ONCE = 1.1, 1 << 23  # room beyond that of like rows; elements that are made room for before there are any


@dataclass(frozen=True)
class Block:
    """Consecutive samples of a file.

    samples : Dataset; None: there are no more of the file
    number : of the block, by which its samples are shuffled
    file : whose samples they are
    row : number of the first of them among the file's good rows
    room : Room that the samples lie in; None where they have arrays of their own
    """

    samples: Dataset | None
    number: int
    file: str = ""
    row: int = 0
    room: "Room | None" = None

    def __len__(self):
        return len(self.samples) if self.samples is not None else 0

    def give_back(self):
        """Nobody reads the samples any more: others may be put where they are."""
        if self.room is not None:
            self.room.give_back()


class Sampler:
    """Makes samples of Columns as a training part has them.

    class_weights : `train.class_weights`
    """

    def __init__(self, schema, transforms, class_weights=()):
        self._schema, self._transforms, self._class_weights = schema, transforms, class_weights

    def __call__(self, columns):
        """The Dataset of some Columns."""
        samples = samples_of(columns, self._schema, self._transforms)
        return weighted_by_class(samples, *self._class_weights, OneWorker()) if self._class_weights else samples


def blocks_of(columns, sampler, block_rows, skip=0, whole=True, rooms=None):
    """Yield (row, Dataset, Room or None) of consecutive blocks of `block_rows` samples, the last of which may be smaller.

    columns : Columns, some rows at a time
    skip : rows that are passed over; `row` counts them
    whole : False: a block is whatever the Columns are, so that nobody waits for more
    rooms : Rooms that blocks are put into
    """
    rooms, room, row = rooms or Rooms(), None, skip
    for some in columns:
        passed, skip = min(skip, len(some)), max(0, skip - len(some))
        if passed == len(some):
            continue
        samples = sampler(some).slice(passed, len(some))
        if not whole:
            for begin in range(0, len(samples), block_rows):
                one = samples.slice(begin, min(len(samples), begin + block_rows))
                yield row, one, None
                row += len(one)
            continue
        begin = 0
        while begin < len(samples):
            room = room or rooms.take(block_rows)
            end = min(len(samples), begin + block_rows - room.rows)
            room.put(samples.slice(begin, end))
            begin = end
            if room.rows == block_rows:
                yield row, *room.all()
                row, room = row + block_rows, None
    if room:
        yield row, *room.all()


class Rooms:
    """Memory that blocks are put into one after another: to touch memory that is new takes as long as to parse what goes into it."""

    def __init__(self):
        self._free = deque()

    def take(self, rows):
        """A Room for so many samples, which is the caller's until it is given back."""
        with suppress(IndexError):
            return self._free.pop()
        return Room(rows, self._free.append)


class Room:
    """Memory for a block of samples.

    rows : that have been put into it
    expected : rows that it is made for; there is room for others
    give_back : function of a Room that nobody uses any more
    """

    def __init__(self, expected, give_back):
        self._expected, self._give_back, self.rows, self._keys, self._arrays = expected, give_back, 0, 0, {}

    def put(self, samples):
        """Append a Dataset."""
        end, last = self.rows + len(samples), self._keys + len(samples.keys)
        for name in ARRAYS:
            array = getattr(samples, name)
            if name == "offsets":
                np.add(array[1:], self._keys, out=self._room(name, array, end + 1, len(samples))[self.rows + 1 : end + 1])
            elif array is not None and name in OF_OCCURRENCES:
                self._room(name, array, last, len(samples))[self._keys : last] = array
            elif array is not None:
                self._room(name, array, end, len(samples))[self.rows : end] = array
        self.rows, self._keys = end, last

    def all(self):
        """(Dataset of all samples, the Room that they lie in until it is given back); of a few samples a copy, and None: a batch may be made of
        any number of small blocks."""
        samples = self._samples()
        if 2 * self.rows >= self._expected:
            return samples, self
        arrays = {name: getattr(samples, name) for name in ARRAYS}
        few = Dataset(**{name: None if array is None else array.copy() for name, array in arrays.items()})
        self.give_back()
        return few, None

    def _samples(self):
        ends = {"offsets": self.rows + 1, **dict.fromkeys(OF_OCCURRENCES, self._keys)}
        return Dataset(**{name: self._arrays[name][: ends.get(name, self.rows)] if name in self._arrays else None for name in ARRAYS})

    def give_back(self):
        """Others may take it."""
        self.rows = self._keys = 0
        self._give_back(self)

    def _room(self, name, like, length, rows):
        """The array called `name`, of this length at least; where it has to grow, for a whole block, such as some rows of which `like` is."""
        array = self._arrays.get(name)
        if array is None or len(array) < length:
            whole = int(_MORE * len(like) * self._expected / rows)
            before = 0 if array is None else len(array)
            wanted = min(whole, max(_AT_ONCE, 2 * before)) if length <= whole else length + length // 4
            grown = np.empty((max(length, wanted), *like.shape[1:]), like.dtype)
            if array is not None:
                grown[:before] = array
            elif name == "offsets":
                grown[0] = 0
            array = self._arrays[name] = grown
        return array
