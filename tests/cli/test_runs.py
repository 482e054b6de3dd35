"""`deshpc runs` on records that were written by hand, beside real locks: states, numbers, and which options differ."""

import json
import os
import subprocess
import sys
import time

import pytest

from deshpc.cli.runs import runs
from deshpc.config import Config, resolved
from deshpc.errors import DataError
from deshpc.storage.lock import Lock
from deshpc.storage.strict_json import json_text


def write(folder, *lines, rate=0.05):
    """A run's record, whose last line is cut off."""
    folder.mkdir(parents=True)
    config = resolved(Config())
    config["optimizer"]["learning_rate"] = rate
    config["run"]["directory"] = str(folder)
    start = {"event": "start", "time_s": 0.0, "config": config, "ranks": 3}
    ready = {"event": "ready", "time_s": 0.1, "train_rows": 20_000, "kept_rows": 16_385, "first_step": 40}
    text = "".join(json_text(line) + "\n" for line in (start, ready, *lines))
    (folder / "record.jsonl").write_text(text + '{"event": "progress", "st', encoding="utf-8")


def progress(step, rate=1000, auc=0.6):
    return {"event": "progress", "time_s": 1.0, "step": step, "samples_per_s": rate, "auc": auc, "loss": 0.5}


VALID = {"event": "valid", "time_s": 1.5, "step": 2, "auc": 0.65, "log_loss": 0.41}
RESULT = {
    "event": "result", "time_s": 2.0, "steps": 3, "samples_per_s": 5000.4, "valid": {"auc": 0.65, "log_loss": 0.41},
    "test": {"auc": 0.7, "log_loss": 0.4},
}  # fmt: skip


def test_the_runs_of_a_folder(tmp_path):
    write(tmp_path / "a", progress(1), VALID, progress(3), RESULT)
    write(tmp_path / "b", progress(1), VALID, {"event": "paused", "time_s": 2.0, "step": 2, "why": "SIGUSR1"}, rate=0.1)
    write(tmp_path / "c" / "1", progress(1, auc=None))
    write(tmp_path / "d", progress(1, 2000, 0.61))
    (tmp_path / "latest").symlink_to("a")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "record.jsonl").write_text("no record\n", encoding="utf-8")
    old = time.time() - 7200
    for path in tmp_path.rglob("record.jsonl"):
        os.utime(path, (old, old))
    with Lock(tmp_path / "d" / "lock", "a run"):
        found = {os.path.relpath(one["run"], tmp_path): one for one in json.loads(runs(tmp_path, True))}
        lines = runs(tmp_path, False).splitlines()
    assert list(found) == ["a", "b", "d", "c/1"]
    assert {name: one["state"] for name, one in found.items()} == {"a": "done", "b": "stopped", "d": "running", "c/1": "broken off"}
    assert [found[name]["step"] for name in found] == [3, 2, 1, 1] and {one["steps"] for one in found.values()} == {43}
    assert [(one["auc"], one["auc_of"], one["log_loss"]) for one in found.values()] == [
        (0.7, "test", 0.4), (0.65, "valid", 0.41), (0.61, "train", None), (None, None, None)
    ]  # fmt: skip
    assert [one["samples_per_s"] for one in found.values()] == [5000.4, 1000, 2000, 1000]
    assert found["b"]["why"] == "SIGUSR1" and found["a"]["settings"] == {"optimizer.learning_rate": 0.05}
    assert 7190 < found["a"]["seen_s"] < 7300 and found["d"]["seen_s"] < 60
    assert lines[0].split()[-1] == "optimizer.learning_rate"
    assert lines[1].split() == ["a", "done", "3", "of", "43", "0.70000", "test", "0.40000", "5,000", "3", "2", "h", "ago", "0.05"]
    assert json.loads(runs(tmp_path / "b", True))[0]["settings"] == {}  # a run alone


def test_a_run_that_went_on_is_not_what_it_was(tmp_path):
    write(tmp_path / "a", progress(1), RESULT)
    with open(tmp_path / "a" / "record.jsonl", "a", encoding="utf-8") as file:
        start = json.loads((tmp_path / "a" / "record.jsonl").read_text(encoding="utf-8").splitlines()[0])
        file.write("\n" + json_text(start) + "\n" + json_text(progress(5)) + "\n")
    (one,) = json.loads(runs(tmp_path, True))
    assert (one["state"], one["step"], one["auc_of"]) == ("broken off", 5, "train")


def test_no_run(tmp_path):
    with pytest.raises(DataError, match="no run is there"):
        runs(tmp_path, False)


def test_it_starts_without_numpy():
    code = "import sys; import deshpc.cli.main, deshpc.cli.runs, deshpc.cli.submit; print({'numpy', 'numba', 'mpi4py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
