"""Sequences whose values are weighed by their likeness to another field's, `model.fields.target`."""

from typing import NamedTuple

from deshpc.config.schema import OF_VALUES
from deshpc.errors import ConfigError, did_you_mean

_MOST_EMBEDDINGS = (1 << 16) - 1  # of a sample: their numbers have 16 bits


class Attended(NamedTuple):
    """field, target : numbers of a sequence among the key fields, and of the field that it is compared with
    length : the most values that it has in a sample
    """

    field: int
    target: int
    length: int


def attended(targets, fields):
    """The Attended of some fields, in the order of the key fields.  ConfigError where one is no sequence, or its target has not one value.

    targets : {name of a field: that of its target, empty for none}
    fields : FieldConfigs of all key fields
    """
    number_of, found = {one.name: number for number, one in enumerate(fields)}, []
    for name, target in targets.items():
        if not target:
            continue
        one, other = (fields[number_of[each]] if each in number_of else None for each in (name, target))
        this = f"model.fields: the target of {name!r}"
        if one is None:
            raise ConfigError(f"model.fields: {name!r} is no field of the data that becomes keys{did_you_mean(name, number_of)}")
        if one.kind != "sequence":
            raise ConfigError(f"{this}: the field is of kind = {one.kind!r}; only a 'sequence' has values that are weighed one by one")
        if other is None:
            raise ConfigError(f"{this}: {target!r} is no field of the data that becomes keys{did_you_mean(target, number_of)}")
        if other.kind not in (OF_VALUES[0], "bucket"):
            raise ConfigError(f"{this}: {target!r} is of kind = {other.kind!r}; it has to have one value in a sample, as 'categorical' and 'bucket' have")
        found.append(Attended(number_of[name], number_of[target], one.length))
    embeddings = sum(lengths_apart(len(fields), found)) + len(fields) - len(found)
    if embeddings > _MOST_EMBEDDINGS:
        raise ConfigError(
            f"model.fields: a sample has {embeddings:,} embeddings, those of values of sequences with a target among them; at most "
            f"{_MOST_EMBEDDINGS:,} are possible: give such fields a smaller length"
        )
    return tuple(sorted(found))


def targets_of(model):
    """{name: target} of a ModelConfig's fields."""
    return {one.name: one.target for one in model.fields}


def lengths_apart(n_fields, sequences):
    """[F] the most values of each field that stay apart, 0 where they are added up.  sequences : Attended"""
    lengths = [0] * n_fields
    for one in sequences:
        lengths[one.field] = one.length
    return lengths
