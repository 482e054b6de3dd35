"""The page about runs, read with an HTML parser: its curves' numbers are those of the record, and nothing is loaded from anywhere."""

import json
import re
import sys

import numpy as np
import pytest
from report_page import Page

from deshpc.cli.main import main
from deshpc.config import Config, resolved
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.report.page import page
from deshpc.report.run import read_run
from deshpc.report.write import report

pytest.importorskip("matplotlib", reason="pages are drawn with matplotlib")

METRICS = {"rows": 50, "positives": 9, "auc": 0.71234, "log_loss": 0.41, "normalized_entropy": 0.9, "calibration": 1.02, "best_auc": None}
TRAFFIC = {"operator": "fm", "kind": "partials", "direction": "forward", "level": "flat", "sent_bytes": 64000, "low_bytes": 64000}


def progress(step, loss, auc=0.6, **stage_s):
    return {"event": "progress", "step": step, "loss": loss, "auc": auc, "samples_per_s": 1000 + step, "stage_s": stage_s or {"learn": 0.1}}


def start(**sections):
    tree = resolved(build({**sections, "data": {"format": "synthetic", **sections.get("data", {})}}))
    return {"event": "start", "version": "1.2", "config": tree, "ranks": 2, "threads_per_rank": 3, "backend": "cpu"}


def result(**others):
    return {
        "event": "result", "steps": 40, "best_step": 30, "samples": 1000, "samples_per_s": 123456.7, "setup_s": 1.0, "compile_s": 2.0,
        "rows": 77, "keys_per_sample": 12.0, "traffic": [], "valid": None, "test": METRICS, **others,
    }  # fmt: skip


def write(folder, *events, end="\n"):
    folder.mkdir(exist_ok=True)
    text = "\n".join(json.dumps({"time_s": 1.0, **event}) for event in events) + end
    (folder / "record.jsonl").write_text(text, encoding="utf-8")
    return folder


def seen(*folders):
    return Page(page([read_run(folder) for folder in folders]))


def test_curves_and_tables_of_two_runs(tmp_path, capsys):
    losses = {"a": [0.7, 0.55, 0.6, 0.5, 0.45], "b": [0.9, 0.8, 0.2]}
    folders = []
    for name, rate in (("a", 0.05), ("b", 0.25)):
        lines = [progress(10 * i, loss, None if i == 2 else 0.5 + i / 20) for i, loss in enumerate(losses[name], 1)]
        valid = [{"event": "valid", "step": 10 * i, **METRICS, "log_loss": 0.4 + i / 50, "calibration": 2 - i / 5} for i in range(1, 4)]
        head = start(optimizer={"learning_rate": rate}, run={"directory": name})
        warning = {"event": "warning", "subject": "data.train", "text": "all labels are 1"}
        folders.append(write(tmp_path / name, head, *lines, *valid, *[warning] * (name == "b"), result(best_step=len(lines))))
    out = tmp_path / "page.html"
    assert main(["report", *map(str, folders), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 2 runs\n"

    text = out.read_text(encoding="utf-8")
    shown = Page(text)
    assert "://" not in text and all(re.fullmatch(r"#\w+", link) for link in shown.links) and shown.links
    assert not {"script", "link", "img", "iframe", "object"} & set(shown.tags)
    for i, name in enumerate("ab"):
        wanted = [(10 * step, loss) for step, loss in enumerate(losses[name], 1)]
        np.testing.assert_allclose(shown.curve(f"training-loss-{i}"), wanted, rtol=1e-4)
        np.testing.assert_allclose(shown.curve(f"valid-loss-{i}"), [(10, 0.42), (20, 0.44), (30, 0.46)], rtol=1e-4)
        np.testing.assert_allclose(shown.curve(f"valid-calibration-{i}"), [(10, 1.8), (20, 1.6), (30, 1.4)], rtol=1e-4)
        np.testing.assert_allclose(shown.curve(f"samples-per-s-{i}"), [(step, 1000 + step) for step, _ in wanted], rtol=1e-4)
    np.testing.assert_allclose(shown.curve("training-auc-0")[:, 0], [10, 30, 40, 50], rtol=1e-4)  # undefined where it is null
    assert shown.rows("Options that differ") == {"": [str(one) for one in folders], "optimizer.learning_rate": ["0.05", "0.25"]}
    results = shown.rows("Results")
    assert results["best step"] == ["5", "3"] and results["test AUC"] == ["0.71234"] * 2 and results["test calibration"] == ["1.0200"] * 2
    assert results["samples/s"] == ["123,457"] * 2 and "valid AUC" not in results and "test best possible AUC" not in results
    assert "b: data.train: all labels are 1" in re.sub(r"<[^>]*>", "", text) and text.count("all labels are 1") == 1


def test_no_point_of_a_long_run_is_left_out(tmp_path):
    """On a straight line a drawing library would leave most of them out."""
    folder = write(tmp_path / "run", start(), *(progress(step, 1 - step / 2000) for step in range(1, 401)))
    np.testing.assert_allclose(seen(folder).curve("training-loss-0")[:, 0], np.arange(1, 401), atol=0.05)


def test_bytes_and_stages(tmp_path):
    traffic = [{**TRAFFIC, "high_bytes": 64000}, {**TRAFFIC, "kind": "keys", "high_bytes": 65000}, {**TRAFFIC, "kind": "labels", "high_bytes": 4000}]
    traffic[2]["low_bytes"] = 0
    folder = write(
        tmp_path / "run", start(), progress(2, 0.5, learn=0.006, update=0.001), progress(10, 0.4, learn=0.004, read=0.009),
        result(traffic=traffic),
    )  # fmt: skip
    shown = seen(folder)
    stages = shown.rows("Time of a step by stage, on rank 0")
    assert stages == {  # of 10 steps and 20 ms
        "": [str(folder)], "learn": ["1.000 ms, 50.0 %"], "update": ["0.100 ms, 5.0 %"], "read": ["0.900 ms, 45.0 %"], "all": ["2.000 ms"],
    }  # fmt: skip
    table = shown.tables[f"Bytes sent per sample and rank: {folder}"]  # 2 ranks, 1,000 samples
    assert [row[4:] for row in table[1:]] == [["32.00", "32.00", ""], ["32.00", "32.00 to 32.50", ""], ["32.00", "0.00 to 2.00", "different"]]


def test_calibration_slices_and_unseen_keys(tmp_path):
    """Beside a run of an older version, whose metrics have none of them."""
    bins = [{"rows": 20, "prediction": 0.1, "label": 0.15}, {"rows": 19, "prediction": 0.3, "label": 0.25}, {"rows": 11, "prediction": None, "label": None}]
    part = {"rows": 30, "positives": 4, "auc": None, "log_loss": 0.3, "normalized_entropy": 1.1, "calibration": 0.9}
    more = {
        "pr_auc": 0.31, "grouped_auc": 0.65, "groups": 7, "groups_left_out": 2, "calibration_error": 0.05, "calibration_bins": bins,
        "slices": [{"field": "tab", "value": "<1>", **part}, {"field": "tab", "value": "", **part, "auc": 0.6}],
        "unseen": [{"field": "user", "occurrences": 50, "unseen_occurrences": 5, "distinct": 8, "unseen_distinct": 2}],
    }  # fmt: skip
    valid = {"event": "valid", "step": 10, **METRICS, **more, "slices": None, "unseen": None}
    new = write(tmp_path / "new", start(), valid, result(test={**METRICS, **more}))
    shown = seen(new, write(tmp_path / "old", start(), result()))
    results = shown.rows("Results")
    assert results["test precision-recall AUC"] == ["0.31000", ""] and results["test grouped AUC"] == ["0.65000", ""]
    assert results["test calibration error"] == ["0.05000", ""] and results["test AUC"] == ["0.71234"] * 2
    np.testing.assert_allclose(shown.curve("valid-grouped-auc-0"), [(10, 0.65)], rtol=1e-4)
    np.testing.assert_allclose(shown.curve("test-bins-0"), [(0.1, 0.15), (0.3, 0.25)], rtol=1e-4)
    assert shown.tables["Calibration of the test part"] == [
        ["rows", "mean prediction", "mean label"], ["20", "0.100000", "0.150000"], ["19", "0.300000", "0.250000"],
    ]  # fmt: skip
    slices = shown.tables[f"Slices of the test part: {new}"]
    assert slices[1:] == [
        ["tab", "<1>", "30", "4", "", "0.30000", "1.1000", "0.9000"], ["tab", "(empty)", "30", "4", "0.60000", "0.30000", "1.1000", "0.9000"],
    ]  # fmt: skip
    assert shown.tables[f"Keys of the test part that training never had: {new}"][1] == ["user", "8", "2", "25.0 %", "50", "5", "10.0 %"]
    odd = {**METRICS, **more, "slices": [{"field": 1}]}
    with pytest.raises(DataError, match=r"result\.test\.slices\[0\]\.field is 1; expected a string"):
        read_run(write(tmp_path / "odd", start(), result(test=odd)))


def test_a_run_that_went_on_shows_each_step_once(tmp_path):
    valid = {"event": "valid", **METRICS}
    before = [start(), progress(10, 0.9), {**valid, "step": 10}, progress(20, 0.8), {**valid, "step": 20}, {"event": "stopped", "why": "x"}]
    after = [start(), {"event": "resume", "step": 15}, progress(25, 0.7), {**valid, "step": 25}]
    folder = write(tmp_path / "run", *before, *after, {"event": "of a later version"}, end='\n{"event": "resu')  # under way
    run = read_run(folder)
    assert [line["step"] for line in run.progress] == [line["step"] for line in run.valid] == [10, 25]
    shown = seen(folder)
    np.testing.assert_allclose(shown.curve("training-loss-0"), [(10, 0.9), (25, 0.7)], rtol=1e-4)
    assert shown.rows("Results")["ended"] == ["not yet, or broken off; 25 steps reported"]


def test_texts_of_a_record_are_texts(tmp_path):
    evil = "<script>alert('$x^{$')</script>\"&'"
    stage = progress(1, 0.5, **{evil: 1.0})
    folder = write(
        tmp_path / "_$<b>", {**start(data={"label": evil}), "version": evil}, stage, {"event": "stopped", "why": evil},
        {"event": "warning", "subject": evil, "text": evil}, result(traffic=[{**TRAFFIC, "kind": evil, "high_bytes": 1}]),
    )  # fmt: skip
    shown = seen(folder, folder)
    assert not {"script", "b"} & set(shown.tags)
    assert shown.rows("Results")["deshpc"] == [evil] * 2 and shown.rows(f"Options: {folder}")["data.label"] == [evil]
    assert evil in shown.rows("Time of a step by stage, on rank 0")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"event": "progress", "step": 1}', "line 2: no line of a record of this version: progress.loss|progress.samples_per_s"),
        ('{"event": "valid", "step": -1}', "valid.step is -1; expected an integer from 0 on"),
        ("[1]", "line 2.*it is .*expected an object"),
        ("{", "line 2"),
        ('{"event": {}}', "event is {}; expected a string"),
        ('{"event": "progress", "step": 1, "loss": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_record(tmp_path, line, words):
    folder = write(tmp_path / "run", start())
    with open(folder / "record.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=words):
        read_run(folder)


def test_no_record_and_no_start(tmp_path):
    with pytest.raises(DataError, match="no record of a run can be read: No such file"):
        report([tmp_path], tmp_path / "page.html")
    write(tmp_path, progress(1, 0.5))
    with pytest.raises(DataError, match="it has no start line"):
        report([tmp_path], tmp_path / "page.html")
    write(tmp_path, start())
    with pytest.raises(DataError, match="cannot be written"):
        report([tmp_path], tmp_path / "missing" / "page.html")
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0  # begun, and nothing reported yet


def test_metrics_of_each_task(tmp_path):
    """Beside a run of one label; `minutes` are numbers, and have no AUC to be undefined."""
    bins = [{"rows": 20, "prediction": 0.1, "label": 0.15}]
    tasks = {"a<b": {**METRICS, "auc": None, "calibration_bins": bins}, "minutes": {"rows": 40, "mean_squared_error": 0.25, "r2": 0.1}}
    of_all = {"rows": 50, "auc": None, "log_loss": 0.4, "tasks": tasks}
    valid = [{"event": "valid", "step": 10 * i, **of_all, "tasks": {**tasks, "a<b": {**METRICS, "auc": i / 10}}} for i in (6, 7)]
    before = {"rows": 9, "auc": 0.6, "a<b.rows": 9, "a<b.auc": 0.6, "minutes.rows": 8, "minutes.mean_squared_error": 0.5}
    days = [{"event": "day", "day": str(i), "rows": 9, "table_rows": 5, "seconds": 1.0, "before": before} for i in (1, 2)]
    several, one = write(tmp_path / "several", start(), *valid, *days, result(test=of_all)), write(tmp_path / "one", start(), result())
    shown = seen(several, one)
    results = shown.rows("Results")
    assert results["test a<b AUC"] == ["undefined", ""] and results["test AUC"] == ["", "0.71234"] and results["test a<b log-loss"] == ["0.41000", ""]
    assert results["test minutes mean squared error"] == ["0.250000", ""] and "test minutes AUC" not in results
    np.testing.assert_allclose(shown.curve("valid-auc-task-0-0"), [(60, 0.6), (70, 0.7)], rtol=1e-4)
    np.testing.assert_allclose(shown.curve("days-mean_squared_error-task-1-0"), [(1, 0.5), (2, 0.5)], rtol=1e-4)
    assert shown.tables[f"Days: {several}"][:2] == [
        ["day", "rows", "AUC", "a<b AUC", "minutes mean squared error", "table rows", "time"], ["1", "9", "0.60000", "0.60000", "0.500000", "5", "1.0 s"],
    ]  # fmt: skip
    assert shown.tables["Calibration of the test part, a<b"][1] == ["20", "0.100000", "0.150000"]
    with pytest.raises(DataError, match=r"result\.test\.tasks\.minutes\.r2 is 'x'"):
        read_run(write(tmp_path / "odd", start(), result(test={**of_all, "tasks": {"minutes": {**tasks["minutes"], "r2": "x"}}})))


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'deshpc[report]'")):
        report([write(tmp_path / "run", start())], tmp_path / "page.html")


def test_every_option_is_listed(tmp_path):
    folder = write(tmp_path / "run", start())
    shown = seen(folder).rows(f"Options: {folder}")
    assert shown["train.shuffle"] == ["true"] and shown["model.dim"] == [str(Config().model.dim)]
