"""The predictor on a model made by hand, against the definition in plain Python with the xxhash package; its errors."""

import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from every_kind import NAMES, plain_probability
from hand_made_model import ROWS, TRANSFORMS, hand_made
from launching import TIMEOUT_S

from deshpc.config.load import build
from deshpc.errors import DataError
from deshpc.formats.schema import Schema
from deshpc.serve.exported import about_model, write_model
from deshpc.serve.predictor import Predictor


@pytest.fixture(scope="module")
def fm(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "fm.model"
    rows, dense = hand_made(path)
    dense = {"bias": dense["bias"], "weights": dense["fm.weights"], "factors": dense["fm.factors"]}
    return path, [plain_probability(row, rows, dense, TRANSFORMS.to_json()) for row in ROWS]


def test_equals_the_definition(fm):
    path, expected = fm
    predictor = Predictor(path)
    found = predictor.predict(ROWS)
    assert found.dtype == np.float64 and np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose([predictor.predict_one(row) for row in ROWS], found, rtol=0, atol=1e-14)
    assert predictor.fields == [name for name in NAMES if name not in ("age", "income")] + ["age", "income"]


def test_linear_model_equals_the_definition(tmp_path):
    rows, dense = hand_made(tmp_path / "lr.model", "lr", dim=0)
    dense = {"bias": dense["bias"], "weights": dense["linear.weights"], "factors": np.zeros((2, 0))}
    expected = [plain_probability(row, rows, dense, TRANSFORMS.to_json()) for row in ROWS]
    np.testing.assert_allclose(Predictor(tmp_path / "lr.model").predict(ROWS), expected, rtol=0, atol=1e-6)


class Frame:
    """What a pandas DataFrame offers, as far as it is used."""

    def __init__(self, columns):
        self.columns, self._columns = list(columns), columns

    def __getitem__(self, name):
        return np.array(self._columns[name], object)


def test_every_shape_of_rows(fm):
    path, expected = fm
    predictor = Predictor(path)
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    arrow = pytest.importorskip("pyarrow").table(columns)
    for rows in (columns, Frame(columns), arrow, iter(ROWS)):
        np.testing.assert_allclose(predictor.predict(rows), expected, rtol=0, atol=1e-6)
    assert predictor.predict([]).shape == predictor.predict({name: [] for name in columns}).shape == (0,)


def test_more_rows_than_a_block(fm, monkeypatch):
    monkeypatch.setattr("deshpc.serve.predictor._BLOCK_ROWS", 37)
    np.testing.assert_allclose(Predictor(fm[0]).predict(ROWS), fm[1], rtol=0, atol=1e-6)


def test_what_is_not_there(fm):
    path, _ = fm
    predictor, row = Predictor(path), {**ROWS[0], "site": "never seen"}
    few = {"site": "never seen", "hour": ROWS[0]["hour"]}
    empty = {**dict.fromkeys(NAMES, ""), **few}
    assert predictor.predict_one(few) == predictor.predict_one(empty)  # multi: no value; numbers: missing
    assert 0 < predictor.predict_one(row) < 1
    assert predictor.predict_one({**few, "hour": None}) == predictor.predict_one({**few, "hour": ""})
    assert predictor.predict_one({**few, "colour": 1}, ignore_extra=True) == predictor.predict_one(few)
    assert predictor.predict_one({**few, "click": 1}) == predictor.predict_one(few)  # the label is not looked at


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"site": "a", "hour": 1}, {"hour": 1}], "row 1: field 'site' is missing"),
        ([{"site": "a", "hour": 1, "pirce": 2}], "row 0: the model has no field 'pirce'; did you mean 'price'"),
        ({"site": ["a"], "hour": [1], "tgas": ["x"]}, "no field 'tgas'; did you mean 'tags'"),
        ({"site": ["a"]}, "field 'hour' is missing; expected a column"),
        ({"site": ["a", "b"], "hour": [1]}, "column 'hour' has 1 cells, column 'site' has 2"),
        ({"site": "a", "hour": 1}, "single row: predict_one"),
        ([("a", 1)], "row 0 is .*expected a dictionary"),
        ([{"site": 1.5, "hour": 1}], "row 0, field 'site': 1.5 is not text"),
        ([{"site": "a", "hour": 1, "age": "old"}], "row 0, field 'age': 'old' is not a finite number"),
        ([{"site": "a", "hour": 1, "tags": {"x": 2}}], "field 'tags'.*weight_separator"),
        ([{"site": "a", "hour": 1, "history": "x:y"}], "field 'history': 'x:y' is not"),
        ([{"site": "a", "hour": 1, "price": math.inf}], "field 'price': inf is not a finite number"),
    ],
)
def test_errors(fm, rows, words):
    with pytest.raises(DataError, match=words):
        Predictor(fm[0]).predict(rows)


def test_damage_is_found(fm, tmp_path):
    whole, path = fm[0].read_bytes(), tmp_path / "damaged.model"
    generator = np.random.default_rng(2)
    for at in generator.integers(0, len(whole) * 8, 150).tolist():
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged.model"):
            Predictor(path)
    for length in (0, 1, 63, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged.model"):
            Predictor(path)
    with pytest.raises(DataError, match="no such file"):
        Predictor(tmp_path / "none.model")


def test_threads_share_a_predictor(fm):
    path, expected = fm
    predictor, found = Predictor(path), {}

    def work(number):
        found[number] = [predictor.predict_one(row) for row in ROWS[:40]]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_allclose(found[number], expected[:40], rtol=0, atol=1e-6)


def test_rows_out_of_order_are_refused(tmp_path):
    config = build({"data": {"train": ["x"], "fields": [{"name": "a"}]}, "model": {"name": "lr"}})
    blocks = [(np.array([5, 6], np.uint64), np.ones((2, 1))), (np.array([4], np.uint64), np.ones((1, 1)))]
    with pytest.raises(DataError, match="not in key order"):
        write_model(
            tmp_path / "m.model", about_model(config, 1), Schema.from_config(config.data), None, blocks, np.empty((0, 1)), {}
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keys", [[], [1]])  # nothing, and nothing as high as any value's key
def test_a_model_of_few_rows(tmp_path, keys):
    config = build({"data": {"train": ["x"], "fields": [{"name": "a"}]}, "model": {"name": "lr"}})
    blocks = [(np.array(keys, np.uint64), np.ones((len(keys), 1)))]
    dense = {"bias": np.float64(-1), "linear.weights": np.zeros(0)}
    path = tmp_path / "m.model"
    write_model(path, about_model(config, 1), Schema.from_config(config.data), None, blocks, np.empty((0, 1)), dense)
    assert Predictor(path).predict({"a": ["x", "y"]}) == pytest.approx([1 / (1 + math.e)] * 2)


def test_a_table_without_a_known_column_has_its_rows(tmp_path):
    fields = [{"name": "a", "kind": "multi"}, {"name": "b", "kind": "dense"}]
    config = build({"data": {"train": ["x"], "fields": fields}, "model": {"name": "lr"}})
    dense = {"bias": np.float64(0), "linear.weights": np.ones(1)}
    path, none = tmp_path / "m.model", np.empty((0, 1))
    write_model(path, about_model(config, 1), Schema.from_config(config.data), None, [], none, dense)
    assert Predictor(path).predict({"c": [1, 2, 3]}, ignore_extra=True).tolist() == [0.5] * 3
    assert Predictor(path).predict([{}, {"b": 0}]).tolist() == [0.5] * 2


def test_needs_neither_mpi_nor_compiler(fm):
    code = f"""
import sys
class Blocked:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("numba", "mpi4py", "llvmlite", "pyarrow", "onnx", "cupy"):
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked)
import deshpc
print(deshpc.Predictor({str(fm[0])!r}).predict_one({{"site": "s1", "hour": 3}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == Predictor(fm[0]).predict_one({"site": "s1", "hour": 3})
