"""Write a model: every rank its rows, rank 0 the dense parameters, and the manifest when all files are durable."""

import shutil
import time
from contextlib import contextmanager

from deshpc.checkpoint.dense_file import NAME as DENSE
from deshpc.checkpoint.dense_file import write_dense
from deshpc.checkpoint.folders import appear, begin, link_folder, partial
from deshpc.checkpoint.manifest import identity, write_manifest
from deshpc.checkpoint.rows_file import RowsFile, rows_name, write_rows
from deshpc.errors import DataError, DeshpcError

_APPEAR_S = 60.0  # after a rank has written a file, another must see it within this time; a network's file system may lag
_LOOK_S = 0.02


def save_model(model, folder, manifest):
    """Write `model` with the `describe`d manifest to a folder, replacing one of that name.  Blocks go to disk one by one.

    Collective; what a rank cannot write is a DataError on all, and a folder of that name is then as it was.
    """
    group = model.group
    with removed_if_it_fails(group, folder):
        prepare(group, folder)
        dense = dense_of(model)
        group.together(
            lambda: write_share(folder, group, manifest, model.table.blocks(), dense, lambda: model.enter("save"))
        )
        group.together(lambda: complete(folder, manifest) if group.rank == 0 else None)


def prepare(group, folder, best=None):
    """Make the partial folder; best : folder of another model that it is to contain, as links.  Collective."""

    def first():
        with writing(folder):
            new = begin(folder)
            if best is not None:
                (new / "best").mkdir()
                link_folder(best, new / "best")

    group.together(first if group.rank == 0 else lambda: None)


def dense_of(model):
    """Arguments of `write_dense` after the steps, on rank 0, which writes for all; None on the others.  Collective."""
    arrays = model.dense_sums.whole_arrays()
    return (model.parameters.names(), arrays) if model.group.rank == 0 else None


def write_share(folder, group, manifest, blocks, dense, wrote=lambda: None):
    """Write this rank's files of a model into the partial folder.  Not collective; calls no MPI."""
    new, steps = partial(folder), manifest["steps"]
    if dense is not None:
        write_dense(new / DENSE, steps, *dense)
    write_rows(new / rows_name(group.rank, group.size), group.rank, group.size, steps, blocks, wrote)


def complete(folder, manifest, all_written=lambda: True, abandoned=lambda: False):
    """Wait until the files of all ranks are in the partial folder, write the manifest, give the folder its name.

    Files appear under their names when they are durable, so nothing but the file system is asked: no MPI is called.
    all_written : whether all ranks have told that theirs are;  abandoned : whether to give up
    DataError where a file does not appear although it has been written.  By rank 0.
    """
    new, ranks = partial(folder), manifest["ranks"]
    names = [DENSE, *(rows_name(rank, ranks) for rank in range(ranks))]
    until = None
    while missing := [name for name in names if not (new / name).exists()]:
        if abandoned():
            return
        if until is None and all_written():
            until = time.monotonic() + _APPEAR_S
        if until is not None and time.monotonic() > until:
            raise DataError(
                f"{new}: rank 0 does not see {', '.join(missing)}, which another rank has written: "
                "run.directory must be in a file system that all nodes share"
            )
        time.sleep(_LOOK_S)
    files = {name: identity(new / name) for name in names}
    rows = [len(RowsFile(new / name)) for name in names[1:]]
    with writing(folder):
        write_manifest(new, {**manifest, "rows": rows, "files": files})
        appear(folder)


@contextmanager
def removed_if_it_fails(group, folder):
    """Remove the partial folder where the block ends by an error of all ranks, of which none writes any more."""
    try:
        yield
    except DeshpcError:
        if group.rank == 0:
            shutil.rmtree(partial(folder), ignore_errors=True)
        raise


@contextmanager
def writing(folder):
    """Turn the block's OSErrors into DataErrors that name the folder."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from None
