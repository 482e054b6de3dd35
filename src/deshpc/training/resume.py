"""Going on from a run's newest checkpoint that can be read, and refusing to overwrite checkpoints by accident."""

import json
from contextlib import suppress

from deshpc.checkpoint.folders import (
    appear,
    begin,
    link_model,
    remove_checkpoints,
    remove_leftovers,
    require_replaceable,
    run_model,
    step_folders,
)
from deshpc.checkpoint.load import load_model, verify
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import writing
from deshpc.config import resolved
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.launch.console import say
from deshpc.training.cursor import Cursor
from deshpc.training.run_folder import require_unfinished
from deshpc.training.same_run import require_same_run


def found_checkpoints(group, config, resume, overwrite=False):
    """[folder] of the checkpoints of a Config's run, newest first; removes what writers that were ended have left behind.

    overwrite : remove them, and let a trained model be replaced

    ConfigError on every rank if there are some, or a model, although nobody wants to go on from them, or they are those of another
    run (`same_run`), DataError if the model would replace something else: before any data is read.  This run holds the folder's
    lock.  Collective.
    """
    run, is_writer = config.run.directory, group.rank == 0

    def look():
        with writing(run):
            if config.run.save_model:
                require_replaceable(run)
            if overwrite:
                remove_checkpoints(run)
            elif not step_folders(run):
                require_unfinished(run, resume, overwrite)
            return [folder for _, folder in step_folders(run)]

    def clean():
        with writing(run):
            remove_leftovers(run)

    folders = group.from_first(group.together(look if is_writer else lambda: None))
    group.together(lambda: _refuse(folders, config, resume))
    group.together(clean if is_writer else lambda: None)
    return folders


def _refuse(folders, config, resume):
    if folders and not resume:
        raise ConfigError(
            f"run.directory = {config.run.directory!r} holds checkpoints, the newest of them {folders[0].name}: add --resume to "
            "go on from it, --overwrite to begin anew, or choose another folder by --set run.directory=..."
        )
    for folder in folders:
        with suppress(DataError):  # `go_on` reports it
            tree, own = read_manifest(folder)["config"], (config.model.name,) if ":" in config.model.name else ()
            saved = build(tree, source=str(folder), allow_import=own)  # with defaults of options that came later
            require_same_run(resolved(saved), resolved(config), folder)
            return


def go_on(session, folders, train_rows, record, number):
    """Load the newest checkpoint of `folders` that can be read into session.model; returns the Cursor.  Collective.

    train_rows : samples of an epoch
    number : of the run that goes on

    One that is damaged is reported, and the one before it tried.  DataError if none can be read, or the training rows
    are not those of the checkpoint.
    """
    group, run = session.group, session.config.run.directory
    for folder in folders:
        try:
            manifest = group.together(lambda folder=folder: read_manifest(folder))
        except DataError as error:  # on every rank
            _report(group, record, folder, error)
            continue
        _require_same_data(session, manifest, folder, train_rows)
        try:
            load_model(session.model, folder, manifest)
            cursor = Cursor.from_manifest(manifest, folder)
            group.together(lambda folder=folder, cursor=cursor: _restore_best(folder, run, cursor, group.rank, number))
        except DataError as error:  # on every rank
            _report(group, record, folder, error)
            session.model.table.clear()
            continue
        record.write("resume", step=cursor.steps, epoch=cursor.epoch, batch=cursor.batch, folder=str(folder), of_run=manifest["run"])
        return cursor
    text = f"{folders[0].parent}: no checkpoint can be read; remove this folder to start from the beginning"
    group.agree(DataError(text))


def _require_same_data(session, manifest, folder, train_rows):
    """Collective; errors are raised on all ranks."""
    source = json.loads(json.dumps(session.input_state()))

    def look():
        cursor = Cursor.from_manifest(manifest, folder)
        if cursor.train_rows != train_rows:
            raise DataError(
                f"data.train has {train_rows:,} rows; the checkpoint in {folder} was made with {cursor.train_rows:,}"
            )
        cursor.require_place(session.config.train.global_batch_samples, folder)
        if source != manifest["source"]:
            raise DataError(f"data.train is not what the checkpoint in {folder} was made with: fields, data.normalise_samples or fitted transforms differ")

    session.group.together(look)


def _restore_best(folder, run, cursor, rank, number):
    """Make the best model at the time of the checkpoint the run's model again.  Not collective: rank 0's work."""
    if cursor.best_step is None or rank != 0:
        return
    verify(folder / "best")
    model = run_model(run)
    with writing(model):
        link_model(folder / "best", begin(model, number))
        appear(model, number)


def _report(group, record, folder, error):
    if group.rank == 0:
        say(f"deshpc: warning: the checkpoint in {folder} cannot be read: {error}\n")
        record.write("damaged", folder=str(folder), error=str(error))
