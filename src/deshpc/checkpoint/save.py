"""Write a model: every rank its rows, rank 0 the dense parameters, and the manifest when all files are durable."""

import shutil
import time
from contextlib import contextmanager

from deshpc.checkpoint.appearing import APPEAR_S
from deshpc.checkpoint.dense_file import KIND as DENSE_KIND
from deshpc.checkpoint.dense_file import dense_of, write_dense
from deshpc.checkpoint.finite import finite_blocks, require_finite_dense
from deshpc.checkpoint.folders import appear, begin, link_model, partial
from deshpc.checkpoint.manifest import identity, read_manifest, write_manifest
from deshpc.checkpoint.parts import BASE, DENSE, part_names, require_written_together, rows_name
from deshpc.checkpoint.rows_file import RowsFile, write_rows
from deshpc.errors import DataError, DeshpcError
from deshpc.storage.container import Container

_LOOK_S = 0.02


def save_model(model, folder, manifest, held=lambda: None):
    """Write `model` with the `describe`d manifest to a folder, replacing one of that name.  Blocks go to disk one by one.

    held : called by rank 0 before the folder gets its name, raises unless that is still this run's to do

    Collective; what a rank cannot write is a DataError on all, a number that is not finite a DeshpcError, and a folder of that
    name is then as it was.
    """
    group = model.group
    with removed_if_it_fails(group, partial(folder, manifest["run"])):
        prepare(group, folder, manifest)
        dense = dense_of(model)
        group.together(
            lambda: write_share(folder, group, manifest, model.table.blocks(), dense, lambda: model.enter("save"), model.table.waiting())
        )
        group.together(lambda: complete(folder, manifest, held) if group.rank == 0 else None)


def prepare(group, folder, manifest, best=None, base=None):
    """Make the partial folder.  Collective.

    best : folder of the best model so far
    base : folder of the whole checkpoint over which this one is to go
    It is to contain both, as links.
    """

    def first():
        with writing(folder):
            new = begin(folder, manifest["run"])
            if best is not None:
                require_best(best, manifest["progress"]["best_step"], manifest["progress"]["best_run"])
                (new / "best").mkdir()
                link_model(best, new / "best")
            if base is not None:
                (new / BASE).mkdir()
                link_model(base, new / BASE)

    group.together(first if group.rank == 0 else lambda: None)


def require_best(folder, steps, run):
    """DataError unless the model in a folder is the best one of a run that goes on, written after so many steps by `run`."""
    found = read_manifest(folder)
    if (found["steps"], found["run"]) != (steps, run):
        raise DataError(
            f"{folder}: is a model after {found['steps']} steps of run {found['run']!r}; expected the best model of this run, after "
            f"{steps} steps of {run!r}"
        )


def write_share(folder, group, manifest, blocks, dense, wrote=lambda: None, waiting=None, change=None):
    """Write this rank's files of a model into the partial folder, if its numbers are finite.  Not collective; calls no MPI.

    waiting : `Sights` of this rank's keys that wait for a row
    change : `Change` where the blocks are what has changed
    """
    run, steps = manifest["run"], manifest["steps"]
    new, blocks = partial(folder, run), finite_blocks(blocks, manifest, group.rank)
    if dense is not None:
        require_finite_dense(manifest, *dense)
        write_dense(new / DENSE, run, steps, *dense)
    name = rows_name(group.rank, group.size)
    changed = (change.gone(name), len(change.keys)) if change else (None, None)
    write_rows(new / name, run, group.rank, group.size, steps, blocks, wrote, waiting, *changed)


def complete(folder, manifest, held=lambda: None, all_written=lambda: True, abandoned=lambda: False):
    """Wait until the files of all ranks are in the partial folder, write the manifest, give the folder its name.

    Files appear under their names when they are durable, so nothing but the file system is asked: no MPI is called.  Those of
    another run, or another step, are refused.
    held : as in `save_model`
    all_written : whether all ranks have told that theirs are
    abandoned : whether to give up
    DataError where a file does not appear although it has been written.  By rank 0.
    """
    new, names = partial(folder, manifest["run"]), list(part_names(manifest["ranks"]))
    until = None
    while missing := [name for name in names if not (new / name).exists()]:
        if abandoned():
            return
        if until is None and all_written():
            until = time.monotonic() + APPEAR_S
        if until is not None and time.monotonic() > until:
            raise DataError(
                f"{new}: rank 0 does not see {', '.join(missing)}, which another rank has written: "
                "run.directory must be in a file system that all nodes share"
            )
        time.sleep(_LOOK_S)
    files = {name: identity(new / name) for name in names}
    require_written_together(new / DENSE, Container(new / DENSE, DENSE_KIND).about, manifest)
    rows = []
    for rank, name in enumerate(names[1:]):
        file = RowsFile(new / name)
        require_written_together(new / name, file.about, manifest, rank)
        rows.append(file.model_rows)
    if "base" in manifest:
        manifest = {**manifest, "base": {**manifest["base"], "crc32": read_manifest(new / BASE)["crc32"]}}
    with writing(folder):
        write_manifest(new, {**manifest, "rows": rows, "files": files})
        if abandoned():
            return
        held()
        appear(folder, manifest["run"])


@contextmanager
def removed_if_it_fails(group, new):
    """Remove the partial folder `new` where the block ends by an error of all ranks, of which none writes any more."""
    try:
        yield
    except DeshpcError:
        if group.rank == 0:
            shutil.rmtree(new, ignore_errors=True)
        raise


@contextmanager
def writing(folder):
    """Turn the block's OSErrors into DataErrors that name the folder."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from None
