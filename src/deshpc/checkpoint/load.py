"""Read a model on any number of ranks, and verify one."""

from itertools import chain
from pathlib import Path

from deshpc.checkpoint.changed_rows import RowsOver
from deshpc.checkpoint.dense_file import KIND as DENSE_KIND
from deshpc.checkpoint.dense_file import named, read_dense
from deshpc.checkpoint.describe import require_fit
from deshpc.checkpoint.manifest import read_manifest, require_identity
from deshpc.checkpoint.manifest_form import STATE
from deshpc.checkpoint.parts import BASE, DENSE, part_names, require_written_together, rows_name
from deshpc.checkpoint.rows_file import KIND as ROWS_KIND
from deshpc.checkpoint.rows_file import RowsFile
from deshpc.errors import DataError
from deshpc.formats.schema import Schema
from deshpc.hashing.key_range import LAST_KEY
from deshpc.launch.place import WAIT
from deshpc.storage.container import Container
from deshpc.table.columns import joined
from deshpc.table.merging import merged
from deshpc.table.sights import Sights


def load_model(model, folder, manifest=None, common=None):
    """Fill `model`, which has no rows, from a folder; each rank takes the rows that it owns now.

    common : `Common` of both, where the folder's may be another model; otherwise all of it has to fit

    Rows come block by block: a rank holds its share and one block, and reads the blocks that have keys of its own
    range.  What is read is verified: DataError for damage, ConfigError for another kind of model.  Together the ranks
    read every row.  Collective; errors are raised on all ranks.
    """
    taken = model.group.together(lambda: _load(model, Path(folder), manifest or read_manifest(folder), common))
    found, expected = model.group.gather(taken), taken[1]
    total = sum(count for count, _ in found)
    model.group.agree(None if total == expected else DataError(f"{folder}: has {total:,} rows; expected {expected:,}"))


def _load(model, folder, manifest, common):
    """(rows taken, rows of the model)."""
    model.enter("load model", works=True)
    if common is None:
        require_fit(model, manifest, folder)
    arrays = dense_arrays(folder, manifest)
    try:
        model.parameters.load(arrays if common is None else common.dense_for(model.parameters, arrays, manifest["dense"]))
    except ValueError as error:
        raise DataError(f"{folder / DENSE}: damaged: {error}") from None
    taken, (first, last) = 0, model.table.key_range
    for block in row_blocks(folder, manifest, first, last, model.n_fields):
        taken += model.table.load(*((block,) if common is None else common.rows_for(model.table, block)))
    if common is None or common.keep:  # a state that begins anew counts steps anew
        model.table.wait(waiting_keys(folder, manifest, model.n_fields))
    model.enter(WAIT)
    return taken, rows_of(manifest)


def rows_of(manifest):
    """Rows of a model; under column split every rank has some columns of each."""
    return manifest["rows"][0] if manifest["model"]["split"] == "column" else sum(manifest["rows"])


def row_blocks(folder, manifest, first=0, last=LAST_KEY, fields=None):
    """Yield the Rows of a model with keys first .. last, from all its files, in key order, one block of each file at a time.

    Whole rows, whatever the split by which they were saved: by key files follow each other, by field their keys lie between
    each other, by column each has some columns of all rows.
    fields : fields that have keys, where that is known: DataError for a row of another, as for all rows that are not sound
    """
    split, files = manifest["model"]["split"], _rows_files(folder, manifest, fields)
    if split == "column":
        files = list(files)
        _require_same_blocks(folder, files)
    blocks = (file.blocks(first, last) for file in files)
    if split == "key":
        yield from chain.from_iterable(blocks)
    elif split == "field":
        yield from _distinct(merged(blocks), folder)
    else:
        try:
            yield from joined(blocks, manifest["model"])
        except ValueError as error:
            raise DataError(f"{folder}: damaged: {error}") from None


def waiting_keys(folder, manifest, fields=None):
    """`Sights` of all keys of a model that wait for a row, from all its files.  fields : as of `row_blocks`"""
    return Sights.joined([sights for file in _rows_files(folder, manifest, fields) if (sights := file.waiting()) is not None])


def _rows_files(folder, manifest, fields):
    base = base_of(folder, manifest)
    for rank in range(manifest["ranks"]):
        name = rows_name(rank, manifest["ranks"])
        file = RowsFile(require_identity(folder, manifest, name), manifest, rank, fields)
        if base is not None:
            whole = Path(folder) / BASE
            file = RowsOver(RowsFile(require_identity(whole, base, name), base, rank, fields), file)
        yield file


def base_of(folder, manifest):
    """The manifest of the whole checkpoint over which one of what has changed goes; None of a whole one.  DataError where it is another's."""
    if "base" not in manifest:
        return None
    base = read_manifest(Path(folder) / BASE)
    found, expected = {name: base[name] for name in manifest["base"]}, manifest["base"]
    if found != expected or "base" in base or (base["ranks"], base["model"]) != (manifest["ranks"], manifest["model"]):
        raise DataError(
            f"{Path(folder) / BASE}: is a model after {found['steps']} steps of run {found['run']!r}; expected the whole checkpoint after "
            f"{expected['steps']} steps of {expected['run']!r}, over which {folder} goes"
        )
    return base


def _distinct(blocks, folder):
    """The blocks; DataError where a key is in two files."""
    for block in blocks:
        if not (block.keys[1:] > block.keys[:-1]).all():
            raise DataError(f"{folder}: damaged: two files of its rows have the same key")
        yield block


def _require_same_blocks(folder, files):
    """DataError unless RowsFiles have columns of the same rows."""
    if any(file.extents != files[0].extents for file in files):
        raise DataError(f"{folder}: damaged: the files of its rows have columns of different rows")


def dense_arrays(folder, manifest):
    """{"values", "state"} of a model's dense parameters, flat.  DataError where a number of which roots are taken is negative."""
    path, model = require_identity(folder, manifest, DENSE), manifest["model"]
    container = Container(path, DENSE_KIND)
    require_written_together(path, container.about, manifest)
    arrays = read_dense(container, manifest["dense"])
    require_sound_state(arrays, manifest["dense"], model["dense_optimizer"], path)
    return arrays


def require_sound_state(arrays, names, rule, path):
    """DataError where a number of which roots are taken is negative, or there are not as many as the rule has.

    arrays : {"values", "state"} of dense parameters, flat
    names : [(name, shape)] of them
    """
    planes, of_roots = STATE[rule]
    if len(arrays["state"]) % max(1, planes) or (planes == 0) != (len(arrays["state"]) == 0):
        raise DataError(f"{path}: damaged: {len(arrays['state'])} numbers of state, of which {rule!r} has {planes} a weight")
    state = arrays["state"].reshape(planes, -1) if planes else ()
    variances = [array for name, array in named(arrays["values"], names).items() if name.endswith(".variance")]
    if any(array.min(initial=0) < 0 for array in (*(state[plane] for plane in of_roots), *variances)):
        raise DataError(f"{path}: damaged: a sum of squares or a variance is negative")


def dense_parameters(folder, manifest):
    """{name: array} of a model's dense parameters, in their order."""
    return named(dense_arrays(folder, manifest)["values"], manifest["dense"])


def verify(folder, verified=lambda container: None):
    """Verify every checksum and row of a model's folder, and of the best model inside a checkpoint; returns the manifest.

    verified : called with the Container of every file
    DataError names the file, and the section, that is damaged.  Needs NumPy alone.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    fields = fields_of(manifest, folder)
    base = base_of(folder, manifest)
    for where, one in ((folder, manifest), (folder / BASE, base)) if base else ((folder, manifest),):
        for name in part_names(one["ranks"]):
            container = Container(require_identity(where, one, name), DENSE_KIND if name == DENSE else ROWS_KIND)
            container.verify()
            verified(container)
    dense_parameters(folder, manifest)
    if (rows := list(map(len, _rows_files(folder, manifest, fields)))) != manifest["rows"]:
        raise DataError(f"{folder}: has {rows} rows; expected {manifest['rows']}")
    if (found := sum(map(len, row_blocks(folder, manifest, fields=fields)))) != rows_of(manifest):
        raise DataError(f"{folder}: has {found:,} rows; expected {rows_of(manifest):,}")
    waiting_keys(folder, manifest, fields)
    best_step = best_step_of(manifest)
    if best_step is not None:
        best, run = verify(folder / "best", verified), manifest["progress"]["best_run"]
        if best["steps"] != best_step:
            raise DataError(f"{folder / 'best'}: is a model of {best['steps']} steps; expected {best_step}")
        if best["run"] != run:
            raise DataError(f"{folder / 'best'}: is a model of run {best['run']!r}; expected {run!r}")
    return manifest


def fields_of(manifest, folder):
    """Number of the fields that have keys, None where a manifest does not say.  DataError where it cannot say so."""
    try:
        stored = manifest["source"].get("schema")
        return None if stored is None else len(Schema.from_json(stored).keyed_fields)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None


def best_step_of(manifest):
    """Steps of the best model that a checkpoint has kept, or None."""
    return (manifest["progress"] or {}).get("best_step")
