"""Files of rows to a data set in a node's memory, of which every worker of the node reads its part.

The samples, what is fitted to them and the reports of bad rows are those of one worker, to the bit.
"""

from functools import partial

from deshpc.data.crosses import room_for
from deshpc.data.samples import finish, unfinished
from deshpc.data.shared_dataset import Places, assembled
from deshpc.formats import files
from deshpc.formats.bad_rows import BadRows, merged
from deshpc.formats.parts import parts_of
from deshpc.formats.source import Part, is_plain


def load_unfinished(reader, patterns, policy, workers):
    """(`unfinished` Dataset of all rows, or None where there is no row; BadRows).  Collective.

    reader : see `formats.open`
    patterns : of files, see `formats.files`
    policy : of BadRows
    """
    parts = {}

    def divide(worker, divisible):
        parts[worker] = parts_of(files.expand(patterns), worker, workers.size, divisible)
        return all(reader.divides(one) for one in parts[worker] if isinstance(one, Part))

    def room(worker):
        plain = reader.divisible and all(isinstance(one, Part) or is_plain(one) for one in parts[worker])
        return room_for(reader.room(parts[worker]), reader.schema) if plain else None

    def blocks_of(worker, bad_rows):
        return reader.blocks(parts[worker], bad_rows)

    if not all(workers.run(partial(divide, divisible=reader.divisible))):
        workers.run(partial(divide, divisible=False))
    rooms = workers.run(room)
    if None in rooms:
        return held_unfinished(reader.schema, blocks_of, policy, workers)
    bad_rows = {worker: BadRows(policy) for worker in workers.own}
    places = Places(workers, rooms, len(reader.schema.dense_fields), reader.schema.value_width)
    workers.run(lambda worker: _read(reader.schema, blocks_of(worker, bad_rows[worker]), partial(places.put, worker)))
    return _told(places.dataset(), bad_rows, workers)


def held_unfinished(schema, blocks_of, policy, workers):
    """What `load_unfinished` gives, where nobody knows how many rows there are before all are read.  Collective.

    blocks_of : worker, its BadRows -> the Columns that it reads, after those of the worker before it
    """
    bad_rows = {worker: BadRows(policy) for worker in workers.own}
    blocks = {worker: [] for worker in workers.own}
    rows = workers.run(lambda worker: _read(schema, blocks_of(worker, bad_rows[worker]), blocks[worker].append))
    return _told(assembled(workers, blocks) if any(rows) else (), bad_rows, workers)


def _read(schema, blocks, put):
    """Put what is read of blocks; the number of their rows."""
    rows = 0
    for columns in blocks:
        put(unfinished(columns, schema))
        rows += len(columns)
    return rows


def _told(dataset, bad_rows, workers):
    found = workers.run(bad_rows.get)
    return dataset if len(dataset) else None, workers.run(lambda worker: merged(found))[0]


def finish_shared(dataset, schema, transforms, workers):
    """Apply transforms to an `unfinished` Dataset in place.  Collective."""

    def finish_share(worker):
        begin, end = (len(dataset) * one // workers.size for one in (worker, worker + 1))
        finish(dataset.slice(begin, end), schema, transforms)

    workers.run(finish_share)
