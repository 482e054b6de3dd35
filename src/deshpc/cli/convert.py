"""`deshpc convert`: the rows of a configuration as caches, and the configuration that trains on them."""

import dataclasses
import time
from contextlib import contextmanager
from pathlib import Path

from deshpc.cli.tables import aligned
from deshpc.cli.toml import to_toml
from deshpc.config import DataConfig, load, resolved
from deshpc.config.tasks import losses_of
from deshpc.errors import ConfigError, DataError, LaunchError
from deshpc.launch.console import say
from deshpc.launch.launcher import launcher
from deshpc.storage.lock import Lock
from deshpc.storage.whole_file import remove_partials, write_text


def convert(path, folder, overrides, allow_import=()):
    """Write PART.cache of each part and config.toml to `folder`; returns what was written, as text."""
    if launcher().ranks > 1:
        raise LaunchError("deshpc convert is a single process: start it without mpiexec or srun")
    config, folder = load(path, overrides, allow_import), Path(folder)
    target = folder / "config.toml"
    if target.exists() and target.samefile(path):
        raise ConfigError(f"--out {folder}: {target} would be replaced; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror}") from None
    with _locked(folder):
        return _write(config, folder, target)


@contextmanager
def _locked(folder):
    """Hold a folder's lock for a block: caches and configuration belong together."""
    lock = Lock(folder / "lock", f"--out {folder}", say)
    try:
        lock.take()
        for name in (*(f"{part}.cache" for part in ("train", "valid", "test")), "config.toml"):
            remove_partials(folder / name)
    except OSError as error:
        lock.release()
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _write(config, folder, target):
    """Write caches and configuration; returns what was written, as text."""
    from deshpc.checkpoint.folders import model_folder
    from deshpc.checkpoint.manifest import read_manifest
    from deshpc.data.conversion import convert_parts
    from deshpc.formats.label_kinds import kinds_of

    lines, parts, notes = [], {}, {}
    begin = time.perf_counter()
    state = read_manifest(model_folder(config.train.from_))["source"] if config.train.from_ else None  # features mean the same
    for part, converted in convert_parts(config.data, folder, kinds_of(losses_of(config)), state):
        seconds, begin = time.perf_counter() - begin, time.perf_counter()
        skipped = f", {converted.skipped:,} rows skipped" if converted.skipped else ""
        rate = f"{converted.rows / seconds:,.0f} rows/s, {converted.nbytes / seconds / 1e6:,.0f} MB/s written"
        lines.append((str(converted.path), f"{converted.rows:,} rows, {converted.nbytes:,} bytes, {rate}{skipped}"))
        parts[part] = (converted.path.name,)
        notes = {**converted.notes, **notes}
    for subject, text in notes.items():
        say(f"deshpc: note: {subject}: {text}\n")
    own = dataclasses.replace(config, data=DataConfig(format="cache", label=config.data.label, **parts))
    try:
        write_text(target, to_toml(resolved(own)) + "\n")
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror}") from None
    return aligned([*lines, (str(target), "deshpc train trains on these caches by it")])
