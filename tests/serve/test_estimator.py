"""A classifier as scikit-learn's users expect one: its own checks, weights, early stopping, copies, files, further training."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

import deshpc
from deshpc.errors import ConfigError, DataError
from deshpc.storage.container import Container, ContainerWriter

estimator_checks = pytest.importorskip("sklearn.utils.estimator_checks")

QUICK = {"dim": 4, "epochs": 3, "batch_samples": 64, "threads": 1, "learning_rate": 0.2}
UNFULFILLED = {
    "check_sample_weight_equivalence_on_dense_data":
        "numbers are standardised by rows, and a step is so many rows: a weight of 2 is not a row that is there twice",
}  # fmt: skip


def frame_of(count, seed=0):
    """(table, labels): a category and a number, both of which matter."""
    rng = np.random.default_rng(seed)
    user, x = rng.integers(0, 15, count), rng.normal(size=count)
    y = rng.random(count) < 1 / (1 + np.exp(-np.sin(user * 2.0) * 2 - x))
    return pd.DataFrame({"user": user, "x": x}), np.where(y, "yes", "no")


X, Y = frame_of(900)


@pytest.fixture(scope="module")
def fitted():
    return deshpc.Classifier("fm", **QUICK).fit(X, Y)


@pytest.mark.parametrize("name", ["lr", "fm"])
def test_scikit_learns_own_checks(name):
    model = deshpc.Classifier(name, threads=1, epochs=5, batch_samples=32, dim=2)
    found = estimator_checks.check_estimator(model, expected_failed_checks=UNFULFILLED, on_skip=None, on_fail="raise")
    states = {one["check_name"]: one["status"] for one in found}
    assert len(states) > 45 and [check for check, state in states.items() if state == "xfail"] == [*UNFULFILLED]
    assert {*states.values()} <= {"passed", "xfail", "skipped"} and [*states.values()].count("skipped") <= 1


def test_rows_that_count_twice_are_rows_that_are_there_twice():
    """Categories alone, and one step an epoch: what is left is rounding."""
    x, weights = pd.DataFrame({"user": X["user"].astype("category")}), np.random.default_rng(3).integers(0, 4, len(X))
    model = deshpc.Classifier("fm", **{**QUICK, "batch_samples": 10_000})
    repeated = copy.deepcopy(model).fit(x.iloc[np.repeat(np.arange(len(x)), weights)], np.repeat(Y, weights))
    model.fit(x, Y, sample_weight=weights)
    np.testing.assert_allclose(model.predict_proba(x), repeated.predict_proba(x), rtol=1e-4)
    assert np.abs(model.predict_proba(x) - deshpc.Classifier("fm", **QUICK).fit(x, Y).predict_proba(x)).max() > 0.01
    expected = np.average(model.predict(x) == Y, weights=weights)
    assert model.score(x, Y, sample_weight=weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weights, words", [
    ([1.0], "shape \\(1,\\); expected \\(900,\\)"), (np.full(900, -1.0), "row 0 is -1.0; expected a finite number of at least 0"),
    (np.full(900, np.nan), "row 0 is nan"), (["a"] * 900, "no numbers"), (np.zeros(900), "zero for all rows"),
])  # fmt: skip
def test_what_is_no_weight(weights, words):
    with pytest.raises(ValueError, match=words):
        deshpc.Classifier("lr", **QUICK).fit(X, Y, sample_weight=weights)


def test_early_stopping_keeps_the_best_epoch():
    other = frame_of(300, seed=1)
    model = deshpc.Classifier("fm", **{**QUICK, "epochs": 60, "learning_rate": 2.0}, early_stopping_rounds=3)
    model.fit(X, Y, eval_set=[(X, Y), other])
    losses = model.evals_result_["validation_1"]["log_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 60 and model.best_epoch_ == best + 1
    p = model.predict_proba(other[0])[np.arange(300), (other[1] == "yes").astype(int)]
    assert -np.log(p).mean() == pytest.approx(losses[best], rel=1e-6)  # the model that is there is that of the best epoch
    assert model.evals_result_["validation_0"]["log_loss"][-1] < model.evals_result_["validation_0"]["log_loss"][0]
    as_long = deshpc.Classifier("fm", **{**QUICK, "epochs": best + 1, "learning_rate": 2.0}).fit(X, Y)
    assert np.array_equal(as_long.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(as_long.partial_fit(X, Y).predict_proba(X), model.partial_fit(X, Y).predict_proba(X))


def test_early_stopping_by_auc_and_what_it_needs():
    model = deshpc.Classifier("lr", **{**QUICK, "epochs": 5}, early_stopping_rounds=1, eval_metric="auc", minimum_gain=1.0)
    model.fit(X, Y, eval_set=(X, Y))  # the first is a gain, as it always is; no AUC gains 1 on it
    assert model.best_epoch_ == 1 and len(model.evals_result_["validation_0"]["auc"]) == 2
    with pytest.raises(ValueError, match="early_stopping_rounds needs fit"):
        model.fit(X, Y)
    with pytest.raises(ConfigError, match="early_stopping_rounds = 0; expected"):
        deshpc.Classifier(early_stopping_rounds=0).fit(X, Y, eval_set=(X, Y))
    with pytest.raises(ConfigError, match="eval_metric = 'loss'; expected"):
        deshpc.Classifier(eval_metric="loss").fit(X, Y)
    with pytest.raises(DataError, match="eval_set has to be"):
        deshpc.Classifier("lr", **QUICK).fit(X, Y, eval_set=X)


def test_verbose_tells_kinds_and_epochs(capfd):
    deshpc.Classifier("lr", **QUICK, verbose=True).fit(X, Y, eval_set=(X, Y))
    told = capfd.readouterr().err
    assert "user: categorical, as it has 15 different integers" in told and told.count("validation_0 log_loss 0.") == 3


def loaded(model, folder):
    model.save(folder / "c.model")
    return deshpc.Classifier.load(folder / "c.model")


def through_joblib(model, folder):
    import joblib

    joblib.dump(model, folder / "c.joblib")
    return joblib.load(folder / "c.joblib")


COPIES = {
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)), "deepcopy": lambda model, folder: copy.deepcopy(model),
    "joblib": through_joblib, "file": loaded,
}  # fmt: skip


@pytest.mark.thorough(2)
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", ["fm", "dcnv2"])
def test_a_copy_predicts_the_same_and_goes_on_the_same(fitted, tmp_path, way, name):
    original = fitted if name == "fm" else deshpc.Classifier(name, **QUICK, hidden=(5,), normalisation="batch", optimizer="adam").fit(X, Y)
    before = original.predict_proba(X)
    other = COPIES[way](original, tmp_path)
    assert np.array_equal(other.predict_proba(X), before) and other.get_params() == original.get_params()
    assert (other.classes_ == original.classes_).all() and other.fields_ == original.fields_ and repr(other) == repr(original)
    assert other.feature_names_in_.tolist() == ["user", "x"]
    expected = copy.deepcopy(original).partial_fit(*frame_of(200, seed=2)).predict_proba(X)
    assert np.array_equal(other.partial_fit(*frame_of(200, seed=2)).predict_proba(X), expected)
    assert not np.array_equal(expected, before) and np.array_equal(original.predict_proba(X), before)


def test_warm_start_goes_on():
    model = deshpc.Classifier("fm", **{**QUICK, "epochs": 1}, warm_start=True).fit(X, Y)
    once = model.predict_proba(X)
    model.fit(X, Y)
    twice = deshpc.Classifier("fm", **{**QUICK, "epochs": 2}).fit(X, Y).predict_proba(X)
    assert np.array_equal(model.predict_proba(X), twice) and not np.array_equal(once, twice)
    model.set_params(warm_start=False).fit(X, Y)
    assert np.array_equal(model.predict_proba(X), once)


def test_columns_at_predict(fitted):
    expected = fitted.predict_proba(X)
    assert np.array_equal(fitted.predict_proba(X[["x", "user"]]), expected)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert np.array_equal(fitted.predict_proba([[int(user), x] for user, x in X.itertuples(index=False)]), expected)
    with pytest.raises(ValueError, match="during fit: missing: 'user'$"):
        fitted.predict(X[["x"]])
    with pytest.raises(ValueError, match="during fit: not there in fit: 'z'"):
        fitted.predict(X.assign(z=1))


def test_cells_that_count_as_missing(tmp_path):
    x, y = {"user": ["a", "NA", "b", ""] * 50, "x": [1.5, -1.0, None, 2.0] * 50}, [0, 1, 1, 0] * 50
    model = deshpc.Classifier("lr", **QUICK, overrides=["data.missing=['NA', '-1']"]).fit(x, y)
    model.save(tmp_path / "c.model")
    predictor = deshpc.Predictor(tmp_path / "c.model")
    pairs = [("NA", ""), ("NA", None), (b"NA", "")]
    for one, other in pairs:
        assert predictor.predict_one({"user": one, "x": -1}) == predictor.predict_one({"user": other, "x": None})
    assert predictor.predict_one({"user": "NA", "x": "-1"}) == predictor.predict_one({"user": "", "x": ""})
    assert predictor.predict_one({"user": "a", "x": -1}) != predictor.predict_one({"user": "a", "x": 1})
    p = model.predict_proba(x)
    assert np.array_equal(p[1::4], p[1:2].repeat(50, axis=0)) and p[1, 1] > 0.5


def forged(path, out, change):
    """A file with something else in it."""
    container = Container(path, "model")
    about, sections = container.about, {name: container.read(name).copy() for name in container.names}
    change(about, sections)
    with ContainerWriter(out, "model", about) as writer:
        for name, array in sections.items():
            writer.add(name, array)
        writer.finish()
    return out


FORGERIES = {
    "keys do not ascend": lambda about, sections: sections.update({"training/keys": sections["training/keys"][::-1].copy()}),
    "a root of a negative number": lambda about, sections: sections["training/numbers"].__setitem__((slice(None), -1), -1.0),
    "a number that is none": lambda about, sections: sections["training/values"].__setitem__(0, np.nan),
    "another length": lambda about, sections: sections.update({"training/values": np.zeros(3, np.float32)}),
    "steps that were not made": lambda about, sections: about["classifier"].update(steps=0),
    "classes of no type": lambda about, sections: about["classifier"]["classes"].update(dtype="nothing"),
    "three classes": lambda about, sections: about["classifier"]["classes"].update(values=["a", "b", "c"]),
    "an option that is none": lambda about, sections: about["classifier"]["config"]["model"].update(dim=-1),
    "another parameter": lambda about, sections: about["classifier"]["parameters"].update(eval="1"),
    "another dimension": lambda about, sections: about["classifier"]["config"]["model"].update(dim=9),
    "a section less": lambda about, sections: sections.pop("training/state"),
    "another column": lambda about, sections: about["classifier"].update(columns=["user", "y"]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_nothing_of_a_file_is_trusted(fitted, tmp_path, name):
    fitted.save(tmp_path / "c.model")
    with pytest.raises(DataError, match="c2.model: damaged|c2.model: has no section"):
        deshpc.Classifier.load(forged(tmp_path / "c.model", tmp_path / "c2.model", FORGERIES[name]))


def test_a_model_of_deshpc_export_is_no_classifier(fitted, tmp_path):
    fitted.save(tmp_path / "c.model")

    def change(about, sections):
        del about["classifier"]

    with pytest.raises(DataError, match="open it by deshpc.Predictor"):
        deshpc.Classifier.load(forged(tmp_path / "c.model", tmp_path / "e.model", change))
