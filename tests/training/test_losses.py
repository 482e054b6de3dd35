"""A run by another loss than log-loss, from its files to its predictions: closed forms, the start, metrics, export, refusals."""

import csv
import json
import math

import hand_made_model
import numpy as np
import pytest
from mpi4py import MPI

from deshpc.cli.convert import convert
from deshpc.cli.profile import profile
from deshpc.cli.toml import to_toml
from deshpc.config import resolved
from deshpc.config.load import build, load, override
from deshpc.errors import ConfigError, DataError, DeshpcError
from deshpc.report.write import report
from deshpc.serve.export import export
from deshpc.serve.predictor import Predictor
from deshpc.training.api import evaluate, train
from deshpc.training.best_constant import BestConstant
from deshpc.training.predict import predict

ROWS = 600


def drawn(loss, seed=1):
    """(cells (n, 2), labels (n)): the sum of an effect of each of two fields, with noise, or counts of that rate."""
    rng = np.random.default_rng(seed)
    cells = np.stack([rng.integers(0, count, ROWS) for count in (6, 4)], axis=1)
    effects = np.linspace(-1, 1, 6)[cells[:, 0]] + np.array([0.0, 0.3, -0.3, 0.6])[cells[:, 1]]
    labels = rng.poisson(np.exp(effects + 1)) if loss == "poisson" else 10 + 3 * effects + rng.standard_normal(ROWS)
    return cells, labels.astype(np.float32)


def tree_of(folder, loss, labels=None, **sections):
    """A configuration, as a dictionary, of rows that are written to `folder`."""
    cells, numbers = drawn(loss)
    labels = numbers if labels is None else labels
    lines = ["a,b,label", *(f"{a},{b},{y!r}" for (a, b), y in zip(cells.tolist(), np.asarray(labels, np.float64).tolist(), strict=True))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    file = str(folder / "rows.csv")
    tree = {
        "data": {"train": file, "test": file, "fields": [{"name": "a"}, {"name": "b"}]},
        "model": {"name": "lr"}, "train": {"loss": loss, "precision": "float64", "watchdog_s": 0.0}, "run": {"directory": str(folder / "run")},
    }  # fmt: skip
    return {**tree, **{name: {**tree.get(name, {}), **options} for name, options in sections.items()}}


def shared(world, tmp_path, make):
    """(folder, make(folder) of rank 0), on all ranks."""
    folder = world.bcast(tmp_path)
    return folder, world.bcast(make(folder) if world.rank == 0 else None)


def one_hot(cells):
    return np.hstack([np.ones((len(cells), 1)), np.eye(6)[cells[:, 0]], np.eye(4)[cells[:, 1]]])


FULL_BATCHES = {"epochs": 400, "global_batch_samples": ROWS, "shuffle": False}


@pytest.mark.mpi
@pytest.mark.parametrize("optimizer", [{"name": "sgd", "learning_rate": 0.5}, {"name": "adam", "learning_rate": 0.1}], ids=lambda one: one["name"])
def test_squared_reaches_the_closed_form_of_least_squares(world, tmp_path, optimizer):
    train_options = {**FULL_BATCHES, "exchange": "reduce_scatter"}
    _, config = shared(world, tmp_path, lambda folder: build(tree_of(folder, "squared", optimizer=optimizer, train={"loss": "squared", "precision": "float64", "watchdog_s": 0.0, **train_options})))
    found = train(config, world).test
    cells, y = drawn("squared")
    x = one_hot(cells)
    residual = y - x @ np.linalg.lstsq(x, y.astype(np.float64), rcond=None)[0]
    assert found.mean_squared_error == pytest.approx((residual**2).mean(), rel=1e-5)
    assert found.r2 == pytest.approx(1 - (residual**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-5) and found.calibration == pytest.approx(1, abs=1e-4)


@pytest.mark.mpi
def test_poisson_reaches_the_known_maximum_of_the_likelihood(world, tmp_path):
    """Newton's method on the same likelihood; and the rates that the counts were drawn from are near."""
    options = {"loss": "poisson", "precision": "float64", "watchdog_s": 0.0, **FULL_BATCHES}
    folder, config = shared(world, tmp_path, lambda folder: build(tree_of(folder, "poisson", optimizer={"name": "sgd", "learning_rate": 0.2}, train=options)))
    result = train(config, world)
    cells, y = drawn("poisson")
    x, weights = one_hot(cells), np.zeros(11)
    for _ in range(30):
        rate = np.exp(x @ weights)
        weights += np.linalg.pinv(x.T @ (rate[:, None] * x)) @ (x.T @ (y - rate))
    rate = np.exp(x @ weights)
    deviance = 2 * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / rate), 0) - y + rate).mean()
    assert result.test.mean_deviance == pytest.approx(deviance, rel=1e-5)
    predict(str(folder / "run"), str(folder / "scores.csv"), world)
    scores = np.array([float(line["score"]) for line in csv.DictReader((folder / "scores.csv").open())])
    assert np.abs(scores / rate - 1).max() <= 0.01
    drawn_from = np.exp(np.linspace(-1, 1, 6)[cells[:, 0]] + np.array([0.0, 0.3, -0.3, 0.6])[cells[:, 1]] + 1)
    assert np.abs(np.log(scores / drawn_from)).mean() <= 0.1


@pytest.mark.mpi
@pytest.mark.parametrize("loss", ["squared", "poisson"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_bias_starts_at_the_best_constant(world, tmp_path, loss, weighted):
    def make(folder):
        tree = tree_of(folder, loss, train={"loss": loss, "epochs": 0, "watchdog_s": 0.0, "precision": "float64"})
        if weighted:
            lines = (folder / "rows.csv").read_text().splitlines()
            (folder / "rows.csv").write_text("\n".join([lines[0] + ",w", *(f"{line},{i % 3}" for i, line in enumerate(lines[1:]))]) + "\n")
            tree["data"]["weight"] = "w"
        return build(tree)

    folder, config = shared(world, tmp_path, make)
    found, y = train(config, world).test, drawn(loss)[1].astype(np.float64)
    weights = np.arange(ROWS) % 3 if weighted else np.ones(ROWS)
    mean = np.average(y, weights=weights)
    assert found.calibration == pytest.approx(1, rel=1e-12) and found.mean_label == pytest.approx(mean, rel=1e-12)
    if loss == "squared":
        assert found.mean_squared_error == pytest.approx(np.average((y - mean) ** 2, weights=weights), rel=1e-12) and abs(found.r2) < 1e-12
    else:
        assert abs(found.d2) < 1e-12
    if world.rank == 0:
        ready = next(one for one in map(json.loads, (folder / "run" / "record.jsonl").read_text().splitlines()) if one["event"] == "ready")
        assert ready["base_rate"] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("loss", ["squared", "poisson"])
@pytest.mark.parametrize("model", ["fm", "deepfm"])
def test_predictions_are_those_of_the_exported_model_and_of_its_graph(tmp_path, loss, model):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = {"loss": loss, "epochs": 2, "global_batch_samples": 100, "watchdog_s": 0.0}
    tree = tree_of(tmp_path, loss, model={"name": model, "hidden": [6], "dim": 3}, train=options)
    run, cells = str(tmp_path / "run"), drawn(loss)[0]
    result = train(build(tree), MPI.COMM_SELF)
    assert evaluate(run, MPI.COMM_SELF) == result.test
    with pytest.raises(ConfigError, match=f"train.loss = 'log': the model in .* was trained by '{loss}', which says what it predicts"):
        evaluate(run, MPI.COMM_SELF, overrides=["train.loss=log"])
    if model == "fm":
        report([run], str(tmp_path / "report.html"))
        page = (tmp_path / "report.html").read_text()
        assert ("R^2" if loss == "squared" else "D^2") in page and "training loss" in page and "AUC" not in page and "log-loss" not in page
    predict(run, str(tmp_path / "scores.csv"), MPI.COMM_SELF)
    scores = np.array([float(line["score"]) for line in csv.DictReader((tmp_path / "scores.csv").open())])
    export(run, str(tmp_path / "one.model"), str(tmp_path / "one.onnx"))
    predictor = Predictor(str(tmp_path / "one.model"))
    rows = [{"a": int(a), "b": int(b)} for a, b in cells]
    predictions = predictor.predict(rows)
    assert np.allclose(predictions, scores, rtol=1e-5) and predictor.predict_one(rows[3]) == pytest.approx(predictions[3])
    logit, prediction = onnxruntime.InferenceSession(str(tmp_path / "one.onnx")).run(["logit", "prediction"], predictor.pooled(rows))
    assert np.allclose(prediction, predictions, rtol=1e-4)
    assert np.allclose(np.exp(logit.astype(np.float64)) if loss == "poisson" else logit, predictions, rtol=1e-4)
    y = drawn(loss)[1].astype(np.float64)
    if loss == "squared":
        assert result.test.mean_squared_error == pytest.approx(((scores - y) ** 2).mean(), rel=1e-5)
    assert result.test.calibration == pytest.approx(scores.mean() / y.mean(), rel=1e-5)


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_caches_have_numbers_for_labels(tmp_path, loss):
    options = {"loss": loss, "epochs": 2, "global_batch_samples": 100, "watchdog_s": 0.0}
    config = build(tree_of(tmp_path, loss, train=options))
    (tmp_path / "config.toml").write_text(to_toml(resolved(config)))
    convert(tmp_path / "config.toml", tmp_path / "caches", [])
    cached = load(tmp_path / "caches" / "config.toml", [f"run.directory={tmp_path / 'cached'}"])
    of_text, of_caches = train(config, MPI.COMM_SELF), train(cached, MPI.COMM_SELF)
    assert of_text.test == of_caches.test and cached.train.loss == loss
    assert f"mean label {drawn(loss)[1].mean(dtype=np.float64):.6g}" in profile(str(tmp_path / "caches" / "train.cache"), "train", [], False)
    other = "poisson" if loss == "squared" else "log"
    with pytest.raises(DataError, match=f"train.cache: its labels are .*; train.loss = '{other}' learns .*convert the rows again"):
        train(override(cached, f"train.loss={other}", f"run.directory={tmp_path / 'other'}"), MPI.COMM_SELF)
    if loss == "poisson":  # counts are numbers
        train(override(cached, "train.loss=squared", f"run.directory={tmp_path / 'other'}"), MPI.COMM_SELF)
    assert evaluate(str(tmp_path / "run"), MPI.COMM_SELF, data=[str(tmp_path / "rows.csv")]) == of_text.test


def test_what_a_run_says(tmp_path, capsys):
    """No AUC, the loss's own metrics; all labels equal, and a model that is worse than a constant."""
    options = {"loss": "squared", "epochs": 1, "global_batch_samples": 100, "watchdog_s": 0.0}
    tree = tree_of(tmp_path, "squared", np.full(ROWS, 2.5), train={**options, "epochs": 5, "stop_metric": "mean_squared_error", "stop_patience": 2})
    train(build({**tree, "data": {**tree["data"], "valid": tree["data"]["train"]}}), MPI.COMM_SELF)
    said = capsys.readouterr().err
    assert "stopped early: valid mean squared error has not gained for 2 evaluations in a row; the model is that of step 6" in said
    assert "all labels that count are 2.5: there is nothing to tell apart" in said
    assert "MSE 0.000000  MAE" in said and "AUC" not in said and "R^2 undefined" in said
    (tmp_path / "worse").mkdir()
    steep = {"name": "sgd", "learning_rate": 3.0}
    train(build(tree_of(tmp_path / "worse", "squared", optimizer=steep, train={**options, "global_batch_samples": 200})), MPI.COMM_SELF)
    said = capsys.readouterr().err
    assert "training half squared error: " in said and "of predicting the mean label" in said
    assert "test mean squared error: " in said and "times that of the best constant prediction" in said


def test_a_rate_that_overflows_is_told(tmp_path):
    options = {"loss": "poisson", "epochs": 9, "global_batch_samples": 50, "watchdog_s": 0.0}
    config = build(tree_of(tmp_path, "poisson", optimizer={"name": "sgd", "learning_rate": 1e3}, train=options))
    with pytest.raises(DeshpcError, match="not finite"):
        train(config, MPI.COMM_SELF)


@pytest.mark.parametrize("options, said", [
    ({"data": {"positive": "yes"}}, "data.positive = 'yes' names a class, and labels of train.loss = 'squared' are numbers"),
    ({"train": {"stop_metric": "auc"}}, "train.stop_metric = 'auc' is no metric of train.loss = 'squared', whose are mean_squared_error"),
    ({"train": {"class_weights": [1.0, 2.0]}}, "train.class_weights belongs to train.loss = 'log'"),
    ({"train": {"negative_sampling": 0.5}}, "train.negative_sampling belongs to train.loss = 'log'"),
    ({"metrics": {"group": "a"}}, "metrics.group belongs to train.loss = 'log'"),
    ({"data": {"format": "synthetic", "train": [], "fields": []}}, "does not go with data.format = 'synthetic', whose labels are 0 or 1"),
    ({"train": {"loss": "log", "stop_metric": "mean_deviance"}}, "train.stop_metric = 'mean_deviance' is no metric of train.loss = 'log'"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(options, said):
    tree = {"data": {"train": "rows.csv", "valid": "rows.csv", "fields": [{"name": "a"}]}, "train": {"loss": "squared"}}
    with pytest.raises(ConfigError) as raised:
        build({**tree, **{section: {**tree.get(section, {}), **own} for section, own in options.items()}})
    assert said in str(raised.value)


def test_a_classifier_is_of_classes():
    from deshpc import Classifier

    with pytest.raises(ConfigError, match="Classifier tells two classes apart, and train.loss = 'squared' learns numbers"):
        Classifier(overrides=["train.loss=squared"]).fit({"a": ["x", "y"]}, [0, 1])


def test_old_models_are_of_log_loss(tmp_path, monkeypatch):
    """A file that does not say by which loss its model was trained was written before there was another; other losses are unknown."""
    about = hand_made_model.about_model
    for changed in ({}, {"loss": "log"}, {"loss": "hinge"}):
        monkeypatch.setattr(hand_made_model, "about_model", lambda *given, changed=changed: {**_without_loss(about(*given)), **changed})
        hand_made_model.hand_made(tmp_path / "model")
        if changed == {"loss": "hinge"}:
            with pytest.raises(DataError, match="a model of the loss 'hinge'; this version knows log, squared, poisson"):
                Predictor(tmp_path / "model")
        else:
            assert Predictor(tmp_path / "model").model.loss == "log"


def _without_loss(about):
    return {name: one for name, one in about.items() if name != "loss"}


def test_a_best_constant_without_rows():
    assert BestConstant(0, 0.0, None, 0.0, None, None).mean_weight == 1 and math.isfinite(BestConstant(4, 2.0, 1.0, 0.0, None, 1.0).mean_weight)
