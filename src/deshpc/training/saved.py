"""A trained model on disk, readable by any number of ranks.

    model/manifest.json         format, hash function, resolved config, transforms, ranks, steps: written last
    model/dense.npz             dense parameters and their optimizer state
    model/rows-00002-of-00004.npz   one file a rank: keys, fields, counts, steps, numbers

Everything is written to model.new, which takes the name `model` when it is complete; a model that was there is
model.old until then.  Nothing is pickled; the zip
members' checksums are verified when they are read.
"""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np

from deshpc.errors import DataError
from deshpc.hashing.key import HASH_ID
from deshpc.table.shard import Rows

FORMAT = 1
_MANIFEST = {"hash": str, "ranks": int, "steps": int, "config": dict, "source": dict, "dense": list}
_ROW_ARRAYS = ("keys", "fields", "counts", "steps", "numbers")


def save_model(model, directory, config_tree, source_state, steps):
    """Write the model to `directory`/model.  Collective; a failure on any rank is raised on all."""
    group, final, new = model.group, Path(directory) / "model", Path(directory) / "model.new"
    replaced = Path(directory) / "model.old"

    def first():
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        np.savez(new / "dense.npz", **model.parameters.arrays())

    def rows():
        held = model.table.export()
        np.savez(_rows_file(new, group.rank, group.size), **{name: getattr(held, name) for name in _ROW_ARRAYS})

    def last():
        manifest = {
            "format": FORMAT, "hash": HASH_ID, "ranks": group.size, "steps": steps, "config": config_tree,
            "source": source_state, "dense": [[name, list(shape)] for name, shape in model.parameters.names()],
        }  # fmt: skip
        (new / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        shutil.rmtree(replaced, ignore_errors=True)
        if final.exists():
            final.rename(replaced)  # a model is on disk at every moment, under one of the names
        new.rename(final)
        shutil.rmtree(replaced, ignore_errors=True)

    for task, ranks in ((first, [0]), (rows, range(group.size)), (last, [0])):
        error = None
        if group.rank in ranks:
            try:
                task()
            except OSError as problem:
                error = DataError(f"cannot write the model: {problem}")
        group.agree(error)


def read_manifest(directory):
    """The manifest of `directory`/model as a dictionary; DataError if it is missing or not ours."""
    path = Path(directory) / "model" / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no saved model there; give the run's directory ([run] directory of its config)") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path}: not a saved model of format {FORMAT}")
    for name, kind in _MANIFEST.items():
        if type(manifest.get(name)) is not kind:
            raise DataError(f"{path}: damaged: {name!r} is {manifest.get(name)!r}")
    if manifest["hash"] != HASH_ID:
        raise DataError(f"{path}: keys were hashed by {manifest['hash']!r}, this version hashes by {HASH_ID!r}")
    return manifest


def load_model(model, directory, manifest):
    """Fill `model` from `directory`/model; each rank takes the rows that it owns now.  Collective."""
    folder = Path(directory) / "model"

    def load():
        dense = _arrays(folder / "dense.npz", ("values", "state"))
        for name, held in model.parameters.arrays().items():
            if dense[name].shape != held.shape:
                raise DataError(f"{folder / 'dense.npz'}: {dense[name].size} dense {name}, expected {held.size}")
            held[:] = dense[name]
        for rank in range(manifest["ranks"]):
            model.table.load(Rows(**_arrays(_rows_file(folder, rank, manifest["ranks"]), _ROW_ARRAYS)))

    model.group.together(load)


def _rows_file(folder, rank, ranks):
    return folder / f"rows-{rank:05d}-of-{ranks:05d}.npz"


def _arrays(path, names):
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: damaged or not a part of a saved model: {error}") from None
