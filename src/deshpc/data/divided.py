"""A training part that no memory holds: where its blocks begin in files, so that every epoch reads them in another order.

One process reads all rows once, to count them, to fit transforms and to find where blocks begin.  It keeps a place for each block, and of each
row its label and weight, for the constant that predicts them best.
"""

from dataclasses import dataclass

import numpy as np

from deshpc.comm.workers import OneWorker
from deshpc.data.block import Block, Rooms, Sampler, blocks_of
from deshpc.data.class_weights import weighted_by_class
from deshpc.data.fitting import Fitting
from deshpc.data.samples import unfinished
from deshpc.errors import DataError
from deshpc.formats.parquet import RowGroups
from deshpc.formats.parquet_footer import row_groups
from deshpc.formats.source import Part, is_plain
from deshpc.formats.steady import read_ahead

_MOST_AHEAD = 32 << 20  # bytes of a block that the system reads ahead


@dataclass(frozen=True)
class Unit:
    """Where reading can begin.

    row  : number of its first sample among all
    file : number of the file
    item : what the format's reader takes: a path, a Part or RowGroups
    skip : samples of the item before it
    goes_on : whether its samples go on in the files after this one
    """

    row: int
    file: int
    item: str | Part | RowGroups
    skip: int = 0
    goes_on: bool = False


@dataclass(frozen=True)
class Divided:
    """rows : of all files;  files : their paths;  units : in the order of rows;  even : whether each unit is one block"""

    rows: int
    files: tuple[str, ...]
    units: tuple[Unit, ...]
    even: bool

    @property
    def edges(self):
        """Numbers of the rows at which units begin, and that at which the last one ends; None where each is one block."""
        return None if self.even else np.array([*(unit.row for unit in self.units), self.rows], np.int64)


class Targets:
    """Labels and weights of all rows, as `Dataset.targets` gives them.  classes : whether labels are 0 and 1, which take a byte each"""

    def __init__(self, classes):
        self._type, self._parts, self._rows = np.uint8 if classes else np.float32, [], 0

    def __len__(self):
        return self._rows

    @property
    def has_weights(self):
        """Whether rows have weights."""
        return bool(self._parts) and self._parts[0][1] is not None

    def add(self, labels, weights):
        """Take those of some more rows."""
        self._parts.append((labels.astype(self._type), None if weights is None else weights.copy()))
        self._rows += len(labels)

    def targets(self, begin, end):
        """Yield (first row, labels, weights or None) of all rows, which have to be asked for."""
        first = 0
        for labels, weights in self._parts:
            yield first, labels.astype(np.float32), weights
            first += len(labels)


def divide(source, reader, class_weights, block_rows):
    """(Divided, Targets) of the training part of a RowInput, whose transforms are fitted, unless they are known.

    reader : of the format, see `formats.open`
    block_rows : of a block; where files can be read from any row on, and lie one behind the other, blocks are those of all rows
    """
    files, bad_rows = source.paths("train"), source.begin_reading("train")
    even = reader.divisible and all(is_plain(path) for path in files)
    fitting, targets = None if source.fitted else Fitting(source.schema), Targets(source.schema.labels == "classes")
    units, rows = [], 0
    for file, item in _items(files, reader, block_rows):
        if not even:
            units.append(Unit(rows, file, item))
        before = rows
        for columns in source.columns([item], bad_rows):
            samples = unfinished(columns, source.schema)
            if fitting:
                fitting.add(columns, samples.dense)
            if class_weights:
                samples = weighted_by_class(samples, *class_weights, OneWorker())
            targets.add(samples.labels, samples.weights)
            for row in range(-(-rows // block_rows) * block_rows, rows + len(columns), block_rows) if even else ():
                units.append(Unit(row, file, Part(files[file], columns.begin), row - rows, True))
            rows += len(columns)
        if rows == before and not even:
            units.pop()
    source.require_rows("train", rows)
    if fitting:
        source.take_fit(fitting.finish())
    return Divided(rows, tuple(files), tuple(units), even), targets


def _items(files, reader, block_rows):
    """Yield (number of a file, what of it is read at a time)."""
    for number, path in enumerate(files):
        if reader.divisible:
            yield number, path
            continue
        begin, first, row = 0, 0, 0
        sizes = [rows for rows, _, _ in row_groups(path)]
        for group, size in enumerate(sizes):
            if row + size - first >= block_rows or group == len(sizes) - 1:
                yield number, RowGroups(path, range(begin, group + 1), first)
                begin, first = group + 1, row + size
            row += size


def divided_blocks(divided, order, source, class_weights, block_rows, places):
    """Yield the Blocks at some places of an EpochOrder.

    places : [(place, number of its unit)], increasing
    DataError where a file is not as it was when it was divided.
    """
    sampler, rooms = Sampler(source.schema, source.transforms, class_weights), Rooms()
    open_unit = blocks = following = None
    for index, (place, number) in enumerate(places):
        begin, end = order.span(place)
        unit = divided.units[number]
        if open_unit != number or following != begin:
            files = [unit.item, *(divided.files[unit.file + 1 :] if unit.goes_on else ())]
            columns = source.columns(files, source.quiet_rows())
            blocks = blocks_of(columns, sampler, block_rows, unit.skip + begin - unit.row, rooms=rooms)
        _, samples, room = next(blocks, (0, None, None))
        found = 0 if samples is None else min(len(samples), end - begin)
        if found < end - begin:
            path = divided.files[unit.file]
            raise DataError(f"{path}: has changed since it was read first: {found:,} of {end - begin:,} rows are there from row {begin:,} of all files on")
        open_unit, following = number, end
        if divided.even and index + 1 < len(places):
            coming = divided.units[places[index + 1][1]].item
            read_ahead(coming.path, coming.begin, coming.begin + _MOST_AHEAD)
        yield Block(samples.head(found), order.number(place), divided.files[unit.file], begin, room)
