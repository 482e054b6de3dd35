"""Embedding dimensions of single fields, `[[model.fields]]`."""

from deshpc.errors import ConfigError, did_you_mean


def has_field_dims(model):
    """Whether a ModelConfig gives any field another dimension than model.dim."""
    return any(one.dim not in (0, model.dim) for one in model.fields)


def field_dims(dim, dims, names):
    """(F) embedding dimensions of the fields of these names.

    dim : `model.dim`
    dims : {name: dimension, 0 for dim} of single fields;  ConfigError where one of these is none of the fields
    """
    known = set(names)
    for name in dims:
        if name not in known:
            raise ConfigError(f"model.fields: {name!r} is no field of the data that becomes keys{did_you_mean(name, names)}")
    return tuple(dims.get(name) or dim for name in names)
