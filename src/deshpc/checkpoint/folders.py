"""Where a run's models lie, and how a folder appears under its name.

    model/, model.old/                   the trained model; the one before while a new one takes its place
    checkpoints/step-000000000123/       complete checkpoints;  .RUN.partial: under way;  .old: on its way out
    lock                                 the process that trains there, `storage.lock`

A folder without suffix is complete.  A folder with one is never read, but for model.old where `model` is missing: then
the writer of the next model was ended between two renames.
"""

import os
import re
import shutil
from pathlib import Path

from deshpc.checkpoint.manifest import NAME, read_manifest
from deshpc.checkpoint.parts import part_names
from deshpc.errors import DataError
from deshpc.storage.whole_file import publish, synchronise

_STEP = re.compile(r"step-(\d{12})")
_LEFT_MODEL = re.compile(r"model\.\w*\.partial|model\.partial")
_LEFT_STEP = re.compile(r"step-\d{12}(\.\w*)?\.(partial|old)")


def run_model(run):
    """Folder of a run's trained model."""
    return Path(run) / "model"


def step_folder(run, step):
    """Folder of the checkpoint after `step` steps."""
    return Path(run) / "checkpoints" / f"step-{step:012d}"


def step_folders(run):
    """[(steps, folder)] of a run's checkpoints, newest first."""
    folder = Path(run) / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    steps = sorted((int(match[1]) for match in map(_STEP.fullmatch, names) if match), reverse=True)
    return [(step, step_folder(run, step)) for step in steps]


def model_folder(path):
    """The folder of the model that `path` names: a run's directory, or a model or checkpoint itself."""
    for folder in (Path(path), run_model(path), run_model(path).with_name("model.old")):
        if (folder / NAME).exists():
            return folder
    raise DataError(
        f"{path}: no saved model there; give the run's directory ([run] directory of its config), or one of its checkpoints"
    )


def partial(folder, run):
    """The name under which a run writes a folder: what ranks of another run, long given up, still write is elsewhere."""
    return folder.with_name(f"{folder.name}.{run}.partial")


def begin(folder, run):
    """Make an empty partial folder of a run and return it."""
    new = partial(folder, run)
    shutil.rmtree(new, ignore_errors=True)
    parents = [parent for parent in new.parents if not parent.exists()]
    new.mkdir(parents=True)
    for parent in parents:
        synchronise(parent.parent)
    return new


def appear(folder, run):
    """Give the complete partial folder of a run its name; what had that name is there until then, as .old in the end."""
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    synchronise(partial(folder, run))
    publish(partial(folder, run), folder)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(run):
    """Remove what writers that were ended have left behind; a model that was about to be replaced gets its name back."""
    model = run_model(run)
    old = model.with_name("model.old")
    if old.exists() and not model.exists():
        publish(old, model)
    shutil.rmtree(old, ignore_errors=True)
    for folder, left in ((Path(run), _LEFT_MODEL), (Path(run) / "checkpoints", _LEFT_STEP)):
        for name in os.listdir(folder) if folder.is_dir() else []:
            if left.fullmatch(name):
                shutil.rmtree(folder / name, ignore_errors=True)


def remove_older(run, step, keep):
    """Remove the checkpoints before that of `step` but for the newest keep - 1; what goes is never half there by name."""
    for _, folder in [one for one in step_folders(run) if one[0] < step][keep - 1 :]:
        old = folder.with_name(folder.name + ".old")
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def remove_checkpoints(run):
    """Remove all checkpoints of a run, the oldest first: what goes is never half there by name."""
    for _, folder in reversed(step_folders(run)):
        old = folder.with_name(folder.name + ".old")
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def require_replaceable(run):
    """DataError if what has the name of a run's model is none: training would remove it in the end."""
    model = run_model(run)
    if (model.exists() or model.is_symlink()) and not (model / NAME).exists() and not (model.is_dir() and not os.listdir(model)):
        raise DataError(f"{model}: is there and no model, and would be replaced by one: move it, or choose another run.directory")


def link_model(source, target):
    """Give the files of the model in `source` to the empty folder `target`, too: as links, since they are never changed."""
    for name in (NAME, *part_names(read_manifest(source)["ranks"])):
        try:
            os.link(source / name, target / name)
        except OSError:  # a file system without links
            shutil.copyfile(source / name, target / name)
            synchronise(target / name)
    synchronise(target)
