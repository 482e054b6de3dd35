"""Embedding dimensions of single fields, `[[model.fields]]`."""

import difflib

from deshpc.errors import ConfigError


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
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"model.fields: {name!r} is no field of the data that becomes keys{hint}")
    return tuple(dims.get(name) or dim for name in names)
