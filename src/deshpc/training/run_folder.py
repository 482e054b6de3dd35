"""Which folder a run has: the one that its configuration names, or a new one of its own.

    runs/2026-01-05-120001/     a run whose run.directory is empty
    runs/latest                 leads to the newest of them
"""

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deshpc.checkpoint.folders import run_model
from deshpc.checkpoint.manifest import NAME
from deshpc.errors import ConfigError

_PARENT, _LATEST = "runs", "latest"


def with_folder(config, comm, resume):
    """The Config of a run with its folder: the one it names, else a new one, or with `resume` that of runs/latest.  Collective."""
    if config.run.directory:
        return config
    directory = comm.bcast(_chosen(resume) if comm.rank == 0 else None)
    return replace(config, run=replace(config.run, directory=directory))


def _chosen(resume):
    latest = Path(_PARENT) / _LATEST
    if resume and latest.exists():
        return str(Path(_PARENT) / os.readlink(latest)) if latest.is_symlink() else str(latest)
    name = time.strftime("%Y-%m-%d-%H%M%S")
    taken = {one.name for one in Path(_PARENT).glob(f"{name}*")}
    return str(Path(_PARENT) / next(one for one in (name, *(f"{name}-{n}" for n in range(2, 1000))) if one not in taken))


def lead_latest_to(directory):
    """Let runs/latest lead to a run's folder there.  A folder of that name stays, as does whatever cannot be changed."""
    folder = Path(directory)
    latest = folder.with_name(_LATEST)
    if folder.parent.name != _PARENT or folder == latest or (latest.exists() and not latest.is_symlink()):
        return
    new = latest.with_name(f".{_LATEST}.{folder.name}")
    with suppress(OSError):  # a file system without links
        new.unlink(missing_ok=True)
        os.symlink(folder.name, new)
        os.replace(new, latest)


def require_unfinished(directory, resume, overwrite):
    """ConfigError where the folder holds a trained model, unless somebody wants to go on from it or to replace it."""
    if not (resume or overwrite) and (run_model(directory) / NAME).exists():
        raise ConfigError(
            f"run.directory = {directory!r} holds a trained model: add --overwrite to replace it, --resume to go on from its last "
            "checkpoint, or choose another folder by --set run.directory=..."
        )
