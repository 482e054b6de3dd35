"""Read a model on any number of ranks, and verify one."""

from itertools import chain
from pathlib import Path

from deshpc.checkpoint.dense_file import KIND as DENSE_KIND
from deshpc.checkpoint.dense_file import NAME as DENSE
from deshpc.checkpoint.dense_file import read_dense
from deshpc.checkpoint.describe import require_fit
from deshpc.checkpoint.manifest import read_manifest, require_identity
from deshpc.checkpoint.rows_file import KIND as ROWS_KIND
from deshpc.checkpoint.rows_file import RowsFile, rows_name
from deshpc.comm.place import WAIT
from deshpc.errors import DataError
from deshpc.storage.container import Container
from deshpc.table.columns import joined
from deshpc.table.merging import merged


def load_model(model, folder, manifest=None):
    """Fill `model`, which has no rows, from a folder; each rank takes the rows that it owns now.

    Rows come block by block: a rank holds its share and one block, and reads the blocks that have keys of its own
    range.  What is read is verified: DataError for damage, ConfigError for another kind of model.  Together the ranks
    read every row.  Collective; errors are raised on all ranks.
    """
    taken = model.group.together(lambda: _load(model, Path(folder), manifest or read_manifest(folder)))
    found, expected = model.group.gather(taken), taken[1]
    total = sum(count for count, _ in found)
    model.group.agree(None if total == expected else DataError(f"{folder}: has {total:,} rows; expected {expected:,}"))


def _load(model, folder, manifest):
    """(rows taken, rows of the model)."""
    model.enter("load model", works=True)
    require_fit(model, manifest, folder)
    dense = read_dense(require_identity(folder, manifest, DENSE))
    model.parameters.load(dense)
    taken, (first, last) = 0, model.table.key_range
    for block in row_blocks(folder, manifest, first, last):
        taken += model.table.load(block)
    model.enter(WAIT)
    return taken, rows_of(manifest)


def rows_of(manifest):
    """Rows of a model; under column split every rank has some columns of each."""
    return manifest["rows"][0] if _split_of(manifest) == "column" else sum(manifest["rows"])


def row_blocks(folder, manifest, first=0, last=2**64 - 1):
    """Yield the Rows of a model with keys first .. last, from all its files, in key order, one block of each file at a time.

    Whole rows, whatever the split by which they were saved: by key files follow each other, by field their keys lie between
    each other, by column each has some columns of all rows.
    """
    ranks, split = manifest["ranks"], _split_of(manifest)
    files = (RowsFile(require_identity(folder, manifest, rows_name(rank, ranks))) for rank in range(ranks))
    if split == "column":
        files = list(files)
        _require_same_blocks(folder, files)
    blocks = (file.blocks(first, last) for file in files)
    if split == "key":
        yield from chain.from_iterable(blocks)
    elif split == "field":
        yield from merged(blocks)
    else:
        yield from joined(blocks, manifest["model"])


def _split_of(manifest):
    """`train.split` of the run that saved a model; versions before there was a choice split by key."""
    return manifest["model"].get("split", "key")


def _require_same_blocks(folder, files):
    """DataError unless RowsFiles have columns of the same rows."""
    if any(file.extents != files[0].extents for file in files):
        raise DataError(f"{folder}: damaged: the files of its rows have columns of different rows")


def dense_parameters(folder, manifest):
    """{name: array} of a model's dense parameters, in their order."""
    values, begin, named = read_dense(require_identity(folder, manifest, DENSE))["values"], 0, {}
    for name, shape in manifest["dense"]:
        size = 1
        for extent in shape:
            size *= extent
        named[name] = values[begin : begin + size].reshape(shape)
        begin += size
    return named


def verify(folder, verified=lambda container: None):
    """Verify every checksum of a model's folder, and of the best model inside a checkpoint; returns the manifest.

    verified : called with the Container of every file
    DataError names the file, and the section, that is damaged.  Needs NumPy alone.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name in (DENSE, *(rows_name(rank, manifest["ranks"]) for rank in range(manifest["ranks"]))):
        path = require_identity(folder, manifest, name)
        container = Container(path, DENSE_KIND if name == DENSE else ROWS_KIND)
        container.verify()
        verified(container)
    files = [RowsFile(folder / rows_name(rank, manifest["ranks"])) for rank in range(manifest["ranks"])]
    if (rows := list(map(len, files))) != manifest["rows"]:
        raise DataError(f"{folder}: has {rows} rows; expected {manifest['rows']}")
    if _split_of(manifest) == "column":
        _require_same_blocks(folder, files)
    best_step = best_step_of(manifest)
    if best_step is not None:
        best = verify(folder / "best", verified)
        if best["steps"] != best_step:
            raise DataError(f"{folder / 'best'}: is a model of {best['steps']} steps; expected {best_step}")
    return manifest


def best_step_of(manifest):
    """Steps of the best model that a checkpoint has kept, or None."""
    return (manifest["progress"] or {}).get("best_step")
