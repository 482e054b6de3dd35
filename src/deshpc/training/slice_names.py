"""Which values slices are of, and what they are called: rows have their keys alone."""

from deshpc.config.schema import NAMED_FORMATS
from deshpc.formats.raw_values import raw_values
from deshpc.hashing.key import key
from deshpc.metrics.fields import wanted_fields
from deshpc.metrics.slices import most_frequent


def slice_names(session, part, scored):
    """{field: {key: name}} of the values that metrics.slices names, or, where it names none, of the most frequent ones.  Collective.

    part : of the session's data, whose rows have been scored
    scored : Scored
    A bucket is called by its number and its range.  Values of files are looked for there; where rows come from elsewhere, or a value is
    not found, its name is its key in hexadecimal.
    """
    config, schema = session.config.metrics, session.input.schema
    numbers, names = wanted_fields(config, schema), {}
    for one in config.slices:
        field = schema.key_fields[numbers[one.field]]
        if one.values:
            _, name, number = schema.columns[numbers[one.field]]
            names[one.field] = {key(number, name, value): value for value in one.values}
            continue
        keys = most_frequent(session.group, scored.keys[one.field], one.most)
        known = _buckets(session, field, numbers[one.field]) if field.kind == "bucket" else _in_files(session, part, field, keys)
        names[one.field] = {one_key: known.get(one_key, f"{one_key:#018x}") for one_key in keys}
    return names


def _buckets(session, field, number):
    """{key: name} of all buckets of a field."""
    one = next(one for one in session.input.transforms.buckets if one.name == field.name) if session.input.transforms else None
    if one is None:
        return {}
    edges = ["", *(f"{edge:g}" for edge in one.boundaries), ""]
    ranges = [f"{i}: {low or '-inf'} to {high or 'inf'}" for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True))]
    return dict(zip(one.bucket_keys(number).tolist(), [*ranges, ""], strict=True))


def _in_files(session, part, field, keys):
    """{key: value} of those keys that are found in a part's files, which rank 0 reads until it has all of them.  Collective."""
    data, group = session.config.data, session.group
    if data.format not in NAMED_FORMATS:
        return {}
    read = (lambda: session.working("read values", lambda: raw_values(data, session.input.paths(part), field, keys))) if group.rank == 0 else dict
    return group.from_first(group.together(read))
