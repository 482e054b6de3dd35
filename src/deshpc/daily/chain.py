"""`deshpc train --days`: a model that learns day after day, and is scored by each day before it learns it."""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deshpc
from deshpc.checkpoint.save import writing
from deshpc.comm.group import Group
from deshpc.config import Config, configured, resolved
from deshpc.daily.days import days_of
from deshpc.daily.folder import (
    day_folder,
    days_on_disk,
    forget,
    lines_of,
    publish,
    remove_chain,
    require_after,
    require_chain,
    require_free,
)
from deshpc.errors import ConfigError, DeshpcError, Stopped
from deshpc.launch.agreement import agreed, run_facts
from deshpc.launch.console import say
from deshpc.launch.failure import fails_together
from deshpc.serve.export import export
from deshpc.training.api import train
from deshpc.training.record import NoRecord, Record
from deshpc.training.run_folder import lead_latest_to, with_folder
from deshpc.training.run_lock import run_lock

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

_NOT_METRICS = ("event", "time_s", "step")


@dataclass(frozen=True)
class DayResult:
    """What one day of a chain has come to.

    day : its name;  path : of its rows;  folder : of its run
    rows : of the day;  steps : that made the model;  table_rows : of the model
    seconds : from the day's begin to its end, of the last call
    before : {metric: number} of the model of the day before on this day's rows; None where there was none; of several tasks "TASK.metric", too
    valid, test : {metric: number} of the day's own model, None where the configuration has no such part
    """

    day: str
    path: str
    folder: str
    rows: int
    steps: int
    table_rows: int
    seconds: float
    before: dict[str, float | None] | None
    valid: dict[str, float | None] | None
    test: dict[str, float | None] | None


@dataclass(frozen=True)
class Chain:
    """directory : run.directory;  days : of all calls, in their order"""

    directory: str
    days: list[DayResult]

    def mean(self, name: str) -> float | None:
        """The mean of a metric of `DayResult.before`, by rows, over the days that have it; None without any."""
        known = [(one.rows, one.before[name]) for one in self.days if one.before and one.before.get(name) is not None]
        return sum(rows * value for rows, value in known) / sum(rows for rows, _ in known) if known else None


@fails_together
def train_days(
    config: Config | Mapping[str, Any] | str | os.PathLike[str],
    days: str | Sequence[str],
    comm: "Intracomm | None" = None,
    overrides: Sequence[str] = (),
    check_bytes: bool = False,
    resume: bool = False,
    allow_import: Sequence[str] = (),
    overwrite: bool = False,
    callbacks: Sequence[object] = (),
    check_plan: bool = False,
) -> Chain:
    """Train day after day by a configuration, as docs/daily.md has it; returns the Chain.

    config : as in `train`; the days take the place of its data.train
    days : paths or patterns; each file or folder that they find is a day, in the order of names
    resume : go on where the chain in run.directory was ended, or after its last day; from the beginning if there is none
    overwrite : remove the chain, or replace the model, in run.directory
    comm, overrides, check_bytes, allow_import, callbacks, check_plan : as in `train`, of every day
    Every day's run starts from the model of the day before, and the first one from `train.from`, if that is given.  After each day
    run.directory has its model and an exported one.  Collective; errors as in `train`.
    """
    patterns = [days] if isinstance(days, str) else list(days)
    command = " ".join(["train --days", *["--resume"] * resume, *["--overwrite"] * overwrite])

    def read():
        found = days_of(patterns)
        return found, _with_first(configured, config, overrides, allow_import, found)

    found, config = agreed(comm, read, lambda both: {"days": [list(day) for day in both[0]], **run_facts(command, both[1])})
    if resume and overwrite:
        raise ConfigError("--resume goes on from what is there, --overwrite removes it: choose one").shared_by(comm.size)
    config = with_folder(config, comm, resume)
    options = {"check_bytes": check_bytes, "allow_import": allow_import, "callbacks": callbacks, "check_plan": check_plan}
    with _group_of(comm) as group, run_lock(group, config.run.directory) as lock:
        return _Links(group, config, found, lock, resume, overwrite).train(options)


def _with_first(configured, config, overrides, allow_import, days):
    """The Config whose training part is the first day."""

    def change(tree):
        data = tree.get("data", {})
        if isinstance(data, dict) and data.get("format", "csv") in ("synthetic", "table"):
            raise ConfigError(f"--days: data.format = {data['format']!r} has no files; days are files, or folders of files")
        if isinstance(data, dict) and data.get("follow"):
            raise ConfigError("--days: data.follow = true reads one folder as it grows; a day is complete when its run begins: leave one of them out")
        return {**tree, "data": {**data, "train": [days[0].path]}} if isinstance(data, dict) else tree

    made = configured(config, overrides, allow_import, change)
    if not made.run.save_model:
        raise ConfigError("--days: run.save_model must be true: a day starts from the model of the day before")
    return made


class _Links:
    """The days of a chain, one after the other, by rank 0's lock of its folder.  Creating one is collective."""

    def __init__(self, group, config, days, lock, resume, overwrite):
        self._group, self._config, self._days, self._run = group, config, days, config.run.directory
        self._first = group.rank == 0

        def begin():
            with writing(self._run):
                if overwrite:
                    remove_chain(self._run)
                elif resume:
                    require_chain(self._run)
                else:
                    require_free(self._run)
            done = [name for name in days_on_disk(self._run) if lines_of(day_folder(self._run, name))]
            require_after(days, done)
            start = os.path.realpath(config.train.from_) if config.train.from_ else ""  # before runs/latest leads here
            lead_latest_to(self._run)
            return done, start, Record(self._run, resume, lock.require)

        done, start, self._record = group.together(begin if self._first else lambda: (None, None, NoRecord()))
        self._done, start = group.from_first((done, start))
        self._config = replace(config, train=replace(config.train, from_=start))
        self._record.write(
            "start", version=deshpc.__version__, config=resolved(config), ranks=group.size, threads_per_rank=config.compute.threads_per_rank,
            backend=config.compute.backend, days=[day.name for day in days], done=self._done,
        )  # fmt: skip

    def train(self, options):
        """Train the days that are not done; the Chain of all.  options : of `train`.  Collective."""
        left = [day for day in self._days if day.name not in self._done]
        for name in self._done[-1:]:  # its end may have been cut off
            self._end(name)
        for number, day in enumerate(left, 1):
            if self._first:
                say(f"deshpc: day {day.name}, {number} of {len(left)}\n")
            try:
                train(self._config_of(day), self._group.comm, resume=True, score_first=True, **options)
            except Stopped as stopped:
                raise stopped.of(self._run) from None
            self._done.append(day.name)
            self._end(day.name)
        chain = self._group.from_first(self._group.together(self._chain if self._first else lambda: None))
        self._record.close()
        return chain

    def _config_of(self, day):
        config, folder = self._config, day_folder(self._run, day.name)
        exports = config.export
        if exports.deltas:
            exports = replace(exports, directory=exports.directory or f"{self._run}/exports")  # one folder for all days
        start = str(day_folder(self._run, self._done[-1])) if self._done else config.train.from_
        return replace(
            config, data=replace(config.data, train=(day.path,)), train=replace(config.train, from_=start),
            export=exports, run=replace(config.run, directory=str(folder)),
        )  # fmt: skip

    def _end(self, name):
        """Export and publish a day's model, write the day down, and remove what is not needed any more.  Collective."""

        def end():
            day = self._day(name)
            own = ":" in self._config.model.name  # a predictor has no formula for it
            with writing(self._run):
                publish(self._run, Path(day.folder), None if own or self._config.export.deltas else export)
                forget(self._run, self._done, self._config.checkpoint.keep)
            self._record.write("day", run=lines_of(day.folder)["start"]["run"], **asdict(day))
            if day.before is not None:
                say(f"deshpc: day {name} before it was learnt: {in_words(day.before)}\n")

        self._group.together(end if self._first else lambda: None)

    def _day(self, name):
        folder = day_folder(self._run, name)
        lines = lines_of(folder)
        start, result = lines["start"], lines["result"]
        return DayResult(
            name, start["config"]["data"]["train"][0], str(folder), lines["ready"]["train_rows"], result["steps"], result["rows"],
            result["time_s"], _numbers(lines.get("before")), _numbers(result["valid"]), _numbers(result["test"]),
        )  # fmt: skip

    def _chain(self):
        """The Chain; its record ends as that of a run does whose parts were the days."""
        days = [self._day(name) for name in self._done]
        if days:
            results = [{name: value for name, value in lines_of(day.folder)["result"].items() if name not in _NOT_METRICS} for day in days]
            samples = sum(one["samples"] for one in results)
            seconds = sum(one["samples"] / max(1e-9, one["samples_per_s"]) for one in results)
            self._record.write("result", **{
                **results[-1], "samples": samples, "samples_per_s": samples / max(1e-9, seconds), "traffic": [],
                **{name: sum(one[name] for one in results) for name in ("setup_s", "compile_s")},
            })  # fmt: skip
        return Chain(self._run, days)


def in_words(metrics):
    """Some numbers of {metric: number}, as a line."""
    shown = (("AUC", "auc", 5), ("log-loss", "log_loss", 5), ("NE", "normalized_entropy", 4), ("calibration", "calibration", 4))
    known = [(title, metrics[name], digits) for title, name, digits in shown if metrics.get(name) is not None]
    known = known or [(name.replace("_", " "), value, 5) for name, value in metrics.items() if isinstance(value, float)][:4]
    return "  ".join(f"{title} {value:.{digits}f}" for title, value, digits in known)


def _numbers(line):
    """{metric: number} of a line of a record, or of a part of one; those of one of several tasks are TASK.metric."""
    if line is None:
        return None
    own = {
        name: value for name, value in line.items()
        if name not in _NOT_METRICS and (value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)))
    }  # fmt: skip
    return own | {f"{task}.{name}": value for task, numbers in line.get("tasks", {}).items() for name, value in _numbers(numbers).items()}


@contextmanager
def _group_of(comm):
    """A Group for a block, which is given back unless ranks may still wait in it.  Collective."""
    group = Group(comm)
    try:
        yield group
    except DeshpcError as error:
        if error.agreed == group.size:
            group.free()
        raise
    group.free()
