"""The classifier against scikit-learn's protocol and metrics, against `deshpc train` on the same rows as a file, and against
its saved model in the predictor."""

import copy
import csv

import numpy as np
import pandas as pd
import pytest
from every_kind import FIELDS, NAMES, make_rows, tree

import deshpc
from deshpc.config import override
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.estimator.table_columns import Table
from deshpc.training.predict import predict

sklearn_base = pytest.importorskip("sklearn.base")


def learnable(count, seed=0):
    """(columns, labels): a category, a category of integers and a number, all of which matter."""
    generator = np.random.default_rng(seed)
    user, item, x = generator.integers(0, 12, count), generator.integers(0, 9, count), generator.normal(size=count)
    logit = np.sin(user * 2.0) * 2 + np.cos(item) + x
    y = np.where(generator.random(count) < 1 / (1 + np.exp(-logit)), "yes", "no")
    return {"user": [f"u{i}" for i in user], "item": item.tolist(), "x": x.tolist()}, y


QUICK = {"dim": 5, "epochs": 3, "batch_samples": 64, "threads": 1, "learning_rate": 0.2}
FIELDS_OF = {"item": "categorical"}


@pytest.fixture(scope="module")
def fitted():
    x, y = learnable(1500)
    return deshpc.Classifier(**QUICK, fields=FIELDS_OF).fit(x, y)


def test_learns(fitted):
    from sklearn.metrics import accuracy_score, roc_auc_score

    x, y = learnable(800, seed=1)
    p = fitted.predict_proba(x)
    assert p.shape == (800, 2) and np.allclose(p.sum(axis=1), 1) and fitted.classes_.tolist() == ["no", "yes"]
    assert roc_auc_score(y == "yes", p[:, 1]) > 0.8
    assert fitted.score(x, y) == accuracy_score(y, fitted.predict(x)) > 0.7
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-fitted.decision_function(x))), rtol=1e-12)
    assert fitted.feature_names_in_.tolist() == ["user", "item", "x"] and fitted.n_features_in_ == 3


def test_every_shape_of_x(fitted):
    x, _ = learnable(50, seed=2)
    expected = fitted.predict_proba(x)
    rows = [dict(zip(x, cells, strict=True)) for cells in zip(*x.values(), strict=True)]
    arrays = {name: np.array(cells) for name, cells in x.items()}
    for other in (rows, arrays):
        assert np.array_equal(fitted.predict_proba(other), expected)


SMALL = {"hidden": (6, 4), "bottom_hidden": (5,), "cin_layers": (4,), "cross_layers": 2}
OF_EVERY_KIND = {**SMALL, "activation": "tanh", "normalisation": "batch", "dropout": 0.25, "cross_rank": 2}


OVERRIDES = {"din": ["model.attention_hidden=[3]", 'model.fields=[{name="visits", target="hour"}]']}


@pytest.mark.parametrize(("name", "options", "precision"), [
    ("fm", {}, "float32"), ("dcnv2", OF_EVERY_KIND, "float32"), ("xdeepfm", SMALL, "float32"), ("dlrm", SMALL, "float32"),
    ("fwfm", {}, "float64"), ("fmfm", {}, "float64"), ("autoint", SMALL, "float64"), ("din", SMALL, "float64"),
])  # fmt: skip
@pytest.mark.thorough(3)
def test_is_the_model_that_deshpc_train_makes(tmp_path, name, options, precision):
    """In float64 where tests of steps have compiled the kernels for it."""
    from mpi4py import MPI

    overrides = ["optimizer.decay=linear", f"train.precision={precision}", *OVERRIDES.get(name, [])]
    config = tree(tmp_path, name)
    config["model"] |= {one: list(value) if isinstance(value, tuple) else value for one, value in options.items()}
    deshpc.train(override(build(config), *overrides), MPI.COMM_SELF)
    predict(config["run"]["directory"], str(tmp_path / "scores.csv"), MPI.COMM_SELF)
    with open(tmp_path / "scores.csv", encoding="utf-8", newline="") as file:
        expected = [float(row["score"]) for row in csv.DictReader(file)]
    rows, test = make_rows(0, 400), make_rows(1, 150)
    labels = [int(row["click"]) for row in rows]
    given = {field["name"]: {"kind": "categorical", **{k: v for k, v in field.items() if k != "name"}} for field in FIELDS}
    model = deshpc.Classifier(
        name, dim=5, init_std=0.1, learning_rate=0.1, epochs=2, batch_samples=64, threads=1, fields=given,
        overrides=overrides, **options,
    ).fit([{name: row[name] for name in NAMES} for row in rows], labels)
    found = model.predict_proba([{name: row[name] for name in NAMES} for row in test])[:, 1]
    assert np.array_equal(found, expected)  # one code path: the same bits


def test_partial_fit_goes_on(fitted):
    x, y = learnable(1500)
    model = deshpc.Classifier(**{**QUICK, "epochs": 1}, fields=FIELDS_OF).fit(x, y)
    model.partial_fit(x, y).partial_fit(x, y)
    assert np.array_equal(model.predict_proba(x), fitted.predict_proba(x))
    first = {name: cells[:10] for name, cells in x.items()}
    fresh = deshpc.Classifier(**QUICK, fields=FIELDS_OF).partial_fit(first, ["no"] * 10, classes=["no", "yes"])
    assert fresh.classes_.tolist() == ["no", "yes"] and fresh.predict_proba(first)[:, 1].mean() < 0.5
    with pytest.raises(DataError, match="'maybe'"):
        fresh.partial_fit(first, ["maybe"] * 10)


def test_saved_for_the_predictor(fitted, tmp_path):
    x, _ = learnable(60, seed=3)
    fitted.save(tmp_path / "c.model")
    found = deshpc.Predictor(tmp_path / "c.model").predict(x)
    np.testing.assert_allclose(found, fitted.predict_proba(x)[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["wide_deep", "deepfm", "nfm", "dcn", "dcnv2", "dlrm", "xdeepfm"])
def test_deep_models_learn_and_are_saved(tmp_path, name):
    x, y = learnable(1500)
    other, expected = learnable(800, seed=1)
    model = deshpc.Classifier(name, **{**QUICK, "init_std": 0.2, "epochs": 8, **SMALL}, fields=FIELDS_OF).fit(x, y)
    assert model.score(other, expected) > 0.65 > max(np.mean(expected == "yes"), np.mean(expected == "no"))
    model.save(tmp_path / "c.model")
    found = deshpc.Predictor(tmp_path / "c.model").predict(other)
    np.testing.assert_allclose(found, model.predict_proba(other)[:, 1], rtol=0, atol=1e-5)


@pytest.mark.thorough
def test_field_aware_pairs_without_linear_weights(tmp_path):
    """In float64 with 4 numbers, for which `steps/test_ffm.py` compiles kernels."""
    x, y = learnable(1500)
    other, expected = learnable(800, seed=1)
    options = {**QUICK, "dim": 4, "init_std": 0.2, "overrides": ["model.linear=false", "train.precision=float64"]}
    model = deshpc.Classifier("ffm", **options, fields=FIELDS_OF).fit(x, y)
    assert model.score(other, expected) > 0.7
    model.save(tmp_path / "c.model")
    found = deshpc.Predictor(tmp_path / "c.model").predict(other)
    np.testing.assert_allclose(found, model.predict_proba(other)[:, 1], rtol=0, atol=1e-12)
    one = deshpc.Classifier("ffm", **{**options, "epochs": 1}, fields=FIELDS_OF).fit(x, y)
    again = copy.deepcopy(one).partial_fit(x, y).partial_fit(x, y)
    assert np.array_equal(again.predict_proba(other), model.predict_proba(other))


def test_scikit_learn_searches_deep_options():
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV

    x, y = learnable(300)
    numbers = np.column_stack([x["x"], np.arange(300) % 7])
    model = deshpc.Classifier("wide_deep", batch_samples=64, threads=1, learning_rate=0.2, hidden=(4,))
    assert clone(model).get_params() == model.get_params() and repr(clone(model)) == repr(model)
    grid = {"hidden": [(3,), np.array([4, 2])], "normalisation": ["layer"], "dropout": np.array([0.0, 0.5])}
    search = GridSearchCV(model, grid, cv=2).fit(numbers, y)
    assert search.predict(numbers).shape == (300,)


def test_scikit_learn_accepts_it(fitted):
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    other = clone(fitted)
    assert other.get_params() == fitted.get_params() and not hasattr(other, "classes_")
    assert is_classifier(fitted)
    check_is_fitted(fitted)
    x, y = learnable(600)
    numbers = np.column_stack([x["x"], np.sin(2.0 * np.arange(600))])
    quick = deshpc.Classifier("lr", batch_samples=64, threads=1, learning_rate=0.2)
    scores = cross_val_score(make_pipeline(StandardScaler(), quick), numbers, y, cv=3, scoring="roc_auc")
    assert len(scores) == 3 and scores.min() > 0.55
    search = GridSearchCV(quick, {"epochs": np.array([1, 2]), "l2": [0.0, 0.1]}, cv=2).fit(numbers, y)
    assert search.best_params_["epochs"] in (1, 2) and search.predict(numbers).shape == (600,)


def test_parameters():
    model = deshpc.Classifier("lr", fields={"a": "dense"})
    assert repr(model) == "Classifier(model='lr', fields={'a': 'dense'})"
    assert repr(deshpc.Classifier(hidden=[400, 400, 400], bottom_hidden=[3])) == "Classifier(bottom_hidden=[3])"
    assert model.set_params(dim=3).dim == 3 and copy.deepcopy(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="no parameter 'dims'"):
        model.set_params(dims=3)


def test_kinds_are_inferred():
    x = {
        "number": [1, 2.5, None], "text": ["1", "2", "3"], "flag": [True, False, True], "bag": [["a"], [], ["b", "c"]],
        "weights": [{"a": 1.0}, {}, None], "nothing": [None, None, None],
    }  # fmt: skip
    given = {"weights": {"kind": "multi", "weight_separator": ":"}}
    fields, why = Table(x).fields(given)
    assert {field["name"]: field["kind"] for field in fields} == {
        "number": "dense", "text": "categorical", "flag": "categorical", "bag": "multi", "weights": "multi",
        "nothing": "categorical",
    }  # fmt: skip
    assert why["nothing"] == "is always missing"


def test_integers_that_name_something_are_categorical():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "weekday": rng.integers(0, 7, 300), "user_id": rng.integers(0, 9999, 300), "zip": rng.integers(10000, 99999, 300),
        "clicks": rng.integers(0, 9999, 300), "floats": rng.integers(0, 3, 300) * 1.0, "band": pd.Categorical(rng.integers(0, 250, 300)),
        "maybe": pd.array(rng.integers(0, 3, 300), "Int64"), "part": rng.random(300),
    })  # fmt: skip
    model = deshpc.Classifier("lr", threads=1).fit(frame, rng.random(300) < 0.5)
    assert {name: one["kind"] for name, one in model.fields_.items()} == {
        "weekday": "categorical", "user_id": "categorical", "zip": "categorical", "clicks": "dense", "floats": "dense",
        "band": "categorical", "maybe": "categorical", "part": "dense",
    }  # fmt: skip
    assert model.fields_["weekday"]["why"].startswith("has 7 different integers") and "category" in model.fields_["band"]["why"]


class Sparse:
    def toarray(self):
        """What scipy's sparse matrices have."""


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ({"a": [1, 2]}, [1, 1], "y has 1 class; expected 2"),
        ({"a": [1, 2, 3]}, [0, 1, 2], "y has 3 classes"),
        ({"a": [1, 2, 3]}, [0, 1, None], "labels that cannot be compared"),
        ({"a": []}, [], "0 sample"),
        ([], [], "0 feature"),
        ({"a": [1, 2]}, [0, 1, 1], "2 rows and y has 3"),
        (Sparse(), [0, 1], "sparse"),
        (np.zeros((2, 2, 2)), [0, 1], "3 dimensions"),
        ([[1, 2], [1]], [0, 1], "different lengths"),
        ({"a": ["x", 1.5]}, [0, 1], "row 1, field 'a'"),
        ({"a": [1, 2], "b": [1]}, [0, 1], "column 'b' has 1 cells"),
    ],
)
def test_bad_rows(x, y, words):
    with pytest.raises(DataError, match=words):
        deshpc.Classifier("lr", threads=1).fit(x, y)


def test_bad_options(fitted):
    x, y = {"a": [1, 2]}, [0, 1]
    with pytest.raises(ConfigError, match="model.name"):
        deshpc.Classifier("deep", threads=1).fit(x, y)
    with pytest.raises(ConfigError, match="model.hidden must be a list, not 8"):
        deshpc.Classifier("dcn", threads=1, hidden=8).fit(x, y)
    with pytest.raises(ConfigError, match="did you mean optimizer.decay"):
        deshpc.Classifier("lr", threads=1, overrides=["optimizer.decai=linear"]).fit(x, y)
    with pytest.raises(ConfigError, match="no column 'b'"):
        deshpc.Classifier("lr", threads=1, fields={"b": "dense"}).fit(x, y)
    with pytest.raises(DataError, match="not been fitted"):
        deshpc.Classifier().predict(x)
    with pytest.raises(DataError, match="during fit: missing: 'user', 'x'; not there in fit: 'usre'; did you mean 'user'"):
        fitted.predict({"usre": ["u1"], "item": [1]})
    with pytest.raises(ValueError, match="expecting 3 features"):
        fitted.predict([["u1", 1]])
