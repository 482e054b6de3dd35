"""Deep models in the predictor and in onnxruntime: made by hand, against their papers' formulas in loops of plain Python; trained,
against the scores that training gives.
"""

import csv
import math
import subprocess
import sys

import numpy as np
import pytest
from every_kind import FIELDS, make_rows, plain_key, plain_sequence, tree
from hand_made_model import NOT_LINEAR, ROWS, TRANSFORMS, hand_made
from launching import TIMEOUT_S
from small_training import DIM

import deshpc
from deshpc.config.load import build
from deshpc.data.transform import Transforms
from deshpc.errors import ConfigError, DataError
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key
from deshpc.serve.export import export
from deshpc.serve.exported import about_model, read_model, write_model
from deshpc.serve.forward.deep import Deep
from deshpc.serve.onnx_graph import write_onnx
from deshpc.training.predict import predict

NAMES = ("wide_deep", "deepfm", "nfm", "dcn", "dcnv2", "dlrm", "xdeepfm")
PAIRS = ("ffm", "fwfm", "fmfm")
SMALL = {"hidden": [5, 4], "bottom_hidden": [6], "cross_layers": 2, "cin_layers": [4, 3]}
DIN = {"attention_hidden": [3, 2], "attention_weights": "plain", "fields_of_model": [{"name": "visits", "target": "hour"}]}
KINDS = [
    {"activation": "relu", "normalisation": "none"},
    {"activation": "tanh", "normalisation": "layer"},
    {"activation": "sigmoid", "normalisation": "batch"},
]
CASES = [
    *((name, {**SMALL, **kind}) for name in NAMES for kind in KINDS),
    ("dcnv2", {**SMALL, "cross_rank": 2}),
    ("deepfm", {**SMALL, "hidden": []}),
    ("dcn", {**SMALL, "hidden": [], "cross_layers": 1}),
    ("dlrm", {**SMALL, "bottom_hidden": []}),
    ("xdeepfm", {**SMALL, "cin_layers": [3]}),
    ("autoint", {**SMALL, "attention_layers": [6, 4]}),
    *((name, {}) for name in PAIRS),
    ("ffm", {"linear": False}),
    ("din", {**SMALL, **DIN, "activation": "tanh", "normalisation": "layer"}),
    ("din", {**SMALL, **DIN, "attention_hidden": [], "attention_weights": "softmax"}),
]
KEYED = {field["name"]: field for field in FIELDS}
KEY_FIELDS = [field for field in FIELDS if field.get("kind") != "dense"]
DENSE_FIELDS = [field for field in FIELDS if field.get("kind") == "dense"]


def values_of(field, cell):
    """[(text, weight of w, weight of v)] of a cell of a field with keys."""
    if field.get("kind") == "bucket":
        boundaries = {one.name: one.boundaries for one in TRANSFORMS.buckets}[field["name"]]
        return [(str(sum(edge <= float(cell) for edge in boundaries)) if cell else "", 1.0, 1.0)]
    if field.get("kind") == "sequence":
        return plain_sequence(field, cell)
    if field.get("kind") != "multi":
        return [(cell, 1.0, 1.0)]
    pairs = [part.partition(field.get("weight_separator", "\0")) for part in cell.split(field.get("separator", "|")) if part]
    pooling, count = field.get("pooling", "sum"), len(pairs)
    values = [(text, float(weight or 1)) for text, _, weight in pairs]
    shares = [count if how == "mean" else 1 for how in (field.get("linear_pooling", pooling), pooling)]
    return [(text, *(float(np.float32(x / share)) for share in shares)) for text, x in values]


def features_of(row, rows):
    """([(field's number, w, v, weight of w, weight of v)] of the values that the model knows, [dense feature]) of a row of text."""
    found, dense = [], []
    for number, field in enumerate(KEY_FIELDS):
        for text, xl, x in values_of(field, row[field["name"]]):
            if (key := plain_key(field["name"], text)) in rows:
                found.append((number, float(rows[key][0]), rows[key][1].tolist(), xl, x))
    for field, one in zip(DENSE_FIELDS, TRANSFORMS.dense, strict=True):
        number = float(row[field["name"]] or 0)
        logarithm = math.copysign(math.log1p(abs(number)), number)
        dense.append(float(np.float32((logarithm - one.mean) / one.std)) if row[field["name"]] else 0.0)
    return found, dense


class Formula:
    """A model's logit, number by number; k : of an embedding."""

    def __init__(self, name, dense, k, options):
        self.name, self.k, self.options = name, k, options
        self.p = {one: array.astype(float).tolist() for one, array in dense.items()}

    def logit(self, found, dense, row):
        self.row = row
        E = [[sum(x * v[c] for f, _, v, _, x in found if f == field) for c in range(self.k)] for field in range(len(KEY_FIELDS))]
        x0 = [number for one in E for number in one] + dense
        linear = 0.0
        if self.name in PAIRS and self.options.get("linear", True):
            linear = sum(w * xl for _, w, _, xl, _ in found) + dot(self.p["linear.weights"], dense)
        elif self.name not in (*PAIRS, *NOT_LINEAR):
            linear = sum(w * xl for _, w, _, xl, _ in found) + self.unit("wide", dense)
        return self.p["bias"] + linear + getattr(self, self.name)(E, x0, found, dense)

    def wide_deep(self, E, x0, found, dense):
        return self.deep(x0)

    def deepfm(self, E, x0, found, dense):
        return sum(self.pairs(found, dense)) + self.deep(x0)

    def nfm(self, E, x0, found, dense):
        return self.deep(self.pairs(found, dense))

    def dcn(self, E, x0, found, dense):
        x, weights = x0, list(zip(*self.p["cross.weights"], strict=True))
        for w, bias in zip(weights[:-1], self.p["cross.bias"], strict=True):
            outer = [[a * b for b in x] for a in x0]  # x_0 x_l^T
            x = [dot(row, w) + b + one for row, b, one in zip(outer, bias, x, strict=True)]
        return dot(x, weights[-1]) + self.deep(x0)

    def dcnv2(self, E, x0, found, dense):
        x = x0
        for layer in range(self.options["cross_layers"]):
            if self.options.get("cross_rank"):
                z = times(times(x, self.p[f"cross.{layer}.narrow"]), self.p[f"cross.{layer}.wide"])
            else:
                z = times(x, self.p[f"cross.{layer}.weights"])
            x = [a * (b + bias) + c for a, b, bias, c in zip(x0, z, self.p[f"cross.{layer}.bias"], x, strict=True)]
        return self.unit("cross.out", x) + self.deep(x0)

    def dlrm(self, E, x0, found, dense):
        z = self.network("bottom", dense)
        vectors = [*E, z]
        dots = [dot(vectors[f], vectors[h]) for f in range(len(vectors)) for h in range(f)]
        return self.unit("top.out", self.network("top", z + dots))

    def xdeepfm(self, E, x0, found, dense):
        maps, sums = E, []
        for layer, out in enumerate(self.options["cin_layers"]):
            weights, following = self.p[f"cin.{layer}.weights"], [[0.0] * self.k for _ in range(out)]
            for h in range(out):
                for i, one in enumerate(maps):
                    for f, other in enumerate(E):
                        for c in range(self.k):
                            following[h][c] += weights[i * len(E) + f][h] * one[c] * other[c]
            maps = following
            sums += [sum(one) for one in maps]
        return self.unit("cin.out", sums) + self.deep(x0)

    def autoint(self, E, x0, found, dense):
        fields, heads = [*E, *([d * f for f in row] for d, row in zip(dense, self.p["attention.factors"], strict=True))], 2
        for layer, width in enumerate(self.options["attention_layers"]):
            query, key, value, rest = ([times(e, self.p[f"attention.{layer}.{part}"]) for e in fields] for part in ("queries", "keys", "values", "rest"))
            following = []
            for m, of_field in enumerate(rest):
                for h in range(heads):
                    own = range(h * width // heads, (h + 1) * width // heads)
                    dots = [sum(query[m][c] * one[c] for c in own) for one in key]
                    shares = [math.exp(one - max(dots)) for one in dots]
                    for c in own:
                        of_field[c] += sum(share * one[c] for share, one in zip(shares, value, strict=True)) / sum(shares)
                following.append([max(x, 0.0) for x in of_field])
            fields = following
        return self.unit("attention.out", [x for one in fields for x in one]) + self.deep(x0)

    def din(self, E, x0, found, dense):
        names = [field["name"] for field in KEY_FIELDS]
        sequence, target = names.index("visits"), E[names.index("hour")]
        values = [[x * one for one in v] for f, _, v, _, x in found if f == sequence]
        # a value without a row is zero, and has its share of a softmax
        values += [[0.0] * self.k] * (min(2, len(self.row["visits"].split())) - len(values))
        numbers = []
        for e in values:
            x = [*e, *target, *(a - b for a, b in zip(e, target, strict=True)), *(a * b for a, b in zip(e, target, strict=True))]
            for i in range(len(self.options["attention_hidden"])):
                x = [a + b for a, b in zip(times(x, self.p[f"attention.0.{i}.weights"]), self.p[f"attention.0.{i}.bias"], strict=True)]
                x = [{"tanh": math.tanh}.get(self.options.get("activation"), lambda a: max(a, 0.0))(a) for a in x]
            numbers.append(self.unit("attention.0.out", x) + self.p.get("attention.0.out.bias", [0.0])[0])
        if self.options["attention_weights"] == "softmax":
            numbers = [math.exp(a) / sum(map(math.exp, numbers)) for a in numbers]
        E[sequence] = [sum(a * e[c] for a, e in zip(numbers, values, strict=True)) for c in range(self.k)]
        return self.deep([number for one in E for number in one] + dense)

    def ffm(self, E, x0, found, dense):
        """Of any two features, the vector of each for the other's field."""
        features = [(f, v, x) for f, _, v, _, x in found]
        features += [(len(E) + d, v, x) for d, (v, x) in enumerate(zip(self.p["ffm.factors"], dense, strict=True))]

        def one(v, field):
            return v[field * self.k : (field + 1) * self.k]

        return sum(x * y * dot(one(v, g), one(u, f)) for i, (f, v, x) in enumerate(features) for g, u, y in features[:i])

    def fwfm(self, E, x0, found, dense):
        fields, r = self.fields(E, dense), self.p["fwfm.weights"]
        return sum(r[f][g] * dot(fields[f], fields[g]) for f in range(len(fields)) for g in range(f))

    def fmfm(self, E, x0, found, dense):
        """E_f M_fg E_g of f < g; of f, the transposed matrices lie one above the other."""
        fields = self.fields(E, dense)

        def matrix(f, g):
            return self.p[f"fmfm.{f}.matrices"][(g - f - 1) * self.k : (g - f) * self.k]

        return sum(dot(times(fields[g], matrix(f, g)), fields[f]) for g in range(len(fields)) for f in range(g))

    def fields(self, E, dense):
        """E of all fields: of a dense feature its number times its factors."""
        return [*E, *([d * one for one in row] for d, row in zip(dense, self.p[f"{self.name}.factors"], strict=True))]

    def pairs(self, found, dense):
        """Products of all pairs of features' vectors, by coordinate."""
        vectors = [[x * one for one in v] for _, _, v, _, x in found]
        vectors += [[d * one for one in f] for d, f in zip(dense, self.p["fm.factors"], strict=True)]
        return [sum(a[c] * b[c] for i, a in enumerate(vectors) for b in vectors[:i]) for c in range(self.k)]

    def deep(self, x):
        return self.unit("deep.out", self.network("deep", x))

    def unit(self, name, x):
        return dot(x, [w for (w,) in self.p[f"{name}.weights"]])

    def network(self, name, x):
        i, kind = 0, self.options.get("normalisation", "none")
        while f"{name}.{i}.weights" in self.p:
            layer = {part: self.p[f"{name}.{i}.{part}"] for part in ("weights", "bias", "gain", "shift", "mean", "variance") if f"{name}.{i}.{part}" in self.p}
            z = times(x, layer["weights"])
            if kind == "none":
                z = [a + b for a, b in zip(z, layer["bias"], strict=True)]
            else:
                mean, variance = layer.get("mean"), layer.get("variance")
                if kind == "layer":
                    mean = [sum(z) / len(z)] * len(z)
                    variance = [sum((a - mean[0]) ** 2 for a in z) / len(z)] * len(z)
                normal = [(a - m) / math.sqrt(v + 1e-5) for a, m, v in zip(z, mean, variance, strict=True)]
                z = [g * a + s for g, a, s in zip(layer["gain"], normal, layer["shift"], strict=True)]
            f = {"relu": lambda a: max(a, 0.0), "tanh": math.tanh, "sigmoid": lambda a: 1 / (1 + math.exp(-a))}
            x, i = [f[self.options.get("activation", "relu")](a) for a in z], i + 1
        return x


def dot(a, b):
    return sum(one * other for one, other in zip(a, b, strict=True))


def times(x, matrix):
    return [sum(a * row[j] for a, row in zip(x, matrix, strict=True)) for j in range(len(matrix[0]))]


def scored(path, inputs):
    """Probabilities of an ONNX graph."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probability"], inputs)[0]


def shown(value):
    if isinstance(value, dict):
        return "-".join(str(one) for name, one in value.items() if SMALL.get(name) != one)
    return None


@pytest.mark.parametrize(("name", "options"), CASES, ids=shown)
def test_equals_the_formula(tmp_path, name, options):
    rows, dense = hand_made(tmp_path / "m.model", name, **options)
    formula, predictor = Formula(name, dense, 3, options), deshpc.Predictor(tmp_path / "m.model")
    expected = np.array([1 / (1 + math.exp(-formula.logit(*features_of(row, rows), row))) for row in ROWS])
    found = predictor.predict(ROWS)
    assert np.std(expected) > 0.001
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # a dense feature may be rounded otherwise to float32
    np.testing.assert_allclose([predictor.predict_one(row) for row in ROWS[:20]], found[:20], rtol=0, atol=1e-13)
    write_onnx(tmp_path / "m.onnx", predictor.model.top)
    pooled = predictor.pooled(ROWS)
    assert {array.dtype for array in pooled.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(scored(tmp_path / "m.onnx", pooled), found, rtol=0, atol=2e-6)  # of float32 throughout


@pytest.mark.parametrize("fields", [KEY_FIELDS, DENSE_FIELDS], ids=["no dense features", "nothing but dense features"])
@pytest.mark.parametrize("name", [*NAMES, *PAIRS])
def test_graph_of_one_sort_of_field(tmp_path, name, fields):
    hand_made(tmp_path / "m.model", name, fields=fields, **SMALL)
    predictor = deshpc.Predictor(tmp_path / "m.model")
    write_onnx(tmp_path / "m.onnx", predictor.model.top)
    found = predictor.predict(ROWS, ignore_extra=True)
    assert np.std(found) > 0.001
    np.testing.assert_allclose(scored(tmp_path / "m.onnx", predictor.pooled(ROWS, ignore_extra=True)), found, rtol=0, atol=2e-6)


def trained(folder, name, fields=FIELDS, train=(), fields_of_model=(), **options):
    """Train on rows of every kind of field; the scores of `deshpc predict` of the test rows, and the exported model's path."""
    from mpi4py import MPI

    config = tree(folder, name, train={"epochs": 3, **dict(train)}, data={"fields": fields})
    config["model"] = {**config["model"], "init_std": 0.4, **(SMALL if name in NAMES else {}), **options, "fields": list(fields_of_model)}
    config["run"]["report_interval_s"] = 1000.0
    deshpc.train(build(config), MPI.COMM_SELF)
    predict(config["run"]["directory"], str(folder / "scores.csv"), MPI.COMM_SELF)
    export(config["run"]["directory"], str(folder / "out.model"), str(folder / "out.onnx"))
    with open(folder / "scores.csv", encoding="utf-8", newline="") as file:
        return np.array([float(row["score"]) for row in csv.DictReader(file)]), folder / "out.model"


TRAINED = [
    *((name, "float32", KINDS[0]) for name in NAMES),
    *((name, "float64", {**kind, "dropout": 0.2}) for name in NAMES for kind in KINDS[1:]),
    ("dcnv2", "float64", {"cross_rank": 2}),
    ("dcn", "float64", {"cross_layers": 4, "hidden": []}),
    ("xdeepfm", "float64", {"cin_layers": [2, 3, 2]}),
    ("dlrm", "float64", {"bottom_hidden": []}),
    ("autoint", "float64", {"attention_layers": [6, 4]}),
    ("din", "float64", DIN),
    ("din", "float64", {**DIN, "attention_weights": "softmax"}),
]


@pytest.mark.parametrize(("name", "precision", "options"), TRAINED, ids=shown)
def test_scores_are_those_of_training(tmp_path, name, precision, options):
    pytest.importorskip("onnx")
    expected, path = trained(tmp_path, name, train={"precision": precision}, **options)
    rows, predictor = make_rows(1, 150), deshpc.Predictor(path)
    found = predictor.predict(rows)
    assert np.std(expected) > 0.005
    np.testing.assert_allclose(found, expected, rtol=0, atol={"float32": 1e-5, "float64": 1e-11}[precision])
    np.testing.assert_allclose(scored(tmp_path / "out.onnx", predictor.pooled(rows)), expected, rtol=0, atol=1e-5)
    model = read_model(path)
    assert model.rows.weights.shape == ((len(model.rows.keys), 0) if name in NOT_LINEAR else (len(model.rows.keys),))
    assert model.rows.embeddings.shape == (len(model.rows.keys), 5) and model.rows.embeddings.dtype == precision


@pytest.mark.thorough(1)
@pytest.mark.parametrize("name", PAIRS)
def test_scores_of_pairs_are_those_of_training(tmp_path, name):
    """Fields of several values and dense features among them, by a key's one value (`tests/steps` has the kernels); fields that share rows are not ffm's."""
    pytest.importorskip("onnx")
    fields = [{option: value for option, value in field.items() if option != "linear_pooling"} for field in FIELDS if field["name"] != "visits"]
    dim = 4 if name == "ffm" else DIM
    expected, path = trained(tmp_path, name, fields, {"precision": "float64"}, dim=dim)
    rows, predictor = make_rows(1, 150), deshpc.Predictor(path)
    found = predictor.predict(rows, ignore_extra=True)
    assert np.std(expected) > 0.005
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(scored(tmp_path / "out.onnx", predictor.pooled(rows, ignore_extra=True)), expected, rtol=0, atol=1e-5)
    model, vectors = read_model(path), len(fields) if name == "ffm" else 1
    assert model.rows.embeddings.shape == (len(model.rows.keys), vectors * dim)


@pytest.mark.parametrize("name", ["deepfm", "dlrm"])
def test_without_dense_features(tmp_path, name):
    expected, path = trained(tmp_path, name, KEY_FIELDS, {"precision": "float64"})
    found = deshpc.Predictor(path).predict(make_rows(1, 150), ignore_extra=True)
    assert np.std(expected) > 0.005
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_many_samples_of_a_large_interaction(tmp_path, monkeypatch):
    hand_made(tmp_path / "m.model", "xdeepfm", **SMALL)
    predictor = deshpc.Predictor(tmp_path / "m.model")
    whole = predictor.predict(ROWS)
    monkeypatch.setattr("deshpc.serve.forward.interaction._BYTES", 7 * 8 * 7 * 7 * 3)  # seven samples at a time
    np.testing.assert_allclose(predictor.predict(ROWS), whole, rtol=0, atol=1e-14)
    assert predictor.predict([]).shape == (0,)


def test_needs_neither_mpi_nor_compiler(tmp_path):
    for name in NAMES:
        hand_made(tmp_path / f"{name}.model", name, **SMALL)
    code = """
import sys
class Blocked:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("numba", "mpi4py", "llvmlite", "pyarrow", "onnx", "cupy", "scipy"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked)
import deshpc
for path in sys.argv[1:]:
    print(deshpc.Predictor(path).predict_one({"site": "s1", "hour": 3}))
"""
    paths = [str(tmp_path / f"{name}.model") for name in NAMES]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.split()] == [
        deshpc.Predictor(path).predict_one({"site": "s1", "hour": 3}) for path in paths
    ]


def test_a_definition_of_the_users_own_needs_its_formula(tmp_path):
    """The file names the definition, and nothing is imported: whoever opens it passes the formula."""
    config = build({"data": {"train": ["x"], "fields": [{"name": "a"}]}, "model": {"name": "mine:Model", "dim": 2}}, allow_import=("mine:Model",))
    schema, keys = Schema.from_config(config.data), np.array([key(0, "a", "x")], np.uint64)
    rows = [(keys, np.array([[0.5, 0.25]], np.float32))]
    write_model(tmp_path / "m.model", about_model(config, 1), schema, Transforms((), ()), rows, np.empty((0, 2), np.float32), {"bias": np.float32(1)}, 0)

    class Mine(Deep):
        @classmethod
        def shapes(cls, top):
            yield "bias", ()

        def logit(self, E, dense):
            return self._parameters["bias"] + E.sum(axis=1)

    assert deshpc.Predictor(tmp_path / "m.model", forward=Mine).predict_one({"a": "x"}) == 1 / (1 + math.exp(-1.75))
    with pytest.raises(DataError, match="'mine:Model' is a definition of somebody's own: pass forward = its formula"):
        deshpc.Predictor(tmp_path / "m.model")
    with pytest.raises(ConfigError, match="deshpc has no graph"):
        write_onnx(tmp_path / "m.onnx", deshpc.Predictor(tmp_path / "m.model", forward=Mine).model.top)
    with pytest.raises(ConfigError, match="that of model.name = 'mine:Model' is not the package's: leave it out; deshpc export writes"):
        build({"data": {"train": ["x"], "fields": [{"name": "a"}]}, "model": {"name": "mine:Model"}, "export": {"deltas": True}}, allow_import=("mine:Model",))
    hand_made(tmp_path / "built-in.model", "fm")
    with pytest.raises(DataError, match="'fm' has its formula here; leave out forward = Mine"):
        deshpc.Predictor(tmp_path / "built-in.model", forward=Mine)


OWN_DIMS = {"site": 2, "hour": 7, "visits": 7, "tags": 1}


@pytest.mark.thorough(1)
@pytest.mark.parametrize(("name", "options"), [("wide_deep", {}), ("dcn", {}), ("dcnv2", {}), ("dcnv2", {"cross_rank": 2})], ids=shown)
def test_fields_with_dimensions_of_their_own(tmp_path, name, options):
    """Scores are those of training; a row is as wide as the widest, and 0 beyond its own columns."""
    pytest.importorskip("onnx")
    fields = [{"name": field, "dim": dim} for field, dim in OWN_DIMS.items()]
    expected, path = trained(tmp_path, name, train={"precision": "float64"}, fields_of_model=fields, **options)
    rows, predictor = make_rows(1, 150), deshpc.Predictor(path)
    found = predictor.predict(rows)
    assert np.std(expected) > 0.005
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose([predictor.predict_one(row) for row in rows[:9]], found[:9], rtol=0, atol=1e-13)
    np.testing.assert_allclose(scored(tmp_path / "out.onnx", predictor.pooled(rows)), expected, rtol=0, atol=1e-5)
    model = read_model(path)
    assert [(one["name"], one["dim"]) for one in model.options["fields"]] == list(OWN_DIMS.items())
    assert model.rows.embeddings.shape[1] == 7
    for field, dim in [*OWN_DIMS.items(), ("price", 5)]:
        texts = {text for row in make_rows(0, 400) for text, _, _ in values_of(KEYED[field], row[field])} if field != "price" else set("01234")
        known = np.isin(model.rows.keys, np.array([plain_key(field, text) for text in texts], np.uint64))
        assert known.sum() >= 3
        assert not model.rows.embeddings[known, dim:].any() and model.rows.embeddings[known, :dim].all()
