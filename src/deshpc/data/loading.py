"""Files of rows to a data set in a node's memory, of which every worker of the node reads its part.

The samples, what is fitted to them and the reports of bad rows are those of one worker, to the bit.
"""

from functools import partial

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
    bad_rows = {worker: BadRows(policy) for worker in workers.own}

    def divide(worker, divisible):
        parts[worker] = parts_of(files.expand(patterns), worker, workers.size, divisible)
        return all(reader.divides(one) for one in parts[worker] if isinstance(one, Part))

    def room(worker):
        plain = reader.divisible and all(isinstance(one, Part) or is_plain(one) for one in parts[worker])
        return reader.room(parts[worker]) if plain else None

    def read(worker, put):
        rows = 0
        for columns in reader.blocks(parts[worker], bad_rows[worker]):
            put(unfinished(columns, reader.schema))
            rows += len(columns)
        return rows

    if not all(workers.run(partial(divide, divisible=reader.divisible))):
        workers.run(partial(divide, divisible=False))
    rooms = workers.run(room)
    if None not in rooms:
        places = Places(workers, rooms, len(reader.schema.dense_fields), reader.schema.value_width)
        workers.run(lambda worker: read(worker, partial(places.put, worker)))
        dataset = places.dataset()
    else:
        blocks = {worker: [] for worker in workers.own}
        rows = workers.run(lambda worker: read(worker, blocks[worker].append))
        dataset = assembled(workers, blocks) if any(rows) else ()
    found = workers.run(bad_rows.get)
    return dataset if len(dataset) else None, workers.run(lambda worker: merged(found))[0]


def finish_shared(dataset, schema, transforms, workers):
    """Apply transforms to an `unfinished` Dataset in place.  Collective."""

    def finish_share(worker):
        begin, end = (len(dataset) * one // workers.size for one in (worker, worker + 1))
        finish(dataset.slice(begin, end), schema, transforms)

    workers.run(finish_share)
