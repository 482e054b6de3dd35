"""Runs of models of several tasks: labels from text, Parquet and caches, of which some are missing; metrics and predictions of each; refusals."""

import csv

import numpy as np
import pytest
from mpi4py import MPI

import deshpc
from deshpc.config.load import build
from deshpc.data.conversion import convert_parts
from deshpc.data.input import open_input
from deshpc.errors import ConfigError, DataError
from deshpc.training.early_stopping import EarlyStopping
from deshpc.training.predict import predict

LABELS = ["click", "minutes"]


def write_rows(path, count, seed):
    """Rows of a click, and of minutes watched, which are not known of every fourth: [(click, minutes or NaN, user, item)]."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 12, count), rng.integers(0, 9, count)
    click = (rng.random(count) < 1 / (1 + np.exp(-(user % 4 - 1.5 + item % 3)))).astype(float)
    minutes = np.where(rng.random(count) < 0.25, np.nan, (0.5 * click + 0.1 * (user % 3)).round(3))
    rows = list(zip(click, minutes, user, item, strict=True))
    path.write_text("click,minutes,user,item\n" + "".join(f"{c:g},{'' if m != m else m},{u},{i}\n" for c, m, u, i in rows))
    return rows


def tree_of(folder, **sections):
    """A configuration that learns a class and a number."""
    return {
        "data": {
            "train": [str(folder / "train.csv")], "valid": [str(folder / "test.csv")], "test": [str(folder / "test.csv")], "label": LABELS,
            "fields": [{"name": "user"}, {"name": "item"}], **sections.pop("data", {}),
        },
        "model": {
            "name": "mmoe", "dim": 5, "hidden": [6], "task_hidden": [3], "experts": 2, "tasks": [{"name": "minutes", "loss": "squared", "weight": 2.0}],
            **sections.pop("model", {}),
        },
        "optimizer": {"name": "adagrad", "learning_rate": 0.1}, "train": {"epochs": 3, "global_batch_samples": 50, **sections.pop("train", {})},
        "compute": {"threads_per_rank": 1}, "run": {"directory": str(folder / "run")},
    }  # fmt: skip


def test_a_run_scores_and_predicts_each_task(tmp_path):
    metrics, onnxruntime = pytest.importorskip("sklearn.metrics"), pytest.importorskip("onnxruntime")
    write_rows(tmp_path / "train.csv", 600, 1)
    rows = write_rows(tmp_path / "test.csv", 300, 2)
    found = deshpc.train(tree_of(tmp_path, train={"stop_metric": "click.auc"}), check_bytes=True).test
    predict(str(tmp_path / "run"), str(tmp_path / "scores.csv"), MPI.COMM_SELF)
    with open(tmp_path / "scores.csv", encoding="utf-8") as file:
        scores = np.array([[float(line["score_click"]), float(line["score_minutes"])] for line in csv.DictReader(file)])
    click, minutes, user, item = (np.array(column) for column in zip(*rows, strict=True))
    known = ~np.isnan(minutes)
    assert found.tasks["click"].auc == pytest.approx(metrics.roc_auc_score(click, scores[:, 0]), abs=1e-6)
    assert found.auc == found.tasks["click"].auc > 0.7 and found.rows == 300
    assert found.tasks["minutes"].rows == known.sum() < 300
    error = ((scores[:, 1] - minutes)[known] ** 2).mean()
    assert found.tasks["minutes"].mean_squared_error == pytest.approx(error, rel=1e-5) and error < 0.9 * minutes[known].var()
    deshpc.export(tmp_path / "run", tmp_path / "model", onnx=tmp_path / "model.onnx")
    predictor, columns = deshpc.Predictor(tmp_path / "model"), {"user": user.tolist(), "item": item.tolist()}
    assert predictor.tasks == LABELS
    np.testing.assert_allclose(predictor.predict(columns), scores, rtol=0, atol=1e-6)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["prediction"], predictor.pooled(columns))[0], scores, rtol=0, atol=1e-5)
    assert deshpc.evaluate(tmp_path / "run").tasks == found.tasks


@pytest.mark.parametrize("name", ["shared_bottom", "ple", "esmm"])
def test_predictors_score_as_training_does(tmp_path, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    for path, seed in (("train.csv", 1), ("test.csv", 2)):
        rows = [(c, m if m != m else float(m > 0.3), *others) for c, m, *others in write_rows(tmp_path / path, 200, seed)]
        lines = [f"{c:g},{'' if m != m else f'{m:g}'},{u},{i}\n" for c, m, u, i in rows]
        (tmp_path / path).write_text("click,minutes,user,item\n" + "".join(lines))
    model = {"name": name, "tasks": [], "init_std": 0.4, **({"task_experts": 2, "expert_levels": 2} if name == "ple" else {})}
    deshpc.train(tree_of(tmp_path, model=model), MPI.COMM_SELF)
    predict(str(tmp_path / "run"), str(tmp_path / "scores.csv"), MPI.COMM_SELF)
    with open(tmp_path / "scores.csv", encoding="utf-8") as file:
        scores = np.array([[float(line["score_click"]), float(line["score_minutes"])] for line in csv.DictReader(file)])
    deshpc.export(tmp_path / "run", tmp_path / "model", onnx=tmp_path / "model.onnx")
    predictor, columns = deshpc.Predictor(tmp_path / "model"), {"user": [one[2] for one in rows], "item": [one[3] for one in rows]}
    np.testing.assert_allclose(predictor.predict(columns), scores, rtol=0, atol=1e-6)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["probability"], predictor.pooled(columns))[0], scores, rtol=0, atol=1e-5)
    assert scores.std(axis=0).min() > 0.003 and np.abs(scores[:, 0] - scores[:, 1]).max() > 0.01


def test_labels_are_those_of_the_rows_in_every_format(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = write_rows(tmp_path / "train.csv", 80, 3)
    write_rows(tmp_path / "test.csv", 5, 4)
    expected = np.array([row[:2] for row in rows], np.float32)
    names = dict(zip(("click", "minutes"), zip(*(row[:2] for row in rows), strict=True), strict=True))
    table = {name: arrow.array(column, from_pandas=True) for name, column in names.items()}
    table |= {name: [row[at] for row in rows] for name, at in (("user", 2), ("item", 3))}
    parquet.write_table(arrow.table(table), tmp_path / "train.parquet")
    config = build(tree_of(tmp_path))
    kinds = ("classes", "numbers")
    list(convert_parts(config.data, tmp_path, kinds))
    of_cache = build({"data": {"format": "cache", "train": [str(tmp_path / "train.cache")], "label": LABELS}, "model": {"name": "mmoe"}})
    of_parquet = build(tree_of(tmp_path, data={"format": "parquet", "train": [str(tmp_path / "train.parquet")]}))
    for one in (config, of_parquet):
        np.testing.assert_array_equal(open_input(one.data, kinds).load("train").labels, expected)
    ((_, piece),) = open_input(of_cache.data, kinds).blocks("train")
    np.testing.assert_array_equal(piece.labels, expected)
    with pytest.raises(DataError, match=r"has the label \['click', 'minutes'\]"):
        open_input(build({"data": {"format": "cache", "train": [str(tmp_path / "train.cache")]}}).data)


@pytest.mark.parametrize("sections, error", [
    ({"data": {"label": ["click", "click"]}}, "'click' twice"), ({"data": {"label": "click"}}, "learns several labels"),
    ({"model": {"name": "fm"}}, "'fm' learns one label"), ({"model": {"name": "esmm"}}, r"'esmm' has two tasks, of log-loss.*minutes \(squared\)"),
    ({"model": {"tasks": [{"name": "minuets"}]}}, "did you mean 'minutes'"), ({"train": {"stop_metric": "minutes.auc"}}, "no metric of the tasks"),
    ({"train": {"negative_sampling": 0.5}}, "several labels here"),
    ({"data": {"positive": "yes"}, "model": {"tasks": [{"name": name, "loss": "squared"} for name in LABELS]}}, r"those of all tasks \(squared, squared\) are numbers"), ({"data": {"format": "criteo", "fields": []}}, "have one label"),
])  # fmt: skip
def test_what_does_not_go_with_several_labels_is_refused(tmp_path, sections, error):
    with pytest.raises(ConfigError, match=error):
        build(tree_of(tmp_path, **sections))


def test_labels_that_are_no_columns_are_named(tmp_path):
    write_rows(tmp_path / "train.csv", 9, 1)
    write_rows(tmp_path / "test.csv", 9, 1)
    with pytest.raises(DataError, match="field 'minuets': no such column; did you mean 'minutes'"):
        deshpc.train(tree_of(tmp_path, data={"label": ["click", "minuets"]}, model={"tasks": []}))


def test_a_run_stops_by_a_metric_of_one_task():
    class Found:
        def __init__(self, auc):
            self.auc = auc

        def numbers(self):
            return {"auc": -self.auc, "buy.auc": self.auc}

    stopping = EarlyStopping("buy.auc", 2)
    assert [stopping.observe(Found(auc)) for auc in (0.6, 0.7, 0.65, 0.68)] == ["best", "best", "worse", "stop"]
    assert stopping.why == "valid AUC of buy has not gained for 2 evaluations in a row"
