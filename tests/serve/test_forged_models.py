"""Exported models with right checksums that no training wrote: refused when they are opened, never at the first row."""

import copy
import itertools
import json
import random

import numpy as np
import pytest
from hand_made_model import ROWS, hand_made

from deshpc.backend.open import open_backend
from deshpc.cli.inspect import inspect
from deshpc.config.load import build
from deshpc.config.schema import TASK_MODELS
from deshpc.errors import DataError
from deshpc.model.definitions import DEFINITIONS, Setting, definition_class
from deshpc.nn.first_values import FirstValues
from deshpc.serve.forward import FORWARDS
from deshpc.serve.predictor import Predictor
from deshpc.serve.top import Top
from deshpc.storage.container import Container, ContainerWriter

SMALL = {"hidden": [5, 4], "bottom_hidden": [6], "cross_layers": 2, "cin_layers": [4, 3], "attention_layers": [4], "attention_hidden": [3]}
MODELS = {
    **{name: SMALL for name in FORWARDS if name not in TASK_MODELS}, "din": {**SMALL, "fields_of_model": [{"name": "visits", "target": "hour"}]},
    "batch": {"name": "dcn", **SMALL, "normalisation": "batch"},
    "low_rank": {"name": "dcnv2", **SMALL, "cross_rank": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{name: (about, {section: array})} of honest models."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name, options in MODELS.items():
        options = {"name": name, **options}
        hand_made(folder / name, dim=0 if name == "lr" else 3, **options)
        container = Container(folder / name)
        found[name] = container.about, {one: container.read(one).copy() for one in container.names}
    return found


def write(path, about, sections):
    with ContainerWriter(path, "model", about) as writer:
        for name, array in sections.items():
            writer.add(name, array)
        writer.finish()
    return path


def changed(name, key, value):
    """A forgery of a part of `about`, as a path of keys; `...` takes it away, a function is given what was there."""

    def forge(about, sections):
        *above, last = key
        tree = about
        for one in above:
            tree = tree[one]
        if value is ...:
            del tree[last]
        else:
            tree[last] = value(tree[last]) if callable(value) else value

    return pytest.param(name, forge, id=f"{name}-{'.'.join(map(str, key))}-{value if not callable(value) else 'changed'}"[:70])


def array(name, section, change):
    """A forgery of a section; None takes it away."""

    def forge(about, sections):
        made = change(sections.get(section))
        if made is None:
            del sections[section]
        else:
            sections[section] = np.asarray(made)

    return pytest.param(name, forge, id=f"{name}-{section}-{change.__code__.co_firstlineno}")


def put(index, number):
    def change(old):
        old = old.copy()
        old[index] = number
        return old

    return change


NUMBER = ("x", None, True, [], {}, -1, 2**70)
ABOUT = [
    *(changed("fm", [part], value) for part in ("model", "schema", "transforms", "hash") for value in (..., 7, "x", [], {})),
    *(changed("fm", [part], None) for part in ("model", "schema", "hash")),
    changed("fm", ["transforms"], None),  # which the bucket fields need
    *(changed("fm", ["missing"], value) for value in (7, None, [7], [["NA"]])),
    *(changed("dcn", ["model", "dim"], value) for value in (*NUMBER, 0, 4)),
    *(changed("dcn", ["model", "name"], value) for value in (..., 7, "fm", "lr", "dcnv2", "os:system", "nothing")),
    *(changed("dcn", ["model", "hidden"], value) for value in (..., None, "ab", [0], [5], [5, 4, 3], [5, 2**62], [[5, 4]], ["5", 4], [5.0, 4])),
    *(changed("dcn", ["model", "cross_layers"], value) for value in (*NUMBER, 0, 1, 2**62)),
    *(changed("dcnv2", ["model", "cross_layers"], value) for value in (1, 3, 2**62)),
    *(changed("dcnv2", ["model", "cross_rank"], value) for value in (*NUMBER, 2)),
    *(changed("low_rank", ["model", "cross_rank"], value) for value in (0, 1, 3, 2**62)),
    *(changed("xdeepfm", ["model", "cin_layers"], value) for value in (..., [], [4], [4, 3, 2], [2**62, 3], [0, 3])),
    *(changed("dlrm", ["model", "bottom_hidden"], value) for value in (..., [], [7], [6, 6], None)),
    *(changed("deepfm", ["model", "activation"], value) for value in ("gelu", None, 3)),
    *(changed("deepfm", ["model", "normalisation"], value) for value in ("layer", "batch", "x", None)),
    changed("batch", ["model", "normalisation"], "none"),
    changed("batch", ["model", "normalisation"], "layer"),
    changed("deepfm", ["model", "unheard_of"], 1),
    *(changed("deepfm", ["model", "fields"], [{"name": name, "dim": dim}]) for name, dim in [("site", 2), ("none", 3), ("age", 3), (7, 3)]),
    *(changed("dcn", ["model", "fields"], [{"name": "site", "dim": dim}]) for dim in (2, 4, -1, "3")),
    *(changed("fm", ["schema", "fields"], value) for value in (..., None, [], {}, [7], lambda old: old[:-1], lambda old: [*old, old[0]])),
    changed("dcn", ["schema", "fields"], lambda old: [*old, {"name": "more"}]),
    changed("fm", ["schema", "fields"], lambda old: old[-1:] + old[:-1]),
    changed("fm", ["schema", "label"], 7),
    changed("fm", ["schema", "label"], ...),
    *(changed("fm", ["schema", "fields", 0, "name"], value) for value in (..., "", 7, None, "tags")),
    *(changed("fm", ["schema", "fields", 0, "kind"], value) for value in ("dense", "bucket", "x", None, 7)),
    *(changed("fm", ["schema", "fields", 1, "separator"], value) for value in ("", "ab", "é", None, 7, "\n")),
    *(changed("fm", ["schema", "fields", 1, "pooling"], value) for value in ("max", "", None)),
    *(changed("fm", ["schema", "fields", 2, "weight_separator"], value) for value in (" ", "ab", 7)),
    *(changed("fm", ["schema", "fields", 0, one], ["x"]) for one in ("weight_separator", "boundaries", "buckets", "unheard_of")),
    *(changed("fm", ["transforms", "dense", 0, "std"], value) for value in (..., 0, 0.0, -1.0, "1", None, True, 1e-36, float("nan"), float("inf"), 10**400)),
    *(changed("fm", ["transforms", "dense", 0, "mean"], value) for value in (..., "1", None, 1e39, float("nan"), -10**400)),
    changed("fm", ["transforms", "dense", 0, "name"], "income"),
    *(changed("fm", ["transforms", part], value) for part in ("dense", "buckets") for value in (..., [], None, {}, "ab", lambda old: old[::-1], lambda old: old[:1])),
    *(changed("fm", ["transforms", "buckets", 0, "boundaries"], value)
      for value in (..., None, 7, "12", [1, 1], [2.0, 1.0], [float("nan")], [0.0, float("inf")], ["a"], [[1.0]], [True])),
]  # fmt: skip
ROWS_OF_MODEL = [
    *(array(name, section, lambda old: None) for name in ("fm", "dcn", "lr") for section in ("keys", "weights", "embeddings", "dense/bias")),
    array("fm", "keys", lambda old: old[::-1]), array("fm", "keys", lambda old: old[:-1]), array("fm", "keys", lambda old: old.astype(np.int64)),
    array("fm", "keys", lambda old: old.astype(np.float64)), array("fm", "keys", lambda old: old.reshape(-1, 1)),
    array("fm", "keys", lambda old: old[0]), array("fm", "keys", put(0, 0)), array("fm", "keys", lambda old: np.sort(put(1, old[0])(old))),
    array("fm", "keys", lambda old: np.sort(put(0, old[0] | np.uint64(0xFFFF << 32))(old))), array("fm", "keys", put(5, 1)), array("fm", "keys", put(-1, 7)), array("fm", "keys", lambda old: np.append(old, old[-1])),
    *(array("fm", section, put(3, number)) for section in ("weights", "embeddings") for number in (np.nan, np.inf, -np.inf)),
    *(array("fm", section, lambda old: old[:-1]) for section in ("weights", "embeddings")),
    *(array("fm", section, lambda old: old.astype(np.int32)) for section in ("weights", "embeddings")),
    array("fm", "weights", lambda old: old.astype(np.float64)), array("fm", "weights", lambda old: old[:, None]),
    array("fm", "weights", lambda old: np.zeros((len(old), 0), np.float32)), array("dcn", "weights", lambda old: np.zeros(len(old), np.float32)),
    array("fm", "embeddings", lambda old: old[:, :-1]), array("fm", "embeddings", lambda old: old.T), array("fm", "embeddings", lambda old: old.ravel()),
    array("lr", "embeddings", lambda old: np.zeros((len(old), 1), np.float32)), array("fm", "embeddings", lambda old: old[None]),
    array("fm", "dense/more", lambda old: np.zeros(3, np.float32)), array("lr", "dense/fm.weights", lambda old: np.zeros(2, np.float32)),
    array("batch", "dense/deep.0.variance", put(0, -1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "forge"), [*ABOUT, *ROWS_OF_MODEL])
def test_forgeries(tmp_path, models, name, forge):
    about, sections = copy.deepcopy(models[name])
    forge(about, sections)
    path = write(tmp_path / "forged.model", about, sections)
    with pytest.raises(DataError, match=r"^/.*/forged\.model[:,] ") as raised:
        Predictor(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000
    with pytest.raises(DataError, match="forged.model"):
        inspect(path)


@pytest.mark.parametrize("name", MODELS)
def test_every_dense_parameter_has_its_shape_and_finite_numbers(tmp_path, models, name):
    about, sections = models[name]
    predictor = Predictor(write(tmp_path / "forged.model", about, sections))
    assert np.isfinite(predictor.predict(ROWS)).all()  # the honest one
    for section in [one for one in sections if one.startswith("dense/")]:
        old = sections[section]
        forged = [None, old[None], old.astype(np.int8), old.astype(np.float32) * np.nan]
        forged += [np.concatenate([old, old]), old[:-1], old.T[..., None]] if old.ndim else [np.zeros(3)]
        for one in forged:
            if one is not None and one.dtype.kind == "f" and one.size == 0:
                continue  # has no number to be wrong
            changed = {key: array for key, array in sections.items() if key != section}
            write(tmp_path / "forged.model", about, changed if one is None else {**changed, section: one})
            with pytest.raises(DataError, match="forged.model: .*" + section.removeprefix("dense/")):
                Predictor(tmp_path / "forged.model")


def test_any_change_is_refused_when_opened_or_scores(tmp_path, models):
    """Random changes of what is declared: nothing but a DataError when opened, or finite scores."""
    chance, opened = random.Random(6), 0
    names, odd = list(MODELS), [None, 0, -1, 1.5, "", "x", [], {}, True, 2**40, [1], 1e300, ["a"], {"name": "x"}, "dense", "bucket", "multi"]
    for _ in range(400):
        about, sections = copy.deepcopy(models[chance.choice(names)])
        for _ in range(chance.choice([1, 1, 2])):
            tree = about
            while True:
                places = list(tree if isinstance(tree, dict) else range(len(tree)))
                if not places:
                    break
                place = chance.choice([one for one in places if one not in ("training", "steps")] or places)
                if isinstance(tree[place], (dict, list)) and chance.random() < 0.85:
                    tree = tree[place]
                    continue
                kind = chance.randrange(3)
                if kind == 0:
                    del tree[place]
                else:
                    tree[place] = chance.choice(odd) if kind == 1 else copy.deepcopy(tree[chance.choice(places)])
                break
        path = write(tmp_path / "forged.model", about, sections)
        try:
            predictor = Predictor(path)
        except DataError as error:
            assert str(path) in str(error)
            continue
        opened += 1
        try:
            assert np.isfinite(predictor.predict(ROWS[:20], ignore_extra=True)).all()
        except DataError as error:  # a field of another name or kind
            assert "row " in str(error) or "field" in str(error), json.dumps(about)
    assert 20 < opened < 300


@pytest.mark.parametrize(("n_fields", "n_dense"), [(0, 2), (1, 0), (3, 0), (3, 2)])
def test_shapes_are_those_that_training_declares(n_fields, n_dense):
    backend = open_backend("cpu", 1)
    assert set(DEFINITIONS) | {"lr"} == set(FORWARDS)
    # fm has a definition for column split, with other names, ffm takes several vectors a row; models of several labels: `training/test_tasks.py`
    deep = [name for name in DEFINITIONS if name not in ("fm", "ffm", *TASK_MODELS)]
    for name, normalisation, hidden, rank in itertools.product(deep, ["none", "layer", "batch"], [[], [5, 4]], [0, 2]):
        options = {**SMALL, "name": name, "dim": 3, "hidden": hidden, "normalisation": normalisation, "cross_rank": rank, "linear": True}
        dims = (2, 3, 5)[:n_fields] if FORWARDS[name].own_dims and n_fields else None
        model, values = build({"data": {"format": "synthetic"}, "model": options}).model, FirstValues(1)
        definition_class(name)(Setting(backend, values, model, 1, "float32", n_fields, n_dense, 3, None, dims))
        shapes = {**values.shapes, **{one: value.shape for one, value in values.statistics.items()}}
        top = Top(options, {}, n_fields, n_dense, dims or (3,) * n_fields)
        assert dict(FORWARDS[name].shapes(top)) == {"bias": (), **shapes}, options
        assert (FORWARDS[name].linear, FORWARDS[name].own_dims) == (definition_class(name).linear, definition_class(name).field_dims)
