"""Rows to caches: one pass over each part, block by block, in memory of about three pieces.

A thread writes while the next rows are read: each takes about as long as the other.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deshpc.data.cache import PIECE_ROWS, CacheWriter
from deshpc.data.cache_file import Cache
from deshpc.data.input import open_input
from deshpc.data.numbers import NumberStatistics
from deshpc.data.samples import finish
from deshpc.errors import ConfigError


@dataclass(frozen=True)
class Converted:
    """A cache that was written: its path, rows, bytes, rows that could not be read, and notes on the others (`BadRows`)."""

    path: Path
    rows: int
    nbytes: int
    skipped: int
    notes: dict[str, str]


def convert_parts(config, folder, labels="classes", state=None):
    """Write each part of a DataConfig to `folder`/PART.cache; yields (part, Converted) of each when it is whole.

    labels : what labels are, see `formats.label_kinds`
    state : stored input state, by whose transforms all parts are written; None: they are fitted

    The training part comes first, since it fits the transforms: its dense features and buckets are finished in place when
    all of it has been read.  A cache of that name is replaced when the new one is whole; an error leaves no partial file.
    """
    if config.format == "cache":
        raise ConfigError("data.format = 'cache': these rows are converted already")
    source = open_input(config, labels)
    if state is not None:
        source.restore(state)
    for part in ("train", "valid", "test"):
        if source.has(part):
            yield part, _convert(source, part, Path(folder) / f"{part}.cache")


def _convert(source, part, path):
    numbers = NumberStatistics(source.schema)
    unfinished = part == "train" and not source.fitted
    with CacheWriter(path, source.schema) as writer, ThreadPoolExecutor(1) as pool:
        waiting, rows = deque(), 0
        for columns, block in source.blocks(part):
            if columns is not None:
                numbers.add(columns)
                if not unfinished:
                    finish(block, source.schema, source.transforms)
            waiting.append((len(block), pool.submit(writer.add, block)))
            rows += len(block)
            while rows > PIECE_ROWS:
                length, written = waiting.popleft()
                written.result()
                rows -= length
        for _, written in waiting:
            written.result()
        bad_rows = source.bad_rows[part]
        writer.finish(source.transforms, unfinished, bad_rows, numbers.to_json())
    return Converted(path, writer.rows, Cache(path).nbytes, bad_rows.count, bad_rows.notes)
