"""What a chain of days leaves on disk, and how one that was ended knows what it has done.

    run.directory/
        lock, record.jsonl              of the chain: a line "day" for each day that is done
        model/                          the newest day's, as links: eval, predict and export take the chain's folder
        exported.model                  the newest day's
        days/2026-11-01/                an ordinary run: record.jsonl, model/, checkpoints/
            exported.model              for `deshpc.Predictor`

A day is done when its own record has its result, which is written when the model is durable.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from deshpc.checkpoint.folders import appear, begin, link_model, remove_checkpoints, run_model
from deshpc.checkpoint.manifest import NAME, read_manifest
from deshpc.daily.days import in_order
from deshpc.errors import ConfigError, DataError

EXPORTED = "exported.model"


def day_folder(run, name):
    """Folder of a day's run."""
    return Path(run) / "days" / name


def days_on_disk(run):
    """Names of the days that have a folder, in order."""
    folder = Path(run) / "days"
    return sorted(os.listdir(folder), key=in_order) if folder.is_dir() else []


def require_free(run):
    """ConfigError where the folder holds a chain, or another run, that nobody wants to go on from or to replace."""
    if days_on_disk(run) or (run_model(run) / NAME).exists():
        what = "a chain of days" if days_on_disk(run) else "a trained model"
        raise ConfigError(
            f"run.directory = {str(run)!r} holds {what}: add --resume to go on after its last day, --overwrite to begin anew, or choose another "
            "folder by --set run.directory=..."
        )


def require_chain(run):
    """ConfigError where the folder holds a run that is no chain."""
    if not days_on_disk(run) and (run_model(run) / NAME).exists():
        raise ConfigError(
            f"run.directory = {str(run)!r} holds a run that is no chain of days: choose another folder; --set train.from={run} starts a chain from "
            "its model"
        )


def remove_chain(run):
    """Remove all days, the newest first: those that stay are the beginning of a chain; and the exported model."""
    for name in reversed(days_on_disk(run)):
        shutil.rmtree(day_folder(run, name))
    (Path(run) / EXPORTED).unlink(missing_ok=True)


def lines_of(folder):
    """{event: the newest such line} of "start", "ready", "before" and "result" of a day's record; None where the day is not done."""
    found = {}
    try:
        lines = (Path(folder) / "record.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if entry.get("event") == "start":
                found.pop("result", None)
            if entry.get("event") in ("start", "ready", "before", "result"):
                found[entry["event"]] = entry
    return found if "result" in found else None


def publish(run, folder, export):
    """Export a day's model, and make both the chain's newest.  export : function of model and file, or None where it cannot be exported"""
    manifest = read_manifest(run_model(folder))
    if export is not None:
        export(run_model(folder), folder / EXPORTED)
        new = Path(run) / f".{EXPORTED}.new"
        new.unlink(missing_ok=True)
        try:
            os.link(folder / EXPORTED, new)
        except OSError:  # a file system without links
            shutil.copyfile(folder / EXPORTED, new)
        os.replace(new, Path(run) / EXPORTED)
    else:
        (Path(run) / EXPORTED).unlink(missing_ok=True)  # an older day's
    model = run_model(run)
    link_model(run_model(folder), begin(model, manifest["run"]))
    appear(model, manifest["run"])


def forget(run, done, keep):
    """Remove what the next days do not start from: checkpoints of the days that are done, and the models of all but the newest `keep`.

    Records and exported models stay.
    """
    for name in done:
        remove_checkpoints(day_folder(run, name))
    for name in done[: max(0, len(done) - keep)]:
        model = run_model(day_folder(run, name))
        if model.exists():
            old = model.with_name("model.old")
            shutil.rmtree(old, ignore_errors=True)
            model.rename(old)
            shutil.rmtree(old, ignore_errors=True)


def require_after(days, done):
    """DataError where a day that is not done comes before one that is: the model has learnt what follows it."""
    late = [day.name for day in days if day.name not in done and in_order(day.name) < in_order(done[-1])] if done else []
    if late:
        raise DataError(
            f"--days: {late[0]} comes before {done[-1]}, which is learnt already: a chain goes forward only; leave it out, or begin anew by "
            "--overwrite"
        )
