"""Whether an exported model is what it declares: all that a forward will need is there, and nothing leads it astray.

A checksum says that a file has the bytes that somebody wrote, not that a training wrote them.  So what is declared is checked as a
configuration is, and every array against it, when a model is opened.
"""

import numpy as np

from deshpc.config import resolved
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.formats.schema import Schema
from deshpc.hashing.key_fields import fields_of

_FLOATS = np.dtype(np.float32), np.dtype(np.float64)
_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_LOG = 710.0  # of any float64
_BLOCK = 1 << 20  # numbers that are looked at together


def declared(options, schema, path):
    """(options of `[model]`, Schema) of a stored model: valid ones, as a configuration may have them; else ConfigError or KeyError."""
    fields, label, weight = schema["fields"], schema["label"], schema.get("weight")
    data = {"train": ["none is read"], "fields": fields, "label": "\0" if label is None else label, "weight": "" if weight is None else weight}
    name = options.get("name", "") if isinstance(options, dict) else ""  # nothing is imported: the caller passes its formula
    allowed = (name,) if isinstance(name, str) and ":" in name else ()
    data |= {"crosses": schema.get("crosses", []), "normalise_samples": schema.get("normalise_samples", False)}
    config = build({"data": data, "model": options}, source=str(path), allow_import=allowed)
    own = Schema.from_config(config.data)
    labels = schema.get("labels", "classes")
    if isinstance(label, list):
        label, labels = tuple(label), tuple(labels)
    return resolved(config)["model"], Schema.of_fields(config.data.fields, label, weight, labels, own.crosses, own.normalise_samples)


def require_sound(model, path):
    """DataError, naming file and part, unless transforms, rows and dense parameters are those of the model's options and schema."""
    try:
        top = model.top
        _require_transforms(model.transforms, model.schema)
        _require_rows(model, top, model.forward)
        _require_keys(model.rows.keys, model.schema)
        _require_dense(model.dense, model.forward.shapes(top))
    except (DataError, ConfigError) as error:
        raise DataError(f"{path}: {error}") from None


def _require_transforms(transforms, schema):
    if transforms is None:  # generated samples, whose dense features are taken as they are
        if any(field.kind == "bucket" for field in schema.key_fields):
            raise DataError("the stored transforms, with the boundaries of bucket fields, are missing")
        return
    transforms.require_of(schema)
    for one in transforms.dense:
        if not (_LARGEST_LOG + abs(one.mean)) / one.std < _LARGEST:
            raise DataError(f"field {one.name!r}: standardised by mean {one.mean} and standard deviation {one.std}, numbers leave float32")


def _require_rows(model, top, forward):
    keys, weights, embeddings = model.rows
    n, width = len(keys) if keys.ndim else 0, max(top.row_dims, default=top.vectors * top.dim) if forward.embeds else 0
    if not forward.own_dims and any(dim != top.dim for dim in top.field_dims):
        raise DataError(f"model.fields: {model.name!r} has embeddings of one dimension")
    _require_array("keys", keys, (n,), [np.dtype(np.uint64)])
    _require_array("weights", weights, (n,) if forward.linear and top.linear else (n, 0))
    _require_array("embeddings", embeddings, (n, width), [weights.dtype])


def _require_keys(keys, schema):
    """The one place where keys are looked at: look-ups rely on their order, no value has the key 0, and a key names its field."""
    if len(keys) and not keys[0]:
        raise DataError("section 'keys': it has the key 0, which no value has")
    for begin in range(0, len(keys), _BLOCK):
        some = keys[begin : begin + _BLOCK + 1]
        if not (some[1:] > some[:-1]).all():
            raise DataError("section 'keys': the keys are not increasing")
        if (fields_of(some) >= len(schema.keyed_fields)).any():
            raise DataError(f"section 'keys': it has a key of a field beyond the {len(schema.keyed_fields)} of the schema")


def _require_dense(dense, shapes):
    """Looked at one by one, so that a number of layers in the options is never more than there are parameters."""
    known = set()
    for name, shape in shapes:
        if name not in dense:
            raise DataError(f"the dense parameter {name!r} {_shown(shape)} is missing")
        _require_array(f"dense/{name}", dense[name], shape)
        if name.endswith(".variance") and (dense[name] < 0).any():
            raise DataError(f"section 'dense/{name}': it has a negative variance")
        known.add(name)
    if unknown := dense.keys() - known:
        raise DataError(f"the dense parameter {min(unknown)!r} belongs to no model of these options")


def _require_array(name, array, shape, dtypes=_FLOATS):
    """Of this shape and one of these types, and all numbers finite."""
    if array.shape != shape or array.dtype not in dtypes:
        types = " or ".join(map(str, dtypes))
        raise DataError(f"section {name!r} is {array.dtype} {_shown(array.shape)}; expected {types} {_shown(shape)}")
    if array.dtype.kind != "f":
        return
    numbers = array.reshape(-1)
    for begin in range(0, len(numbers), _BLOCK):
        if not np.isfinite(numbers[begin : begin + _BLOCK]).all():
            raise DataError(f"section {name!r} has numbers that are not finite")


def _shown(shape):
    return f"({', '.join(map(str, shape))})"
