"""A run that starts from another model (`train.from`): which one, whether its input fits, what is taken of it.

    look        where the model is, before the run changes anything in its own folder
    take input  before rows are read: fitted transforms are kept, so that features mean the same
    take model  after the model is built, instead of first values
A run that is resumed does not look there again: its checkpoints have all of it.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deshpc.checkpoint.common import Common
from deshpc.checkpoint.folders import model_folder
from deshpc.checkpoint.load import load_model, rows_of
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import build
from deshpc.config.tasks import losses_of, tasks_of
from deshpc.data.profiles import describe
from deshpc.errors import ConfigError, DataError
from deshpc.formats.schema import Schema
from deshpc.launch.console import say

_SHOWN = 8  # fields in a message


@dataclass(frozen=True)
class Origin:
    """A model that a run starts from, or has started from.

    folder : of the model;  None: the run goes on from a checkpoint of its own
    manifest : of that model, or of the newest checkpoint
    first_step : at which the run begins, or has begun
    """

    folder: Path | None
    manifest: dict
    first_step: int


def look(group, config, checkpoints, overwrite):
    """The Origin of a run by a Config, None where it starts from nothing.  Collective; errors are raised on all ranks.

    checkpoints : [folder] of the run's own, newest first, which it goes on from
    overwrite : whether they are removed when it begins
    """
    if checkpoints:
        return group.from_first(_own(checkpoints) if group.rank == 0 else None)
    if not config.train.from_:
        return None
    folder = group.from_first(group.together((lambda: _found(config, overwrite)) if group.rank == 0 else lambda: None))

    def read():
        manifest = read_manifest(folder)
        return Origin(folder, manifest, manifest["steps"] if config.train.from_state == "keep" else 0)

    return group.together(read)


def _own(checkpoints):
    """The Origin of a run that goes on, by its checkpoints, whatever its configuration says by now."""
    for folder in checkpoints:
        with suppress(DataError):  # `go_on` reports it, and what it means that none can be read
            manifest = read_manifest(folder)
            started = manifest["config"]["train"].get("from")
            return Origin(None, manifest, (manifest["progress"] or {}).get("first_step", 0)) if started else None
    return None


def _found(config, overwrite):
    """The folder of the model, where it is now: runs/latest soon leads elsewhere."""
    given = config.train.from_
    try:
        folder = Path(os.path.realpath(model_folder(given)))
    except (DataError, OSError, ValueError):
        raise ConfigError(
            f"train.from = {given!r}: no saved model there; give a run's folder that has one, a model or a checkpoint, seen from where "
            "the run is started"
        ) from None
    if overwrite and Path(os.path.realpath(config.run.directory), "checkpoints") in folder.parents:
        raise ConfigError(
            f"train.from = {given!r} is one of the checkpoints in run.directory that --overwrite removes: choose another run.directory, "
            "or copy it"
        )
    return folder


def take_input(session, origin):
    """Have the session's input use the fitted transforms of an Origin's model, whose columns it must have.  Collective."""
    session.group.together(lambda: _take_input(session, origin))


def _take_input(session, origin):
    manifest, where = origin.manifest, origin.folder or "the checkpoint"
    tree = manifest["config"]
    own = (tree["model"]["name"],) if ":" in tree["model"]["name"] else ()
    config = build(tree, source=str(where), allow_import=own)
    if losses_of(config) != losses_of(session.config) or [one.name for one in tasks_of(config)] != [one.name for one in tasks_of(session.config)]:
        raise ConfigError(
            f"train.from: train.loss = {_losses(session.config)}, but the model in {where} was trained by {_losses(config)}: its "
            "weights mean something else; set it as it was"
        )
    stored = manifest["source"].get("schema")
    schema = describe(config.data.synthetic).schema if stored is None else Schema.from_json(stored)
    _require_same_fields(schema, session.input.schema, where)
    _require_same_values(schema, session.input.schema, where)
    try:
        session.input.restore(manifest["source"])
    except DataError as error:
        raise DataError(f"train.from: the model in {where}: {error}") from None


def _losses(config):
    tasks = tasks_of(config)
    return ", ".join(f"{task.loss!r} of {task.name}" for task in tasks) if tasks else repr(config.train.loss)


def _require_same_values(saved, here, where):
    """ConfigError unless two Schemas agree on what stands beside a key."""
    if saved.normalise_samples != here.normalise_samples:
        own, theirs = ("true" if one.normalise_samples else "false" for one in (here, saved))
        raise ConfigError(
            f"train.from: data.normalise_samples = {own}, but the model in {where} has {theirs}: set it as it was; caches have it from "
            "their conversion, so convert their rows again"
        )


def _require_same_fields(saved, here, where):
    """ConfigError unless two Schemas have the same columns of features: a key contains its field's number, a layer its features' order."""
    for kind in ("key_fields", "dense_fields", "crosses"):
        before, now = getattr(saved, kind), getattr(here, kind)
        names, own = [field.name for field in before], [field.name for field in now]
        if names != own:
            raise ConfigError(
                f"train.from: data.fields: the model in {where} has the fields {_listed(names)}; here are {_listed(own)}: keep all of them, in "
                "their order"
            )
        for one, other in zip(before, now, strict=True):
            for option, value in vars(one).items():
                if value != getattr(other, option):
                    raise ConfigError(
                        f"train.from: data.fields: {option} = {getattr(other, option)!r} of field {one.name!r}, but the model in {where} has "
                        f"{value!r}: set it as it was"
                    )


def _listed(names):
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)})" if len(names) > _SHOWN else "")


def take_model(session, origin, record):
    """Fill the session's model, which is new, by an Origin; says on rank 0, and in the record, what was taken and what was not.

    Returns whether the bias was.  Collective; errors are raised on all ranks.
    """
    group, model, folder, keep = session.group, session.model, origin.folder, session.config.train.from_state == "keep"
    common = group.together(lambda: Common.of(model, origin.manifest, keep, folder))
    load_model(model, folder, origin.manifest, common)
    if group.rank == 0:
        rows, steps = rows_of(origin.manifest), origin.manifest["steps"]
        state = "with" if keep else "without"
        parts = f"{' and '.join(common.now)} of {rows:,} rows"
        dense = f", {len(common.dense)} of {len(model.parameters.names())} dense parameters"
        left = f"; not taken: {', '.join(common.left)}" if common.left else ""
        new = f"; new: {', '.join(common.new)}" if common.new else ""
        say(f"deshpc: starts from {folder} ({steps:,} steps) {state} optimizer state: {parts}{dense}{left}{new}\n")
        record.write(
            "from", folder=str(folder), of_run=origin.manifest["run"], steps=steps, state=session.config.train.from_state, rows=rows,
            parts=[*common.now], dense=[*common.dense], left=common.left, new=common.new,
        )  # fmt: skip
    return "bias" in common.dense


def with_fields_of_origin(tree, put):
    """put(tree, fields) of a configuration that has tables, as nested dictionaries: `Tables.put_into`.

    Where it names no fields and starts from a model, they are the model's: inferred from other rows, they might be others.
    """
    train, data = tree.get("train"), tree.get("data")
    given = train.get("from") if isinstance(train, dict) else None
    if not isinstance(given, str) or not given or (isinstance(data, dict) and data.get("fields")):
        return put(tree)
    with suppress(DataError):  # `look` says it
        stored = read_manifest(model_folder(given))["source"].get("schema")
        return put(tree, stored["fields"] if stored else ())
    return put(tree)
