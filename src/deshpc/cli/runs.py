"""`deshpc runs`: the runs in a folder, from their records alone: which go on, which have ended and how well, and where the others are.

Records of long runs are large, so of each the newest line of every kind is looked for from its end.  Standard library only.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

from deshpc.cli.tables import columns
from deshpc.config import flat
from deshpc.errors import DataError
from deshpc.storage.lock import holder
from deshpc.storage.strict_json import json_text

_RECORD = "record.jsonl"
_PATTERNS = (_RECORD, f"*/{_RECORD}", f"*/*/{_RECORD}")  # a run, runs, and folders of runs, such as those of a sweep
_KINDS = ("start", "ready", "resume", "progress", "valid", "checkpoint", "paused", "stopped", "result")
_OF_STEPS = ("resume", "progress", "valid", "checkpoint", "paused")
_NOT_SETTINGS = ("run.directory", "train.from")


def runs(folder, as_json):
    """The runs in a folder as text or JSON, in the order of names; DataError where there is none."""
    found = [run_of(path.parent) for path in _records(Path(folder))]
    found = [one for one in found if one]
    if not found:
        raise DataError(f"{folder}: no run is there: expected {_RECORD} in it, or in folders of it")
    settings = _differing([one.pop("options") for one in found])
    found = [{**one, "settings": of_run} for one, of_run in zip(found, settings, strict=True)]
    return json_text(found, indent=1) if as_json else "\n".join(_table(found, folder))


def run_of(folder):
    """What the record in a folder says of its run, as plain values; None where it has no start line."""
    lines = _newest_lines(folder / _RECORD)
    start = lines.get("start")
    if start is None:
        return None
    of_this_call = {kind: line for kind, line in lines.items() if line["place"] >= start["place"]}
    progress, result, paused = (of_this_call.get(kind) for kind in ("progress", "result", "paused"))
    told = [[line["step"] for kind, line in some.items() if kind in _OF_STEPS] for some in (of_this_call, lines)]
    steps, kind_of_auc, auc = max(told[0] or told[1], default=0), None, None
    for kind, name, line in (
        ("test", "test", result), ("valid", "valid", result), ("valid", None, lines.get("valid")), ("train", None, lines.get("progress")),
    ):  # fmt: skip
        metrics = line and (line.get(name) if name else line)
        if metrics and metrics.get("auc") is not None:
            kind_of_auc, auc = kind, metrics["auc"]
            break
    if result:
        steps = result["steps"]
    config = start["config"]
    rate = (result or progress or {}).get("samples_per_s")
    seen = max(_modified(folder / name) for name in (_RECORD, "lock"))
    return {
        "run": str(folder), "state": _state(folder, result, paused), "step": steps, "steps": _steps_of(config, lines.get("ready")), "auc": auc,
        "auc_of": kind_of_auc, "log_loss": ((result or {}).get("test") or (result or {}).get("valid") or lines.get("valid") or {}).get("log_loss"),
        "samples_per_s": rate, "ranks": start.get("ranks"), "seen_s": max(0.0, time.time() - seen), "why": (paused or {}).get("why"),
        "model": config["model"]["name"], "options": flat(config),
    }  # fmt: skip


def _state(folder, result, paused):
    """running; done; stopped: behind a checkpoint, to go on; broken off: ended without a word, or still silent."""
    if result:
        return "done"
    if holder(folder / "lock"):
        return "running"
    return "stopped" if paused else "broken off"


def _records(folder):
    """Paths of records, without those that links lead to."""
    for pattern in _PATTERNS:
        for path in sorted(folder.glob(pattern)):
            if not any(part.is_symlink() for part in list(path.parents)[: pattern.count("/")]):
                yield path


def _newest_lines(path):
    """{kind: its newest line, with its place in the file} of a record."""
    try:
        data = b"\n" + path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    found, data = {}, data[: data.rfind(b"\n") + 1]  # the last one is under way
    for kind in _KINDS:
        begin = data.rfind(b'\n{"event": "%s"' % kind.encode())
        end = data.find(b"\n", begin + 1)
        with suppress(ValueError):
            if begin >= 0 and end > begin:
                found[kind] = {**json.loads(data[begin:end]), "place": begin}
    return found


def _steps_of(config, ready):
    """Steps of the whole run, where that is known."""
    if not ready:
        return None
    rows, batch = ready.get("kept_rows", ready["train_rows"]), config["train"]["global_batch_samples"]
    if not rows:  # a stream
        return None
    return ready.get("first_step", 0) + config["train"]["epochs"] * -(-rows // batch)


def _differing(options):
    """[{option: value}] of each run, of options in which runs differ."""
    names = sorted({name for one in options for name in one})
    differ = [name for name in names if name not in _NOT_SETTINGS and len({json_text(one.get(name)) for one in options}) > 1]
    return [{name: one.get(name) for name in differ} for one in options]


def _modified(path):
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _table(found, folder):
    settings = list(found[0]["settings"])
    table = [("run", "state", "step", "AUC", "of", "log-loss", "samples/s", "ranks", "seen", *settings)]
    for one in found:
        name = Path(one["run"])
        shown = str(name.relative_to(folder)) if name != Path(folder) else str(name)
        step = f"{one['step']:,}" + (f" of {one['steps']:,}" if one["steps"] else "")
        rate = "-" if one["samples_per_s"] is None else f"{one['samples_per_s']:,.0f}"
        numbers = ("-" if one[part] is None else f"{one[part]:.5f}" for part in ("auc", "log_loss"))
        auc, loss = numbers
        table.append((
            shown, one["state"], step, auc, one["auc_of"] or "-", loss, rate, f"{one['ranks'] or '-'}", _ago(one["seen_s"]),
            *(str(one["settings"][name]) for name in settings),
        ))  # fmt: skip
    return columns(table)


def _ago(seconds):
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
