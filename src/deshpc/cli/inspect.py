"""`deshpc inspect`: what a file or folder of deshpc is, and whether it is sound.  NumPy only: no MPI, no Numba."""

import re
from collections import Counter
from pathlib import Path

from deshpc.cli.tables import aligned
from deshpc.errors import DataError


def inspect(path):
    """Text about a run's directory, a checkpoint, a model, a cache or an exported model, of which every checksum holds.

    DataError, naming all files and sections that are damaged, where one does not.
    """
    path = Path(path)
    parts, damage = [], []
    for target, describe in _targets(path):
        try:
            parts.append(f"{target}\n{describe(target)}")
        except DataError as error:
            damage.append(str(error))
    if damage:
        raise DataError(_printable("; ".join(damage)))
    return _printable("\n\n".join(parts))


def _printable(text):
    """A text with texts from files in it, without what a terminal would obey."""
    return "".join(one if one == "\n" or one.isprintable() else ascii(one)[1:-1] for one in text)


def _targets(path):
    """[(path, function that describes it)] of all that there is to inspect."""
    from deshpc.checkpoint.folders import model_folder, step_folders
    from deshpc.checkpoint.manifest import NAME

    if not path.is_dir():
        return [(path, _file)]
    if (path / NAME).exists():
        return [(path, _model)]
    models = [folder for _, folder in step_folders(path)]
    try:
        models.insert(0, model_folder(path))
    except DataError:
        if (path / "model").exists():
            models.insert(0, path / "model")
    if models:
        return [(folder, _model) for folder in models]
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.endswith(".partial")]
    containers = [(file, _file) for file in files if _is_container(file)]
    if not containers:
        raise DataError(f"{path}: no model, checkpoint, cache or exported model there")
    return containers


def _is_container(path):
    from deshpc.storage.container import MAGIC

    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _file(path):
    """A single container."""
    from deshpc.storage.container import Container

    container = Container(path)
    container.verify()
    _require_sound(path, container.kind)
    about = container.about
    if container.kind == "model delta":
        about = {**about, **about["model"]}
    lines = [("what", {"samples": "cache of samples", "model": "exported model"}.get(container.kind, container.kind))]
    for name in ("base", "base_steps", "result", "steps", "rank", "ranks", "rows", "hash"):
        if name in about:
            lines.append((name, f"{about[name]:,}" if type(about[name]) is int else str(about[name])))
    schema, model = about.get("schema"), about.get("model")
    if isinstance(model, dict):
        lines.append(("model", ", ".join(f"{name} = {value}" for name, value in model.items())))
    if isinstance(schema, dict):
        lines += [("fields", _names(schema.get("fields", []))), ("crosses", _crosses(schema)), ("samples", _norm(schema))]
    lines = [line for line in lines if line[1]]
    return aligned([*lines, *_sections(container), ("verified", _verified([container]))])


def _require_sound(path, kind):
    """DataError unless a container holds what its kind has to hold."""
    if kind == "samples":
        from deshpc.data.cache_file import Cache

        cache = Cache(path)
        for number in range(len(cache.counts)):
            cache.piece(number)
    elif kind == "checkpoint rows":
        from deshpc.checkpoint.rows_file import RowsFile

        RowsFile(path)
    elif kind == "model":
        from deshpc.serve.exported import read_model

        read_model(path)
    elif kind == "model delta":
        from deshpc.serve.delta import read_delta

        read_delta(path)


def _model(folder):
    """A model's folder: a trained model or a checkpoint."""
    from deshpc.checkpoint.load import verify

    containers = []
    manifest = verify(folder, containers.append)
    try:
        return _of_manifest(folder, manifest, containers)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder}: damaged: its manifest does not say what the model is: {error!r}") from None


def _of_manifest(folder, manifest, containers):
    """Text about the model of a manifest."""
    from deshpc.checkpoint.load import best_step_of, rows_of

    best_step = best_step_of(manifest)
    progress, model, config = manifest["progress"], manifest["model"], manifest["config"]
    lines = [("what", f"{'model' if progress is None else 'checkpoint'} after {manifest['steps']:,} steps")]
    if progress is not None:
        lines.append(
            ("goes on at", f"epoch {progress['epoch'] + 1}, batch {progress['batch'] + 1} "
             f"(block {progress['block'] + 1}, row {progress['row'] + 1}; {progress['position']:,} of {progress['train_rows']:,} "
             f"samples of the epoch done), {progress['samples']:,} samples trained")
        )  # fmt: skip
        if progress["stopping"]:
            lines.append(("early stopping", ", ".join(f"{name} {value}" for name, value in progress["stopping"].items())))
    if "base" in manifest:
        lines.append(("changes since", f"{manifest['base']['steps']:,} steps, whose rows are in {folder / 'base'}"))
    if best_step is not None:
        lines.append(("best model", f"after {best_step:,} steps, in {folder / 'best'}"))
    counts, split = ", ".join(f"{count:,}" for count in manifest["rows"]), model["split"]
    lines += [
        ("written by", f"{manifest['ranks']} ranks, deshpc {manifest['deshpc']}"),
        ("run", _run_of(manifest, folder)),
        ("rows", f"{rows_of(manifest):,} ({counts}), split by {split}"),
        ("model", f"{model['operator']}, {_dim_of(model, config)}, {model['precision']}"),
        ("optimizer", f"{model['optimizer']}, {model['scalar_state'] + model['vector_state']} state numbers a row"),
        ("dense parameters", ", ".join(f"{name} {tuple(shape)}" for name, shape in manifest["dense"])),
        ("keys hashed by", manifest["hash"]),
        ("data", config["data"]["format"]),
        ("fields", _names(_columns(manifest)["fields"])),
        ("crosses", _crosses(_columns(manifest))),
        ("samples", _norm(_columns(manifest))),
        ("random state", f"seed {manifest['random']['seed']}, step {manifest['random']['step']:,}"),
    ]
    lines += [(Path(one.path).name, f"{one.nbytes:,} bytes: {'; '.join(text for _, text in _sections(one))}") for one in containers]
    return aligned([line for line in lines if line[1]] + [("verified", _verified(containers))])


def _dim_of(model, config):
    """How many numbers an embedding has: of ffm, for each field that a key meets."""
    if model["operator"] == "ffm":
        return f"dim {config['model']['dim']} for each field, {model['dim']:,} in all"
    return f"dim {model['dim']}"


def _run_of(manifest, folder):
    """The run that wrote a model, and whether the record above its folder is that run's."""
    for above in (folder.parent, folder.parent.parent):
        record = above / "record.jsonl"
        if record.is_file():
            return f"{manifest['run']}, {'' if _names_run(record, manifest['run']) else 'not '}in {record}"
    return manifest["run"]


def _names_run(record, run):
    with open(record, encoding="utf-8", errors="replace") as lines:
        return any(f'"run": "{run}"' in line for line in lines if line.startswith(('{"event": "start"', '{"event": "day"')))


def _sections(container):
    """[("sections", text)]: sections that differ in a number are put together."""
    found, first = Counter(), {}
    for name, _, dtype, shape in container.sections():
        general = re.sub(r"\d+$", "*", name)
        found[general] += 1
        first.setdefault(general, f"{dtype} {shape}")
    if not found:
        return [("sections", "no sections")]
    return [("sections", ", ".join(f"{name} {first[name]}{f' x {count}' * (count > 1)}" for name, count in found.items()))]


def _verified(containers):
    sections = sum(len(one.names) for one in containers)
    return f"{sections:,} sections of {len(containers)} files, {sum(one.nbytes for one in containers):,} bytes"


def _columns(manifest):
    """What names fields as the data had them, or as the configuration does."""
    return manifest["source"].get("schema", manifest["config"]["data"])


def _norm(columns):
    return "divided by their norm" if columns.get("normalise_samples") is True else ""


def _crosses(columns):
    """Crosses, with the fields of those that have names of their own."""
    crosses = ((one["name"], " x ".join(one["fields"])) for one in columns.get("crosses", []))
    return ", ".join(fields if name in ("", fields) else f"{name} ({fields})" for name, fields in crosses)


def _names(fields):
    return ", ".join(f"{one['name']} ({one['kind']})" for one in fields)
