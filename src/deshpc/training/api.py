"""The Python API: what `deshpc train` and `deshpc eval` call."""

import platform
import time
from dataclasses import asdict, dataclass, field, replace

import deshpc
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
from deshpc.training.saved import load_model, read_manifest, save_model
from deshpc.training.session import Session
from deshpc.training.traffic import bytes_per_sample, require_agreement, training_traffic


@dataclass(frozen=True)
class TrainResult:
    """What a training run gives back, the same on every rank.

    valid, test : metrics of the trained model, None where the data has no such part
    steps : that training made;  best_step : those of the model, fewer where early stopping has kept an earlier one
    samples_per_s : trained samples by the slowest rank's time in the loop, evaluation excluded
    bytes_per_sample : {kind: bytes sent by an average rank's training steps, per sample of the global batch}
    traffic : [TrafficRow]: bytes sent by training steps, all ranks together, beside the formula of `deshpc.plan.cost`
    keys_per_sample, unique_keys_per_sample : m and u, see `training.traffic.KeysMet`
    ledger : this run's byte ledger of rank 0, over all operators, kinds, passes and levels
    rows : rows of all tables;  rows_per_rank : of each rank;  setup_s, compile_s : seconds before training
    """

    ranks: int
    threads_per_rank: int
    steps: int
    best_step: int
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
def train(config, comm, overrides=(), check_bytes=False):
    """Train by a Config (or the path of a TOML file) on the ranks of `comm`; returns a TrainResult.

    overrides : `section.key=value` texts, such as train.epochs=3
    check_bytes : a ledger that differs from the formula is an error; model and record are complete before it is raised
    Writes record.jsonl and, unless run.save_model is false, model/ into run.directory.  Collective on `comm`: an
    error that all ranks share is raised on all; any other error of one rank ends the job with its message.
    """
    begin = time.perf_counter()
    command = "train --check-bytes" if check_bytes else "train"
    config = agreed(comm, lambda: _config(config, overrides), lambda config: run_facts(command, config))
    session = Session(config, comm)
    group = session.group
    group.together(lambda: require(session.input, "train", "training"))
    record = _open_record(group, config.run.directory, "record.jsonl")
    record.write("start", version=deshpc.__version__, config=resolved(config), **_environment(session))
    train_set, valid_set, test_set = (
        session.load(part) if session.input.has(part) else None for part in ("train", "valid", "test")
    )
    loaded = time.perf_counter()
    model = session.build(train_set, config.train.epochs * -(-len(train_set) // config.train.global_batch_samples))
    compiled = time.perf_counter()
    record.write("ready", setup_s=loaded - begin, compile_s=compiled - loaded, train_rows=len(train_set))

    def keep(steps):
        save_model(model, config.run.directory, resolved(config), session.input_state(), steps)

    with session.watched() as watchdog:
        trained = train_epochs(session, train_set, valid_set, record, watchdog, keep)
        known = trained.valid
        if trained.best_step not in (None, trained.steps):
            model.table.clear()
            load_model(model, config.run.directory, group.together(lambda: read_manifest(config.run.directory)))
            known = None
        valid = known or _measure(session, valid_set)
        test = _measure(session, test_set)
        if config.run.save_model and trained.best_step is None:
            model.enter("save")
            keep(trained.steps)
    steps, samples, seconds = trained.steps, trained.samples, trained.seconds
    traffic, keys = training_traffic(session, train_set, steps, samples)
    rows = group.gather(len(model.table))
    result = TrainResult(
        group.size, session.backend.threads, steps, trained.best_step or steps, samples, samples / max(1e-9, seconds),
        loaded - begin, compiled - loaded, sum(rows), rows, bytes_per_sample(traffic, group.size, samples),
        traffic, keys.m, keys.u, group.ledger.entries(), valid, test,
    )  # fmt: skip
    record.write("result", **asdict(result))
    record.close()
    if check_bytes:
        require_agreement(group, traffic)
    session.close()
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
    """Metrics of the model saved in the run's `directory` on a part of its data, on any number of ranks.

    overrides : `section.key=value` texts, such as data.test=["other.csv"]
    Writes eval-<part>.jsonl into `directory`, or into an overriding run.directory.  Collective on `comm`; errors as
    in `train`.
    """
    manifest, config = agreed(
        comm, lambda: _saved_run(directory, overrides), lambda saved: run_facts(f"eval of the {part} part", saved[1])
    )
    session = Session(config, comm)
    session.group.together(lambda: session.input.restore(manifest["source"]))
    session.group.together(lambda: require(session.input, part, f"evaluating the {part} part"))
    dataset = session.load(part)
    model = session.build(dataset)
    load_model(model, directory, manifest)
    with session.watched():
        metrics = _measure(session, dataset)
    record = _open_record(session.group, config.run.directory, f"eval-{part}.jsonl")
    record.write("eval", directory=str(directory), part=part, ranks=session.group.size, **asdict(metrics))
    record.close()
    session.close()
    return metrics


def _saved_run(directory, overrides):
    """(manifest, its configuration with `overrides`); the run may lie elsewhere by now than when it was trained."""
    manifest = read_manifest(directory)
    config = build(manifest["config"], source=str(directory))
    moved = replace(config, run=replace(config.run, directory=str(directory)))
    return manifest, override(moved, *overrides)


def _open_record(group, directory, name):
    """Rank 0's record; an unwritable directory is an error on every rank.  Collective."""
    record, error = NoRecord(), None
    if group.rank == 0:
        try:
            record = Record(directory, name)
        except OSError as problem:
            error = ConfigError(f"run.directory = {directory!r} cannot be written: {problem}")
    group.agree(error)
    return record


def _environment(session):
    return {
        "ranks": session.group.size, "ranks_per_node": session.node.size, "threads_per_rank": session.backend.threads,
        "backend": session.backend.name, "python": platform.python_version(), "machine": platform.machine(),
        "fields": session.input.n_fields, "dense": session.input.n_dense,
    }  # fmt: skip
