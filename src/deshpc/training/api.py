"""The Python API: what `deshpc train` and `deshpc eval` call."""

import platform
import time
from dataclasses import asdict, dataclass, field, replace

import deshpc
from deshpc.checkpoint.folders import model_folder, run_model
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import save_model
from deshpc.comm.agreement import agreed, run_facts
from deshpc.comm.failure import fails_together
from deshpc.config import Config, load, override, resolved
from deshpc.config.load import build
from deshpc.data.input import require
from deshpc.errors import ConfigError
from deshpc.training.evaluation import evaluate_model
from deshpc.training.loop import train_epochs
from deshpc.training.metrics import Metrics
from deshpc.training.record import NoRecord, Record
from deshpc.training.resume import found_checkpoints, go_on
from deshpc.training.run_checkpoints import RunCheckpoints
from deshpc.training.session import Session
from deshpc.training.traffic import bytes_per_sample, require_agreement, training_traffic


@dataclass(frozen=True)
class TrainResult:
    """What a training run gives back, the same on every rank.

    valid, test : metrics of the trained model, None where the data has no such part
    steps : that training made;  best_step : those of the model, fewer where early stopping has kept an earlier one
    resumed_from : steps of the checkpoint that this call went on from, None where it began; they count in `steps`, but
    samples, bytes, keys and times are those of this call
    samples_per_s : trained samples by the slowest rank's time in the loop, evaluation excluded
    bytes_per_sample : {kind: bytes sent by an average rank's training steps, per sample of the global batch}
    traffic : [TrafficRow]: bytes sent by training steps, all ranks together, beside the formula of `deshpc.plan.cost`
    keys_per_sample, unique_keys_per_sample : m and u, see `training.traffic.KeysMet`
    ledger : this run's byte ledger of rank 0, over all operators, kinds, passes and levels
    rows : rows of all tables;  rows_per_rank : of each rank, under column split all of them, with some of their columns
    setup_s, compile_s : seconds before training
    """

    ranks: int
    threads_per_rank: int
    steps: int
    best_step: int
    resumed_from: int | None
    samples: int
    samples_per_s: float
    setup_s: float
    compile_s: float
    rows: int
    rows_per_rank: list
    bytes_per_sample: dict
    traffic: list = field(repr=False)
    keys_per_sample: float
    unique_keys_per_sample: float | None
    ledger: list = field(repr=False)
    valid: Metrics | None
    test: Metrics | None


@fails_together
def train(config, comm, overrides=(), check_bytes=False, resume=False):
    """Train by a Config (or the path of a TOML file) on the ranks of `comm`; returns a TrainResult.

    overrides : `section.key=value` texts, such as train.epochs=3
    check_bytes : a ledger that differs from the formula is an error; model and record are complete before it is raised
    resume : go on from the newest checkpoint in run.directory that can be read, on any number of ranks; from the
    beginning if there is none.  Otherwise, checkpoints there are a ConfigError.
    Writes record.jsonl and, unless run.save_model is false, model/ into run.directory.  Collective on `comm`: an
    error that all ranks share is raised on all; any other error of one rank ends the job with its message.
    """
    begin = time.perf_counter()
    command = " ".join(["train", *["--check-bytes"] * check_bytes, *["--resume"] * resume])
    config = agreed(comm, lambda: _config(config, overrides), lambda config: run_facts(command, config))
    session = Session(config, comm)
    with session.watched() as watchdog:
        result = _train(session, watchdog, check_bytes, resume, begin)
    session.close()
    return result


def _train(session, watchdog, check_bytes, resume, begin):
    """The TrainResult of a session that nobody has used.  begin : when it was asked for.  Collective."""
    config = session.config
    group, run = session.group, config.run.directory
    group.together(lambda: require(session.input, "train", "training"))
    saved = found_checkpoints(group, config, resume)
    record = _open_record(group, run, "record.jsonl", append=resume)
    record.write("start", version=deshpc.__version__, config=resolved(config), **_environment(session))
    train_set, valid_set, test_set = (
        session.load(part) if session.input.has(part) else None for part in ("train", "valid", "test")
    )
    if session.skipped:
        record.write("skipped", parts=session.skipped)
    loaded = time.perf_counter()
    model = session.build(train_set, config.train.epochs * -(-len(train_set) // config.train.global_batch_samples))
    compiled = time.perf_counter()
    record.write("ready", setup_s=loaded - begin, compile_s=compiled - loaded, train_rows=len(train_set))
    start = go_on(session, saved, train_set, record) if saved else None
    checkpoints = RunCheckpoints(session)

    def keep(steps):
        save_model(model, run_model(run), checkpoints.manifest(steps))

    trained = train_epochs(session, train_set, valid_set, record, watchdog, keep, checkpoints, start)
    checkpoints.finish()
    known = trained.valid
    if trained.best_step not in (None, trained.steps):
        model.table.clear()
        load_model(model, group.together(lambda: model_folder(run)))
        known = None
    valid = known or _measure(session, valid_set)
    test = _measure(session, test_set)
    if config.run.save_model and trained.best_step is None:
        model.enter("save")
        keep(trained.steps)
    steps, samples, seconds = trained.new_steps, trained.new_samples, trained.seconds
    traffic, keys = training_traffic(session, train_set, steps, samples)
    rows, first_rows = zip(*group.gather((len(model.table), model.table.first_rows)), strict=True)
    result = TrainResult(
        group.size, session.backend.threads, trained.steps, trained.best_step or trained.steps,
        start.steps if start else None, samples, samples / max(1e-9, seconds), loaded - begin, compiled - loaded,
        sum(first_rows), list(rows), bytes_per_sample(traffic, group.size, samples), traffic, keys.m, keys.u,
        group.ledger.entries(), valid, test,
    )  # fmt: skip
    record.write("result", **asdict(result))
    record.close()
    if check_bytes:
        require_agreement(group, traffic)
    return result


def _measure(session, dataset):
    """Metrics of the session's model, None without data.  Collective."""
    if dataset is None:
        return None
    session.model.enter("evaluate")
    return evaluate_model(session.model, dataset, session.config.train.global_batch_samples)


def _config(config, overrides):
    return override(config, *overrides) if isinstance(config, Config) else load(config, overrides)


@fails_together
def evaluate(directory, comm, overrides=(), part="test"):
    """Metrics of the model saved in `directory`, a run's or a checkpoint, on a part of its data, on any number of ranks.

    overrides : `section.key=value` texts, such as data.test=["other.csv"]
    Writes eval-<part>.jsonl into `directory`, or into an overriding run.directory.  Collective on `comm`; errors as
    in `train`.
    """
    folder, manifest, config = agreed(
        comm, lambda: saved_run(directory, overrides), lambda saved: run_facts(f"eval of the {part} part", saved[2])
    )
    session = Session(config, comm)
    with session.watched():
        session.group.together(lambda: session.input.restore(manifest["source"]))
        session.group.together(lambda: require(session.input, part, f"evaluating the {part} part"))
        dataset = session.load(part)
        model = session.build(dataset)
        load_model(model, folder, manifest)
        metrics = _measure(session, dataset)
    record = _open_record(session.group, config.run.directory, f"eval-{part}.jsonl")
    record.write("eval", directory=str(directory), part=part, ranks=session.group.size, **asdict(metrics))
    record.close()
    session.close()
    return metrics


def saved_run(directory, overrides):
    """(folder of the model, its manifest, its configuration with `overrides`).

    directory : of a run, which may lie elsewhere by now than when it was trained, or the folder of a model or checkpoint
    """
    folder = model_folder(directory)
    manifest = read_manifest(folder)
    config = build(manifest["config"], source=str(folder))
    moved = replace(config, run=replace(config.run, directory=str(directory)))
    return folder, manifest, override(moved, *overrides)


def _open_record(group, directory, name, append=False):
    """Rank 0's record; an unwritable directory is an error on every rank.  Collective."""
    record, error = NoRecord(), None
    if group.rank == 0:
        try:
            record = Record(directory, name, append)
        except OSError as problem:
            error = ConfigError(f"run.directory = {directory!r} cannot be written: {problem}")
    group.agree(error)
    return record


def _environment(session):
    products = session.backend.products
    return {
        "ranks": session.group.size, "ranks_per_node": session.node.size, "threads_per_rank": session.backend.threads,
        "backend": session.backend.name, "python": platform.python_version(), "machine": platform.machine(),
        "matrix_products": products and products.name, "fields": session.input.n_fields, "dense": session.input.n_dense,
    }  # fmt: skip
