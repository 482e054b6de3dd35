"""Which fields an evaluation needs the samples' keys of, by `[metrics]`."""

from deshpc.config.schema import LISTS
from deshpc.errors import ConfigError, did_you_mean


def wanted_fields(config, schema):
    """{name: number among the key fields} of the fields that a MetricsConfig names.

    schema : Schema of the samples
    ConfigError where one is no field, or has another number of keys a sample than one.
    """
    names = {"metrics.group": config.group} if config.group else {}
    names |= {f"metrics.slices[{i}].field": one.field for i, one in enumerate(config.slices)}
    return {name: _number(name, option, schema) for option, name in names.items()}


def _number(name, option, schema):
    for number, field in enumerate(schema.keyed_fields):
        if field.name == name:
            if field.kind in LISTS:
                raise ConfigError(f"{option} = {name!r} is a {field.kind} field: a row has several of its values; choose one with a value a row")
            if field.kind == "cross":
                raise ConfigError(f"{option} = {name!r} is a cross, of which a row may have no value; choose a field with a value a row")
            return number
    if any(field.name == name for field in schema.dense_fields):
        raise ConfigError(f"{option} = {name!r} is a dense field, of which hardly two rows have the same value; kind = 'bucket' has few")
    names = [field.name for field in schema.key_fields]
    raise ConfigError(f"{option} = {name!r} is no field of data.fields, which metrics are found by{did_you_mean(name, names)}")
