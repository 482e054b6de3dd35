"""A run as its record has it.  Standard library only."""

from pathlib import Path

from deshpc.config import flat
from deshpc.errors import DataError
from deshpc.storage.json_form import COUNT, parse, require

_NAME = "record.jsonl"
_NUMBER = (float, None)
_METRICS = {
    "rows": COUNT, "auc": _NUMBER, "log_loss": _NUMBER, "normalized_entropy": _NUMBER, "calibration": _NUMBER, "best_auc": _NUMBER,
    "pr_auc": _NUMBER, "grouped_auc": _NUMBER, "calibration_error": _NUMBER, "calibration_bins": (None, list), "slices": (None, list),
    "unseen": (None, list), "mean_squared_error": _NUMBER, "root_mean_squared_error": _NUMBER, "mean_absolute_error": _NUMBER, "r2": _NUMBER,
    "mean_deviance": _NUMBER, "d2": _NUMBER, "mean_label": _NUMBER, "positives": (None, COUNT), "tasks": (None, {str: dict}),
}  # fmt: skip
_TABLES = {  # what a report needs of a row of such a list
    "calibration_bins": {"rows": COUNT, "prediction": _NUMBER, "label": _NUMBER},
    "slices": {
        "field": str, "value": str, "rows": COUNT, "positives": COUNT, "auc": _NUMBER, "log_loss": _NUMBER, "normalized_entropy": _NUMBER,
        "calibration": _NUMBER,
    },
    "unseen": {"field": str, "occurrences": COUNT, "unseen_occurrences": COUNT, "distinct": COUNT, "unseen_distinct": COUNT},
}  # fmt: skip
_TRAFFIC = {
    "operator": str, "kind": str, "direction": str, "level": str, "sent_bytes": COUNT, "low_bytes": COUNT, "high_bytes": COUNT,
}  # fmt: skip
_FORMS = {  # event: what a report needs of its line
    "start": {"version": str, "config": dict, "ranks": COUNT, "threads_per_rank": COUNT, "backend": str},
    "resume": {"step": COUNT},
    "warning": {"subject": str, "text": str},
    "progress": {"step": COUNT, "loss": _NUMBER, "auc": _NUMBER, "samples_per_s": float, "stage_s": {str: float}},
    "valid": {"step": COUNT, **_METRICS},
    "stopped": {"why": str},
    "day": {"day": str, "rows": COUNT, "table_rows": COUNT, "seconds": float, "before": (None, dict)},
    "result": {
        "steps": COUNT, "best_step": COUNT, "samples": COUNT, "samples_per_s": float, "setup_s": float, "compile_s": float, "rows": COUNT,
        "keys_per_sample": float, "traffic": [_TRAFFIC], "valid": (None, dict), "test": (None, dict),
    },
}  # fmt: skip


class RecordedRun:
    """A run, of whose lines it has what `_FORMS` names.

    name : what it is called in a report
    start : its newest "start" line;  options : {dotted name: value} of the configuration there
    progress, valid : lines in the order of steps.  Where the run went on from a checkpoint, what it had done beyond that is forgotten.
    steps : that progress lines tell of, each once
    warnings : lines
    stopped, result : lines, None where there is none
    days : lines of a chain of days, in their order
    """

    def __init__(self, name):
        self.name, self.start, self.options = name, None, {}
        self.progress, self.valid, self.warnings, self.stopped, self.result = [], [], [], None, None
        self.days = []

    @property
    def steps(self):
        """Steps of all progress lines."""
        return self.progress[-1]["step"] if self.progress else 0

    @property
    def stage_s(self):
        """{stage: seconds} of all progress lines."""
        whole = {}
        for line in self.progress:
            for stage, seconds in line["stage_s"].items():
                whole[stage] = whole.get(stage, 0.0) + seconds
        return whole

    def read(self, line):
        """Take a line in, a dictionary.  ValueError where it is no line of a record."""
        event = line.get("event")
        require(event, str, "event")
        if event not in _FORMS:
            return
        entries = _picked(line, _FORMS[event], event)
        if event == "start":
            self.start, self.options, self.stopped, self.result = entries, flat(entries["config"]), None, None
        elif event == "resume":
            for lines in (self.progress, self.valid):
                lines[:] = [one for one in lines if one["step"] <= entries["step"]]
        elif event == "day":
            entries["before"] = entries["before"] and _metrics(_by_task(entries["before"]), "day.before")
            self.days = [one for one in self.days if one["day"] != entries["day"]] + [entries]  # a chain that goes on repeats its last one
        elif event in ("stopped", "result"):
            for part in {"valid", "test"} & entries.keys():
                entries[part] = entries[part] and _metrics(entries[part], f"{event}.{part}")
            self.stopped, self.result = (entries, None) if event == "stopped" else (self.stopped, entries)
        else:
            if entries.get("tasks"):
                entries["tasks"] = _of_tasks(entries["tasks"], event)
            {"progress": self.progress, "valid": self.valid, "warning": self.warnings}[event].append(entries)


def read_run(path):
    """The RecordedRun whose record is in the folder `path`, or is that file; under way, ended, or broken off.

    DataError where there is none, or another file.
    """
    file = Path(path) / _NAME if Path(path).is_dir() else Path(path)
    try:
        lines = file.read_bytes().split(b"\n")[:-1]  # the last one is under way
    except OSError as error:
        raise DataError(f"{file}: no record of a run can be read: {error.strerror}") from None
    run = RecordedRun(str(path))
    for number, line in enumerate(lines, 1):
        try:
            thing = parse(line)
            require(thing, dict, "it")
            run.read(thing)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}, line {number}: no line of a record of this version: {error}") from None
    if run.start is None:
        raise DataError(f"{file}: no record of a run: it has no start line")
    return run


def _metrics(entries, name):
    """What `_METRICS` names of a part's metrics, and what `_TABLES` names of each row of its tables; of each task the same."""
    entries = _picked(entries, _METRICS, name)
    for table, form in _TABLES.items():
        rows = entries[table] or []
        for i, row in enumerate(rows):
            require(row, dict, f"{name}.{table}[{i}]")
        entries[table] = [_picked(row, form, f"{name}.{table}[{i}]") for i, row in enumerate(rows)]
    entries["tasks"] = _of_tasks(entries["tasks"] or {}, name)
    return entries


def _of_tasks(tasks, name):
    return {task: _metrics(entries, f"{name}.tasks.{task}") for task, entries in tasks.items()}


def _by_task(numbers):
    """A day's numbers, of which a task's are called TASK.metric, as the metrics of other lines are."""
    found = {"tasks": {}}
    for name, number in numbers.items():
        task, _, metric = name.rpartition(".")
        (found["tasks"].setdefault(task, {}) if task else found)[metric] = number
    return found


def _picked(line, form, name):
    """What a form names of a dictionary; ValueError where that is not of the form."""
    entries = {one: line.get(one) for one in form}
    require(entries, form, name)
    return entries
