"""The Python API: what `deshpc train` and `deshpc eval` call."""

import json
import os
import platform
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deshpc
from deshpc.checkpoint.folders import model_folder
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config import Config, configured, override, resolved
from deshpc.config.load import build
from deshpc.config.tasks import tasks_of
from deshpc.data.input import require
from deshpc.errors import ConfigError
from deshpc.formats.table import TableLike, is_table
from deshpc.launch.agreement import agreed, run_facts
from deshpc.launch.console import say
from deshpc.launch.failure import fails_together
from deshpc.launch.signals import signals_noted
from deshpc.metrics.regression import PoissonMetrics, SquaredMetrics
from deshpc.metrics.results import Metrics
from deshpc.metrics.tasks import TaskMetrics
from deshpc.storage.strict_json import json_text
from deshpc.storage.whole_file import write_text
from deshpc.training.advice import Adviser
from deshpc.training.best_constant import begin_at
from deshpc.training.cursor import Cursor
from deshpc.training.evaluation import in_words, measured
from deshpc.training.large_part import is_large, large_part
from deshpc.training.loop import train_epochs
from deshpc.training.planned_run import made_before, plan_run
from deshpc.training.record import NoRecord, Record
from deshpc.training.reports import Reports, require_callbacks
from deshpc.training.resume import found_checkpoints, go_on
from deshpc.training.run_checkpoints import RunCheckpoints
from deshpc.training.run_folder import lead_latest_to, with_folder
from deshpc.training.run_lock import run_lock
from deshpc.training.session import Session
from deshpc.training.stream import Stream, cursor_of
from deshpc.training.tables import Tables
from deshpc.training.tensorboard import TensorBoard
from deshpc.training.traffic import TrafficRow, bytes_per_sample, require_agreement, training_traffic
from deshpc.training.training_part import training_part
from deshpc.training.warm_start import look, take_input, take_model, with_fields_of_origin
from deshpc.training.wishes import Wishes, end_by

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm


@dataclass(frozen=True)
class TrainResult:
    """What a training run gives back, the same on every rank.

    valid, test : metrics of the trained model, None where the data has no such part
    steps : that training made
    best_step : those of the model, fewer where early stopping has kept an earlier one
    stopped : why training ended before its last epoch did, None where it did not
    resumed_from : steps of the checkpoint that this call went on from, None where it began; they count in `steps`, but
    samples, bytes, keys and times are those of this call
    first_step : steps of the model that the run started from (`train.from`, with its optimizer state), which count in `steps`
    waiting_keys : keys that are counted and have no row yet, of all ranks; see docs/living-tables.md
    evicted : rows of all ranks that this call has given up
    before : metrics of the training part before it was learnt from, with `score_first`
    checkpoints : that this call has written
    checkpoint_stall_s, longest_stall_s : seconds for which training has waited for all of them, and for one
    failed_exports : models that could not be exported, of which it was warned
    samples_per_s : trained samples by the slowest rank's time in the loop, evaluation excluded
    bytes_per_sample : {kind: bytes sent by an average rank's training steps, per sample of the global batch}
    traffic : [TrafficRow]: bytes sent by training steps, all ranks together, beside the formula of `deshpc.plan.cost`
    keys_per_sample, unique_keys_per_sample : m and u, see `training.traffic.KeysMet`
    ledger : this run's byte ledger of rank 0, over all operators, kinds, passes and levels
    rows : rows of all tables
    rows_per_rank : of each rank, under column split all of them, with some of their columns
    setup_s, compile_s : seconds before training
    """

    ranks: int
    threads_per_rank: int
    steps: int
    best_step: int
    stopped: str | None
    resumed_from: int | None
    samples: int
    samples_per_s: float
    setup_s: float
    compile_s: float
    rows: int
    rows_per_rank: list[int]
    bytes_per_sample: dict[str, float]
    traffic: list[TrafficRow] = field(repr=False)
    keys_per_sample: float
    unique_keys_per_sample: float | None
    ledger: list[Any] = field(repr=False)
    valid: Metrics | SquaredMetrics | PoissonMetrics | TaskMetrics | None
    test: Metrics | SquaredMetrics | PoissonMetrics | TaskMetrics | None
    first_step: int = 0
    waiting_keys: int = 0
    evicted: int = 0
    before: Metrics | SquaredMetrics | PoissonMetrics | TaskMetrics | None = None
    checkpoints: int = 0
    checkpoint_stall_s: float = 0.0
    longest_stall_s: float = 0.0
    failed_exports: int = 0


@fails_together
def train(
    config: Config | Mapping[str, Any] | str | os.PathLike[str],
    comm: "Intracomm | None" = None,
    overrides: Sequence[str] = (),
    check_bytes: bool = False,
    resume: bool = False,
    allow_import: Sequence[str] = (),
    overwrite: bool = False,
    callbacks: Sequence[object] = (),
    check_plan: bool = False,
    *,
    train: TableLike | None = None,
    valid: TableLike | None = None,
    test: TableLike | None = None,
    score_first: bool = False,
) -> TrainResult:
    """Train by a configuration on the ranks of `comm`, by default all; returns a TrainResult.

    config : a Config; nested dictionaries, such as {"model": {"name": "lr"}}; or the path of a TOML file
    train, valid, test : tables in the place of the configuration's files, see docs/python.md; every rank passes the same ones
    overrides : `section.key=value` texts, such as train.epochs=3
    check_bytes : a ledger that differs from the formula is an error; model and record are complete before it is raised
    resume : go on from the newest checkpoint in run.directory that can be read, on any number of ranks; from the
    beginning if there is none.  Otherwise, checkpoints there are a ConfigError.
    allow_import : package.module:Class that `model.name` may name; no other is imported, whatever a file says
    overwrite : replace the model and the checkpoints of a run that has ended in run.directory; otherwise that is a ConfigError
    callbacks : objects that are told of the run on rank 0, see `Reports` and docs/report.md
    score_first : where the run starts from another model, score the training part by it, before it is learnt from
    check_plan : bytes that differ from what train.split or routing = "auto" has planned are an error, as with check_bytes
    Writes record.jsonl and, unless run.save_model is false, model/ into run.directory.  Collective on `comm`: an
    error that all ranks share is raised on all; any other error of one rank ends the job with its message.
    """
    begin = time.perf_counter()
    command = " ".join(["train", *["--check-bytes"] * check_bytes, *["--check-plan"] * check_plan, *["--resume"] * resume, *["--overwrite"] * overwrite])
    tables = Tables({"train": train, "valid": valid, "test": test})
    change = (lambda tree: with_fields_of_origin(tree, tables.put_into)) if tables else lambda tree: tree
    config = agreed(
        comm, lambda: configured(config, overrides, allow_import, change), lambda config: _facts(command, config, tables, comm.size)
    )
    if resume and overwrite:
        raise ConfigError("--resume goes on from what is there, --overwrite removes it: choose one").shared_by(comm.size)
    config = with_folder(config, comm, resume)
    with Session(config, comm, tables=tables.arrow()) as session, signals_noted(config.checkpoint.stop_signal) as noted:
        session.tell_once(tables.notes)
        session.group.together(lambda: require(session.input, "train", "training"))
        callbacks = session.group.together(lambda: _callbacks(session, callbacks, resume))
        with run_lock(session.group, config.run.directory) as lock, session.watched() as watchdog:
            result, forecast = _train(session, lock, watchdog, begin, resume, overwrite, callbacks, score_first, noted)
        if check_bytes:
            require_agreement(session.group, result.traffic)
        if check_plan and forecast:
            forecast.require_agreement(session.group, result)
    return result


def _train(session, lock, watchdog, begin, resume, overwrite, callbacks, score_first, noted):
    """(TrainResult, Forecast or None) of a session that holds the lock of its folder since `begin`, and is watched.  Collective.

    noted : `Noted`, the signal after which the run ends behind a checkpoint
    """
    group, config, run = session.group, session.config, session.config.run.directory
    number = group.from_first(secrets.token_hex(8))
    if overwrite:
        look(group, config, [], overwrite)  # before anything is removed
    saved = found_checkpoints(group, config, resume, overwrite)
    origin = look(group, config, saved, overwrite)
    if origin:
        take_input(session, origin)
    group.together((lambda: lead_latest_to(run)) if group.rank == 0 else lambda: None)
    record = _open_record(group, run, resume, lock)
    record.write("start", version=deshpc.__version__, run=number, config=resolved(config), **_environment(session))
    reports = Reports(session, record, callbacks)
    reports.start(config)
    adviser = Adviser(group, record, config.train.loss)
    adviser.of_options(config)
    checkpoints, cursor = None, cursor_of(session, saved) if config.data.follow else None
    wishes = Wishes(config.checkpoint, noted, group.rank, time.perf_counter() - begin, lambda: checkpoints is not None and checkpoints.busy)

    def between():
        wish = int(group.gather_numbers([wishes()]).wait().max())
        end_by(wish, session, reports, cursor.steps if cursor else 0, cursor is not None)

    stream = Stream(session, cursor, between) if config.data.follow else None
    large = not stream and is_large(session, score_first)
    train_set = None if stream or large else session.load("train")
    part = stream.part if stream else large_part(session) if large else training_part(session, train_set)
    valid_set, test_set = (session.load(one) if session.input.has(one) else None for one in ("valid", "test"))
    if session.skipped:
        record.write("skipped", parts=session.skipped)
    if not stream:
        adviser.of_labels(part.whole, tasks_of(config))
    if part.kept is not None and group.rank == 0:
        say(f"deshpc: train.negative_sampling = {config.train.negative_sampling} keeps {part.samples:,} of {part.whole.rows:,} rows\n")
    forecast = plan_run(session, part, record, made_before(group, saved))
    loaded = time.perf_counter()
    first_step = origin.first_step if origin else 0
    steps = first_step + config.train.epochs * -(-part.samples // config.train.global_batch_samples)
    model = session.build(part.dataset, steps, (stream or part.learnt).mean_weight, first_step, stream and stream.field_keys)
    compiled = time.perf_counter()
    record.write(
        "ready", setup_s=loaded - begin, compile_s=compiled - loaded, train_rows=0 if stream else part.whole.rows, kept_rows=0 if stream else part.samples,
        base_rate=part.whole.prediction, first_step=first_step,
    )  # fmt: skip
    start = go_on(session, saved, 0 if stream else part.samples, record, number) if saved else None
    before, has_bias = None, start is not None
    if start is None and origin:
        has_bias = take_model(session, origin, record)
    if not has_bias and config.model.initial_bias == "base_rate":
        begin_at(model, part.whole)
    if start is None and origin and score_first and not stream:
        before = measured(session, "train", train_set, first_step)
        reports.scored_first(step=first_step, **asdict(before))
    start = start or Cursor(steps=first_step, first_step=first_step)
    resumed_from = start.steps if saved else None
    checkpoints = RunCheckpoints(session, number, lock, start, begins=resumed_from is None and origin is None, resumed=resumed_from is not None)

    with checkpoints:
        def of_epoch(epoch, loss):
            adviser.of_epoch(epoch, loss, part.learnt)

        noted.note_all()  # from here on there is something to go on from
        trained = train_epochs(session, part, valid_set, reports, watchdog, checkpoints.keep, checkpoints, wishes, start, of_epoch, stream)
        if stream:
            stream.close()
        checkpoints.finish()
        known = trained.valid
        if trained.best_step not in (None, trained.steps):
            model.table.clear()
            checkpoints.load_best(trained.best_step)
            known = None
        steps = trained.best_step or trained.steps  # of the model that is there now
        valid = measured(session, "valid", valid_set, steps, known=known)
        test = measured(session, "test", test_set, steps)
        for name, metrics in (("valid", valid), ("test", test)):
            adviser.of_metrics(name, metrics)
            if steps:
                adviser.of_unseen_keys(name, metrics)
        if trained.best_step is None:
            model.enter("save")
            if config.run.save_model:
                checkpoints.keep(trained.steps)
            else:
                checkpoints.require_finite(trained.steps)
        checkpoints.export_trained()
    steps, samples, seconds = trained.new_steps, trained.new_samples, trained.seconds
    traffic, keys = training_traffic(session, part.dataset, steps, samples, max(1, samples) if stream else part.samples)
    rows, first_rows, waiting = zip(*group.gather((len(model.table), model.table.first_rows, model.table.waiting_keys)), strict=True)
    result = TrainResult(
        ranks=group.size,
        threads_per_rank=session.backend.threads,
        steps=trained.steps,
        best_step=trained.best_step or trained.steps,
        stopped=trained.stopped,
        resumed_from=resumed_from,
        samples=samples,
        samples_per_s=samples / max(1e-9, seconds),
        setup_s=loaded - begin,
        compile_s=compiled - loaded,
        rows=sum(first_rows),
        rows_per_rank=list(rows),
        bytes_per_sample=bytes_per_sample(traffic, group.size, samples),
        traffic=traffic,
        keys_per_sample=keys.m,
        unique_keys_per_sample=keys.u,
        ledger=group.ledger.entries(),
        valid=valid,
        test=test,
        first_step=first_step,
        waiting_keys=sum(waiting),
        evicted=model.eviction.evicted if model.eviction else 0,
        before=before,
        checkpoints=len(checkpoints.stalls_s),
        checkpoint_stall_s=group.from_first(sum(checkpoints.stalls_s)),
        longest_stall_s=group.from_first(max(checkpoints.stalls_s, default=0.0)),
        failed_exports=checkpoints.failed_exports(),
    )
    record.write("result", **asdict(result))
    if forecast:
        record.write("planned", **forecast.beside(result))
    reports.end(result)
    record.close()
    return result, forecast


def _callbacks(session, given, resume):
    """The callbacks that rank 0 calls: none on other ranks."""
    if session.group.rank != 0:
        return []
    require_callbacks(given)
    run = session.config.run
    return [*([TensorBoard(run.directory, resume)] if run.tensorboard else []), *given]


def _facts(command, config, tables, ranks):
    """The `run_facts`, and what says that all ranks have the same tables."""
    return {**({"tables": tables.facts()} if ranks > 1 else {}), **run_facts(command, config)}


@fails_together
def evaluate(
    directory: str | os.PathLike[str],
    comm: "Intracomm | None" = None,
    overrides: Sequence[str] = (),
    part: str = "test",
    allow_import: Sequence[str] = (),
    data: TableLike | Sequence[str] | None = None,
) -> Metrics | SquaredMetrics | PoissonMetrics | TaskMetrics:
    """Metrics of the model saved in `directory`, a run's or a checkpoint, on a part of its data, on any number of ranks.

    overrides : `section.key=value` texts, such as train.global_batch_samples=1000
    part : of the run's data, or
    data : a table, which every rank passes, or files to evaluate on instead, in the run's format
    allow_import : as in `train`
    Writes eval-<part>.jsonl into `directory`, unless it is read-only, or into an overriding run.directory.  Collective on `comm`;
    errors as in `train`.
    """
    tables = Tables({"test": data if is_table(data) else None})
    files = None if tables else data
    part = "test" if tables or files else part
    folder, manifest, config = agreed(
        comm, lambda: saved_run(directory, overrides, allow_import, files, tables),
        lambda saved: _facts(f"eval of the {part} part", saved[2], tables, comm.size),
    )  # fmt: skip
    with Session(config, comm, tables=tables.arrow()) as session, session.watched():
        session.group.together(lambda: session.input.restore(manifest["source"]))
        session.group.together(lambda: require(session.input, part, f"evaluating the {part} part"))
        dataset = session.load(part)
        model = session.build(dataset)
        load_model(model, folder, manifest)
        metrics = measured(session, part, dataset, manifest["steps"])
        if session.group.rank == 0:
            say(in_words(part, manifest["steps"], metrics) + "\n")
        Adviser(session.group, NoRecord(), config.train.loss).of_unseen_keys(part, metrics)
        report = {
            "event": "eval", "directory": str(directory), "part": part, "ranks": session.group.size, "step": manifest["steps"],
            **asdict(metrics),
        }  # fmt: skip
        _write_report(session.group, config.run.directory, f"eval-{part}.jsonl", report, config.run.directory != str(directory))
    return metrics


def saved_run(directory, overrides, allow_import=(), data=None, tables=None):
    """(folder of the model, its manifest, its configuration with `overrides`).

    directory : of a run, which may lie elsewhere by now than when it was trained, or the folder of a model or checkpoint
    data : files that take the place of the test part, or
    tables : Tables of it
    """
    if data:
        overrides = [*overrides, f"data.test={json.dumps([os.path.abspath(file) for file in data])}"]
    folder = model_folder(directory)
    manifest = read_manifest(folder)
    config = build(manifest["config"], source=str(folder), allow_import=allow_import)
    threads = min(config.compute.threads_per_rank, os.cpu_count() or 1)  # of the machine that it was trained on
    moved = replace(
        config, run=replace(config.run, directory=str(directory)), compute=replace(config.compute, threads_per_rank=threads)
    )
    if data and config.data.format == "synthetic":
        raise ConfigError("--data: the run's samples are generated; choose some of them by --part")
    if tables:
        fields = _fields(manifest)
        asked = configured(moved, overrides, allow_import, lambda tree: tables.put_into(_without_files(tree), fields))
    else:
        asked = override(moved, *overrides, allow_import=allow_import)
    if tasks_of(asked) != tasks_of(config):
        raise ConfigError(f"data.label or model.tasks: the model in {folder} was trained for other tasks: leave them as they were")
    if asked.train.loss != config.train.loss:
        raise ConfigError(
            f"train.loss = {asked.train.loss!r}: the model in {folder} was trained by {config.train.loss!r}, which says what it predicts; "
            "leave it out"
        )
    return folder, manifest, asked


def _without_files(tree):
    """A configuration that evaluates something else than its own rows, and does so once."""
    train = {**tree["train"], "evaluate_every_steps": 0, "stop_metric": "none"}
    return {**tree, "train": train, "data": {**tree["data"], "train": [], "valid": [], "test": []}}


def _fields(manifest):
    """The fields of a saved model, as `[[data.fields]]` has them; ConfigError where its samples were generated."""
    schema = manifest["source"].get("schema")
    if schema is None:
        raise ConfigError("data: the model was trained on generated samples, whose fields no table has")
    return schema["fields"]


def _open_record(group, directory, append, lock):
    """Rank 0's record; an unwritable directory is an error on every rank.  Collective."""
    return group.together(lambda: _writing(directory, lambda: Record(directory, append, lock.require)) if group.rank == 0 else NoRecord())


def _write_report(group, directory, name, report, wanted):
    """Write one line of JSON from rank 0 to a file that is whole or absent; errors as of `_open_record`.  Collective.

    wanted : whether somebody has asked for this folder; else one that is read-only is told and no error
    """

    def write():
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
            write_text(Path(directory) / name, json_text(report) + "\n")
        except OSError as problem:
            if wanted:
                raise
            say(f"deshpc: warning: {Path(directory) / name} cannot be written: {problem.strerror or problem}\n")

    group.together(lambda: _writing(directory, write) if group.rank == 0 else None)


def _writing(directory, task):
    try:
        return task()
    except OSError as problem:
        raise ConfigError(f"run.directory = {directory!r} cannot be written: {problem}") from None


def _environment(session):
    products = session.backend.products
    return {
        "ranks": session.group.size, "ranks_per_node": session.node.size, "threads_per_rank": session.backend.threads,
        "levels": list(session.group.levels.names), "backend": session.backend.name, "python": platform.python_version(), "machine": platform.machine(),
        "matrix_products": products.name, "fields": session.input.n_fields, "dense": session.input.n_dense,
    }  # fmt: skip
