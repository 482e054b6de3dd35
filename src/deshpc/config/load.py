"""TOML to dataclasses and back.  Every problem is a ConfigError that names the option and what would be right."""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from deshpc.config.imports import require_allowed
from deshpc.config.precision import require_representable
from deshpc.config.schema import (
    LISTS,
    METRICS_OF_LOSS,
    NAMED_FORMATS,
    OF_VALUES,
    SEPARATED_FORMATS,
    Config,
    CrossConfig,
    FieldConfig,
    ModelFieldConfig,
    OptimizerConfig,
    options_of,
)
from deshpc.config.tasks import require_tasks, tasks_of
from deshpc.errors import ConfigError, DataError, did_you_mean
from deshpc.storage.regular_file import read_small

_MOST_BYTES, _MOST_LAYERS, _SHOWN = 16 << 20, 1000, 200
STANDARD_INPUT = "-"
_LARGEST_WEIGHT = 1e30  # of a class: far from the end of float32


def load(path, overrides=(), allow_import=()):
    """Read a TOML file, apply `section.key=value` overrides, and return a checked Config.

    allow_import : package.module:Class that `model.name` may name (`config.imports`)

    Relative paths of data in the file are seen from its folder.  Those in `overrides`, and the run's directory, are seen from the
    working directory: what is given on a command line means what it means there.
    """
    return configured(path, overrides, allow_import)


def configured(given, overrides=(), allow_import=(), change=lambda tree: tree):
    """A checked Config of whatever says one; overrides and allow_import as in `load`.

    given : a Config; nested dictionaries, as TOML has them; or the path of a TOML file
    change : function of nested dictionaries that gives others, which are checked in their place
    Relative paths of data are seen from the file's folder, those of dictionaries from the working directory.
    """
    base, source = Path("."), "config"
    if isinstance(given, Config):
        tree = resolved(given)
    elif isinstance(given, Mapping):
        tree = _as_toml(given)
    else:
        tree, base, source = _read(given), Path(given).parent, str(given)
    for text in overrides:
        _apply(tree, text)
    return build(change(tree), base, source, allow_import)


def _read(path):
    """The nested dictionaries of a TOML file."""
    try:
        return _parse(read_small(Path(path), _MOST_BYTES).decode())
    except DataError as error:
        raise ConfigError(str(error).replace("no such file", "no such configuration file")) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _as_toml(value):
    """A copy of nested dictionaries, in which other sequences are lists, paths are texts, and scalars of NumPy are Python's."""
    if isinstance(value, Mapping):
        return {str(name): _as_toml(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_toml(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value


def build(tree, base=Path("."), source="config", allow_import=()):
    """A checked Config from nested dictionaries; relative data paths are taken from `base`; allow_import as in `load`."""
    config = _dataclass(Config, tree, source, ())
    require_allowed(config.model.name, allow_import, f"{source}: model.name")
    _check(config, source)
    if config.data.format == "table":
        return config  # tables have no paths
    absolute = {
        part: tuple(_absolute(base, name, f"{source}: data.{part}") for name in getattr(config.data, part))
        for part in ("train", "valid", "test")
    }
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **absolute))


def checked_fields(trees, taken, source):
    """The FieldConfigs of a list of dictionaries; ConfigError where `[data]` could not have them.

    taken : set of the names of the label's column and the weights'
    """
    fields, taken = [_dataclass(FieldConfig, tree, source, ("fields",)) for tree in trees], set(taken)
    for i, one in enumerate(_limited(fields, source)):
        _check_field(one, f"{source}: fields[{i}]", taken)
        taken.add(one.name)
    check_shares(fields, f"{source}: fields")
    return fields


def checked_crosses(trees, fields, source):
    """The CrossConfigs of a list of dictionaries, each with its name; ConfigError where `[data]` could not have them.

    fields : FieldConfigs of the rows
    """
    return named_crosses([_dataclass(CrossConfig, tree, source, ("crosses",)) for tree in trees], fields, source)


def named_crosses(crosses, fields, source):
    """CrossConfigs as `checked_crosses` gives them."""
    kinds, taken, named = {one.name: one.kind for one in fields}, {one.name for one in fields}, []
    for i, one in enumerate(crosses):
        where = f"{source}: crosses[{i}]"
        if len(one.fields) < 2 or len(set(one.fields)) < len(one.fields):
            raise ConfigError(f"{where}.fields = {_shown(list(one.fields))}: name two or more different fields")
        for name in one.fields:
            if kinds.get(name, "dense") == "dense":
                what = "a dense field, which has no keys: kind = 'bucket' has" if name in kinds else "no field" + did_you_mean(name, list(kinds))
                raise ConfigError(f"{where}.fields: {_shown(name)} is {what}")
        named.append(dataclasses.replace(one, name=one.name or " x ".join(one.fields)))
        if named[-1].name in taken:
            raise ConfigError(f"{where}.name = {_shown(named[-1].name)} is used twice")
        taken.add(named[-1].name)
    return tuple(_limited([*fields, *named], source)[len(fields) :])


def _parse(text):
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib

    return tomllib.loads(text)


def _absolute(base, name, where):
    if name == STANDARD_INPUT:
        return name
    try:
        return str((base / name).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a null character, a loop of links
        raise ConfigError(f"{where}: {_shown(name)} is not a path: {error}") from None


def override(config, *texts, allow_import=()):
    """The same Config with `section.key=value` texts applied and checked; allow_import as in `load`."""
    tree = resolved(config)
    for text in texts:
        _apply(tree, text)
    return build(tree, source="override", allow_import=allow_import)


def resolved(config):
    """Every option with its value as nested dictionaries of plain JSON and TOML types."""

    def plain(value):
        if dataclasses.is_dataclass(value):
            return {name: plain(getattr(value, field.name)) for name, field in options_of(value).items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(config)


def flat(tree):
    """{dotted name: value} of everything in nested dictionaries and lists, such as `resolved` gives."""

    def pairs(thing, path):
        if isinstance(thing, (dict, list)):
            for name, one in thing.items() if isinstance(thing, dict) else enumerate(thing):
                yield from pairs(one, (*path, str(name)))
        else:
            yield ".".join(path), thing

    return dict(pairs(tree, ()))


def _apply(tree, text):
    name, equals, value = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(f"--set {text}: expected section.key=value, such as train.epochs=3")
    try:
        value = _parse(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        value = value.strip()  # a bare word is a string: --set model.name=lr
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {text}: {part} is not a section")
    tree[parts[-1]] = _seen_from_here(value) if parts[0] == "data" and parts[1:] in (["train"], ["valid"], ["test"]) else value


def _seen_from_here(names):
    """Files, or whatever stands there, of a command line: they are seen from where it was given, not from the configuration's folder."""
    if isinstance(names, list):
        return [_seen_from_here(name) for name in names]
    return os.path.abspath(names) if isinstance(names, str) and names not in ("", STANDARD_INPUT) else names


def _dataclass(kind, tree, source, path):
    where = ".".join(path) or "the top level"
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: {where} is a section, not the value {_shown(tree)}")
    hints, options = typing.get_type_hints(kind), options_of(kind)
    for name in tree:
        if name not in options:
            name = name[:_SHOWN]
            if kind is ModelFieldConfig and name == "share":
                raise ConfigError(f"{source}: {'.'.join((*path, name))} is an option of data.fields: keys are made where rows are read")
            near = difflib.get_close_matches(name, options, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"{source}: unknown option {'.'.join((*path, name))}; did you mean {'.'.join((*path, near))}? "
                f"({where} has: {', '.join(options)})"
            )
    values = {
        field.name: _value(hints[field.name], tree[name], source, (*path, name), field.metadata)
        for name, field in options.items()
        if name in tree
    }
    return kind(**values)


def _value(kind, value, source, path, metadata):
    name = ".".join(path)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ConfigError(f"{source}: {name} does not fit into 64 bits")
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, source, path)
    if typing.get_origin(kind) is types.UnionType:
        kind = str if isinstance(value, str) else typing.get_args(kind)[1]
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(value, str) and item is str:
            value = [value]  # one file needs no brackets
        if not isinstance(value, list):
            raise ConfigError(f"{source}: {name} must be a list, not {_shown(value)}")
        return tuple(_value(item, one, source, (*path[:-1], f"{path[-1]}[{i}]"), {}) for i, one in enumerate(value))
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        words = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
        raise ConfigError(f"{source}: {name} must be {words[kind]}, not {_shown(value)}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{source}: {name} must be finite, not {_shown(value)}")
    _valid(value, source, name, types.MappingProxyType(dict(metadata)))
    return value


def _shown(value):
    """A value in a message, of which a line is enough."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _valid(value, source, name, metadata):
    choices = metadata.get("choices")
    open_to = metadata.get("importable") and ":" in value or metadata.get("of_tasks") and value.rpartition(".")[2] in choices
    if choices and value not in choices and not open_to:
        near = difflib.get_close_matches(str(value)[:_SHOWN], choices, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{source}: {name} = {_shown(value)} is not one of {', '.join(map(repr, choices))}{hint}")
    if metadata.get("minimum") is not None and value < metadata["minimum"]:
        raise ConfigError(f"{source}: {name} = {_shown(value)} is too small: at least {metadata['minimum']}")
    if metadata.get("maximum") is not None and value > metadata["maximum"]:
        raise ConfigError(f"{source}: {name} = {_shown(value)} is too large: at most {metadata['maximum']}")
    if metadata.get("above") is not None and not value > metadata["above"]:
        raise ConfigError(f"{source}: {name} = {_shown(value)} is too small: it must be above {metadata['above']}")
    if metadata.get("below") is not None and not value < metadata["below"]:
        raise ConfigError(f"{source}: {name} = {_shown(value)} is too large: it must be below {metadata['below']}")


_WITHOUT_NORM = {
    "synthetic": "generated samples are those of their true model; leave it out",
    "cache": "a cache has the values that were made of its rows; convert the rows again with it, and leave it out here",
}


def _check(config, source):
    """What no single option shows."""
    data = config.data
    if data.format == "synthetic" and data.crosses:
        raise ConfigError(f"{source}: data.crosses: generated samples (data.format = 'synthetic') have no crosses in their true model; leave it out")
    if data.normalise_samples and data.format in _WITHOUT_NORM:
        raise ConfigError(f"{source}: data.normalise_samples = true does not go with data.format = {data.format!r}: {_WITHOUT_NORM[data.format]}")
    if data.format != "synthetic":
        if data.format != "table" and not data.train and not data.test and not data.valid:
            raise ConfigError(f"{source}: data.train names no file; give data.train = ['rows.csv'] or data.format = 'synthetic'")
        _check_format(data, f"{source}: data")
    if data.weight in data.labels and data.weight:
        raise ConfigError(f"{source}: data.weight and data.label are both {_shown(data.weight)}: a column is one of them")
    require_tasks(config, source)
    taken = {*data.labels, data.weight}
    for i, one in enumerate(_limited(data.fields, f"{source}: data")):
        _check_field(one, f"{source}: data.fields[{i}]", taken)
        taken.add(one.name)
    check_shares(data.fields, f"{source}: data.fields")
    if data.fields:
        named_crosses(data.crosses, data.fields, f"{source}: data")
    _check_layers(config.model, f"{source}: model")
    _check_model_fields(config.model, f"{source}: model")
    _check_optimizer(config.optimizer, f"{source}: optimizer")
    if config.train.precision == "float64" and config.train.accumulate == "float32":
        raise ConfigError(f"{source}: train.accumulate = 'float32' is coarser than train.precision = 'float64'")
    if config.compute.backend != "cuda" and config.compute.transport != "auto":
        raise ConfigError(
            f"{source}: compute.transport = {config.compute.transport!r} is for arrays of a device, and compute.backend = "
            f"{config.compute.backend!r} has none; leave it 'auto', or choose compute.backend = 'cuda'"
        )
    require_representable(config, source)
    _check_loss(config, source)
    _check_stopping(config, f"{source}: train")
    _check_slices(config.metrics, f"{source}: metrics")
    _check_weights(config.train, f"{source}: train")
    _check_table(config, f"{source}: table")
    _check_follow(config, source)
    _check_export(config, f"{source}: export")


def _check_export(config, where):
    """Refuse exports of what no predictor scores, or nobody saves."""
    if config.export.deltas and ":" in config.model.name:
        raise ConfigError(
            f"{where}.deltas: whoever follows exports needs the model's formula, and that of model.name = {config.model.name!r} is not the package's: "
            "leave it out; deshpc export writes the trained model, which a predictor opens with forward = the formula"
        )
    if config.export.deltas and not config.run.save_model:
        raise ConfigError(f"{where}.deltas exports the trained model, too, which run.save_model = false does not write: leave one of them out")


def _check_format(data, where):
    """Refuse fields where the format has its own, none where it has not, and options of another format."""
    named = data.format in NAMED_FORMATS
    if named and not data.fields:
        raise ConfigError(f"{where}.fields is empty; add a [[data.fields]] section with name and kind per column")
    if not named and data.fields:
        raise ConfigError(f"{where}.fields does not go with {where}.format = {data.format!r}, which knows its fields; leave it out")
    if data.format == "cache" and data.crosses:
        raise ConfigError(f"{where}.crosses: {where}.format = 'cache' has the keys that were made of its rows: convert the rows again with {where}.crosses")
    for name in ("positive", "missing"):
        if not named and getattr(data, name):
            raise ConfigError(f"{where}.{name} belongs to {where}.format = 'csv', 'tsv', 'parquet' or 'table', not {data.format!r}")
    if not named and data.weight:
        why = "knows whether its rows have weights" if data.format == "cache" else "has no such column"
        raise ConfigError(
            f"{where}.weight = {_shown(data.weight)}: {where}.format = {data.format!r} {why}; "
            "it belongs to 'csv', 'tsv', 'parquet' or 'table'"
        )
    if data.format in SEPARATED_FORMATS:
        _check_cells(data, where)
    elif data.delimiter or data.columns or not data.header:
        name = "delimiter" if data.delimiter else "columns" if data.columns else "header"
        raise ConfigError(f"{where}.{name} belongs to {where}.format = 'csv' or 'tsv', not {data.format!r}")
    if data.positive and data.positive in data.missing:
        raise ConfigError(f"{where}.positive = {_shown(data.positive)} is in {where}.missing: such a row has no label")
    if data.format == "libffm" and not data.libffm_fields:
        raise ConfigError(f"{where}.libffm_fields = 0: give the number of fields, one more than the largest field number")
    if data.libffm_fields > 65_535:
        raise ConfigError(f"{where}.libffm_fields = {data.libffm_fields}: at most 65535 are possible")
    if data.format != "libffm" and data.libffm_fields:
        raise ConfigError(f"{where}.libffm_fields belongs to {where}.format = 'libffm', not {data.format!r}")
    if data.format != "criteo" and data.criteo_numeric != "dense":
        raise ConfigError(f"{where}.criteo_numeric belongs to {where}.format = 'criteo', not {data.format!r}")


def _check_cells(data, where):
    """Refuse delimiters that are none, columns' names that would be read twice, or nowhere."""
    if data.delimiter:
        _check_separator(data.delimiter, f"{where}.delimiter")
    if data.header and data.columns:
        raise ConfigError(f"{where}.columns names the columns of files without a header: add {where}.header = false, or leave it out")
    if not data.header and not data.columns:
        raise ConfigError(f"{where}.header = false: name the columns in their order, such as {where}.columns = ['click', 'site']")
    if len(set(data.columns)) < len(data.columns):
        twice = next(name for name in data.columns if data.columns.count(name) > 1)
        raise ConfigError(f"{where}.columns has {_shown(twice)} twice; a column that is not used needs a name of its own, too")
    if data.format == "tsv":  # has no quotes, inside which a delimiter would be text
        for i, one in enumerate(data.fields):
            if one.kind in LISTS and (data.delimiter or "\t") in (one.separator, one.weight_separator):
                raise ConfigError(f"{where}.fields[{i}]: its values are separated by the character that separates cells")


def _check_layers(model, where):
    """Refuse layers without units, and an interaction network without layers."""
    for name in ("hidden", "task_hidden", "bottom_hidden", "cin_layers", "attention_hidden", "attention_layers"):
        if len(getattr(model, name)) > _MOST_LAYERS:
            raise ConfigError(f"{where}.{name} has {len(getattr(model, name))} layers; at most {_MOST_LAYERS} are possible")
        for i, width in enumerate(getattr(model, name)):
            if width < 1:
                raise ConfigError(f"{where}.{name}[{i}] = {width} is too small: a layer has at least 1 unit")
    if model.name == "xdeepfm" and not model.cin_layers:
        raise ConfigError(f"{where}.cin_layers is empty: xdeepfm needs a layer; without one it is wide_deep")
    if model.name == "autoint":
        if not model.attention_layers:
            raise ConfigError(f"{where}.attention_layers is empty: autoint needs a layer; without one it is wide_deep")
        for i, width in enumerate(model.attention_layers):
            if width % model.attention_heads:
                raise ConfigError(f"{where}.attention_layers[{i}] = {width} cannot be divided among {where}.attention_heads = {model.attention_heads}")


def _check_model_fields(model, where):
    """Refuse fields without a name, and the same field twice."""
    taken = set()
    for i, one in enumerate(model.fields):
        if not one.name or one.name in taken:
            problem = "is there twice" if one.name else "needs a name"
            raise ConfigError(f"{where}.fields[{i}].name = {_shown(one.name)} {problem}")
        taken.add(one.name)


def _check_optimizer(one: OptimizerConfig, where):
    """Refuse options that the rule or the decay gives no meaning, and divisions of 0 by 0."""
    accumulates = one.name in ("adagrad", "rowwise_adagrad") or one.dense_name == "adagrad"
    if accumulates and one.initial_accumulator == 0 and one.epsilon == 0:
        raise ConfigError(f"{where}.initial_accumulator and {where}.epsilon are both 0: a zero gradient divides 0 by 0")
    if "adam" in (one.name, one.dense_name) and one.epsilon == 0:
        raise ConfigError(f"{where}.epsilon = 0: a zero gradient divides 0 by 0; adam needs a small number, such as 1e-8")
    if one.name == "ftrl" and one.initial_accumulator == 0 and one.beta == 0:
        raise ConfigError(f"{where}.initial_accumulator and {where}.beta are both 0: a zero gradient divides 0 by 0")
    if one.name != "ftrl" and one.l1 > 0:
        raise ConfigError(
            f"{where}.l1 = {one.l1}, but {one.name} cannot use it: a gradient step makes no weight exactly 0; "
            f"choose {where}.name = 'ftrl'"
        )
    if one.name == "ftrl" and (one.warmup_steps or one.decay != "none"):
        raise ConfigError(
            f"{where}.warmup_steps and {where}.decay do not go with ftrl: it computes weights anew from all its gradients, "
            "of which each was weighted by the learning rate; its rate falls by itself"
        )
    if one.decay == "none" and (one.decay_steps or one.final_rate_fraction):
        raise ConfigError(
            f"{where}.decay_steps and {where}.final_rate_fraction belong to a decay; choose {where}.decay = 'linear' or 'cosine'"
        )
    if one.decay == "inverse_sqrt" and not one.decay_steps:
        raise ConfigError(f"{where}.decay_steps = 0: inverse_sqrt has no end; give the steps after which the rate is 0.71 of itself")
    if one.decay == "inverse_sqrt" and one.final_rate_fraction:
        raise ConfigError(f"{where}.final_rate_fraction = {one.final_rate_fraction}: inverse_sqrt has no end; use linear or cosine")


def _check_loss(config, source):
    """Refuse what belongs to classes where all labels are numbers, and metrics of another loss."""
    losses, metric = [task.loss for task in tasks_of(config)] or [config.train.loss], config.train.stop_metric
    loss = losses[0]
    if not tasks_of(config) and metric != "none" and metric not in METRICS_OF_LOSS[loss]:
        raise ConfigError(
            f"{source}: train.stop_metric = {metric!r} is no metric of train.loss = {loss!r}, whose are {', '.join(METRICS_OF_LOSS[loss])}"
        )
    if "log" in losses:
        return
    if config.data.positive:
        whose = f"those of all tasks ({', '.join(losses)})" if tasks_of(config) else f"labels of train.loss = {loss!r}"
        raise ConfigError(
            f"{source}: data.positive = {_shown(config.data.positive)} names a class, and {whose} are numbers: leave it out, or choose train.loss = 'log'"
        )
    for name, given in (("class_weights", config.train.class_weights), ("negative_sampling", config.train.negative_sampling < 1)):
        if given:
            raise ConfigError(f"{source}: train.{name} belongs to train.loss = 'log': labels of {loss!r} are of no class; leave it out")
    for name in ("group", "slices"):
        if getattr(config.metrics, name):
            raise ConfigError(f"{source}: metrics.{name} belongs to train.loss = 'log': what it finds is of classes; leave it out")
    if config.data.format == "synthetic":
        raise ConfigError(
            f"{source}: train.loss = {loss!r} does not go with data.format = 'synthetic', whose labels are 0 or 1: choose train.loss = 'log'"
        )


def _check_stopping(config, where):
    """Refuse evaluations on the way without a validation part, and a best model that nobody keeps."""
    train, data = config.train, config.data
    valid = data.synthetic.valid_rows > 0 if data.format == "synthetic" else bool(data.valid)
    source = "data.synthetic.valid_rows" if data.format == "synthetic" else "data.valid"
    if train.evaluate_every_steps and not valid:
        raise ConfigError(f"{where}.evaluate_every_steps = {train.evaluate_every_steps} needs a validation part: {source}")
    if train.stop_metric == "none":
        return
    if not valid:
        raise ConfigError(f"{where}.stop_metric = {train.stop_metric!r} needs a validation part: {source}")
    needs = {"grouped_auc": ("metrics.group", config.metrics.group), "calibration_error": ("metrics.calibration_bins", config.metrics.calibration_bins)}
    option, value = needs.get(train.stop_metric.rpartition(".")[2], ("", True))
    if not value:
        raise ConfigError(f"{where}.stop_metric = {train.stop_metric!r} needs {option}, which is {value!r}")
    if not config.run.save_model:
        raise ConfigError(
            f"{where}.stop_metric = {train.stop_metric!r} keeps the best model in the run's folder: run.save_model must be true"
        )


def _check_slices(metrics, where):
    """Refuse slices of no field, and those of a field twice."""
    taken = set()
    for i, one in enumerate(metrics.slices):
        if not one.field or one.field in taken:
            problem = "is there twice; name all values in one section" if one.field else "is missing: the field's name in data.fields"
            raise ConfigError(f"{where}.slices[{i}].field = {_shown(one.field)} {problem}")
        taken.add(one.field)


def _check_weights(train, where):
    """Refuse weights of classes that are not those of two, or that leave nothing to learn from."""
    weights = train.class_weights
    if not weights:
        return
    if len(weights) != 2:
        raise ConfigError(f"{where}.class_weights has {len(weights)} numbers; expected 2, of negatives and of positives, such as [1, 10]")
    for i, weight in enumerate(weights):
        if not 0 <= weight <= _LARGEST_WEIGHT:
            raise ConfigError(f"{where}.class_weights[{i}] = {weight}: a weight is at least 0, and at most {_LARGEST_WEIGHT:g}")
    if not any(weights):
        raise ConfigError(f"{where}.class_weights = [0, 0]: no sample counts anything; give one of the classes a weight above 0")


def _check_table(config, where):
    """Refuse limits of what is not kept, and of zeros where no weight becomes one."""
    table, optimizer = config.table, config.optimizer
    if table.min_decayed_count and not table.half_life_steps:
        raise ConfigError(f"{where}.min_decayed_count = {table.min_decayed_count}: counts do not decay; give {where}.half_life_steps, too")
    if table.half_life_steps and not (table.min_decayed_count or table.max_rows or table.max_bytes_per_rank):
        raise ConfigError(
            f"{where}.half_life_steps = {table.half_life_steps}: nothing is decided by decayed counts; give {where}.min_decayed_count, "
            f"{where}.max_rows or {where}.max_bytes_per_rank, or leave it out"
        )
    if table.zero_age_steps and not (optimizer.name == "ftrl" and optimizer.l1 > 0):
        raise ConfigError(
            f"{where}.zero_age_steps = {table.zero_age_steps}: only the L1 of ftrl makes weights exactly 0; choose optimizer.name = 'ftrl' "
            "and optimizer.l1 above 0"
        )
    if table.max_waiting_keys and table.admits_all:
        raise ConfigError(
            f"{where}.max_waiting_keys = {table.max_waiting_keys}: no key waits where all get rows at their first sight; give "
            f"{where}.admit_after or {where}.admit_probability, or leave it out"
        )


def _check_follow(config, source):
    """Refuse what has to know all rows of a training part that nobody has yet."""
    data, train, decay = config.data, config.train, config.optimizer
    if not data.follow:
        if STANDARD_INPUT in data.train:
            raise ConfigError(f"{source}: data.train = ['-'], standard input, is read as it comes: set data.follow = true, too")
        return
    one = f"{source}: data.follow = true"
    if data.format in ("cache", "synthetic", "table"):
        raise ConfigError(f"{one}: data.format = {data.format!r} has no rows that come; choose text or 'parquet'")
    if STANDARD_INPUT in data.train[1:] or data.train[:1] == (STANDARD_INPUT,) != data.train:
        raise ConfigError(f"{one}: data.train names {len(data.train)} files; standard input, '-', comes alone")
    if data.train == (STANDARD_INPUT,) and data.format == "parquet":
        raise ConfigError(f"{one}: data.train = ['-'] is read from begin to end, and a Parquet file from its end; choose text, or a folder")
    if "/" in data.follow_end:
        raise ConfigError(f"{source}: data.follow_end = {_shown(data.follow_end)} is the name of a file in the folder, without a path")
    if train.epochs != 1:
        raise ConfigError(f"{one}: train.epochs = {train.epochs}: rows come once; leave it out, or train on the folder without data.follow")
    if train.negative_sampling < 1:
        raise ConfigError(f"{one}: train.negative_sampling = {train.negative_sampling} is of all rows' numbers, which a stream does not have: leave it out")
    if decay.decay in ("linear", "cosine") and not decay.decay_steps:
        raise ConfigError(f"{one}: optimizer.decay = {decay.decay!r} needs optimizer.decay_steps: nobody knows when the stream ends")


def _limited(fields, where):
    if len(fields) > 65_535:
        raise ConfigError(f"{where}.fields has {len(fields)} entries; at most 65535 are possible")
    return fields


def _check_field(one: FieldConfig, where, taken):
    if not one.name:
        raise ConfigError(f"{where}.name is missing: the column's name in the header")
    if one.name in taken:
        raise ConfigError(f"{where}.name = {_shown(one.name)} is used twice (the label and the weight count too)")
    if one.kind in LISTS:
        _check_separator(one.separator, f"{where}.separator")
    elif one.linear_pooling:
        raise ConfigError(f"{where}: linear_pooling belongs to kind = 'multi' and 'sequence', not {one.kind!r}")
    if one.weight_separator:
        if one.kind != "multi":
            raise ConfigError(f"{where}: weight_separator belongs to kind = 'multi', not {one.kind!r}")
        _check_separator(one.weight_separator, f"{where}.weight_separator")
        if one.weight_separator == one.separator:
            raise ConfigError(f"{where}.weight_separator and {where}.separator are both {_shown(one.separator)}")
    for name in ("length", "newest", "recency"):
        if one.kind != "sequence" and getattr(one, name) != getattr(FieldConfig, name):
            raise ConfigError(f"{where}.{name} belongs to kind = 'sequence', not {one.kind!r}")
    if one.kind != "dense" and (one.transform != "signed_log" or one.clip or not one.standardise):
        raise ConfigError(f"{where}: transform, clip and standardise belong to kind = 'dense', not {one.kind!r}")
    if one.clip and not (len(one.clip) == 2 and one.clip[0] < one.clip[1]):
        raise ConfigError(f"{where}.clip = {_shown(list(one.clip))}: give the lowest and the highest number, such as [0, 100]")
    if list(one.boundaries) != sorted(set(one.boundaries)):
        raise ConfigError(f"{where}.boundaries must increase strictly")


def check_shares(fields, where):
    """Refuse fields whose keys are those of a field that is not there, has none of its own, or is this one.

    fields : FieldConfigs
    """
    known = {one.name: one for one in fields}
    for i, one in enumerate(fields):
        if not one.share:
            continue
        this, other = f"{where}[{i}].share = {_shown(one.share)}", known.get(one.share)
        if other is None:
            raise ConfigError(f"{this} is no field of data.fields{did_you_mean(one.share, known)}")
        if other is one:
            raise ConfigError(f"{this} is the field itself; leave it out")
        if other.share:
            raise ConfigError(f"{this}: the keys of that field are those of {_shown(other.share)}; give share = {_shown(other.share)} here, too")
        for field in (one, other):
            if field.kind not in OF_VALUES:
                raise ConfigError(f"{this}: {_shown(field.name)} is of kind = {field.kind!r}, which has no keys of values; only {', '.join(OF_VALUES)} have")


def _check_separator(character, where):
    if len(character) != 1 or not character.isascii() or character in '"\r\n':
        raise ConfigError(f"{where} = {_shown(character)} must be one ASCII character other than a quote or line end")
