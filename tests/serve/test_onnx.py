"""ONNX graphs under onnxruntime, against the models' formulas in NumPy float64 and against the predictor."""

import builtins

import numpy as np
import pytest
from hand_made_model import ROWS, hand_made

import deshpc
from deshpc.errors import ConfigError, DataError
from deshpc.serve.onnx_graph import write_onnx
from deshpc.serve.top import Top

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(path, inputs):
    """{output: array} of a graph, by onnxruntime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))


@pytest.mark.parametrize("n_dense", [0, 1, 4])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_equals_the_formula(tmp_path, name, n_dense):
    generator = np.random.default_rng(n_dense)
    w, f = generator.normal(0, 0.4, n_dense), generator.normal(0, 0.4, (n_dense, 3))
    inputs = {"c": generator.normal(size=50), "dense": generator.normal(size=(50, n_dense)), "A": generator.normal(size=(50, 3))}
    inputs = {key: array.astype(np.float32) for key, array in inputs.items()}
    dense = {"bias": np.float64(0.3), "fm.weights": w, "fm.factors": f, "linear.weights": w}
    write_onnx(tmp_path / "m.onnx", Top({"name": name}, dense, 1, n_dense))
    logit = 0.3 + inputs["c"] + inputs["dense"].astype(float) @ w
    if name == "fm":  # pairs of a dense feature and A, of two dense features, and |A|^2 / 2
        pairs = np.einsum("nc,nf,fc->n", inputs["A"], inputs["dense"], f)
        for i in range(n_dense):
            for j in range(i):
                pairs += inputs["dense"][:, i].astype(float) * inputs["dense"][:, j] * (f[i] @ f[j])
        logit = logit + pairs + np.square(inputs["A"].astype(float)).sum(axis=1) / 2
    given = {key: inputs[key] for key in (["c", "A"] if name == "fm" else ["c"]) + (["dense"] if n_dense else [])}
    found = run(tmp_path / "m.onnx", given)
    np.testing.assert_allclose(found["logit"], logit, rtol=0, atol=2e-6)  # some ten float32 terms below 8
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-logit)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "dim"), [("fm", 3), ("lr", 0)])
def test_takes_what_the_predictor_pools(tmp_path, name, dim):
    hand_made(tmp_path / "m.model", name, dim)
    predictor = deshpc.Predictor(tmp_path / "m.model")
    write_onnx(tmp_path / "m.onnx", predictor.model.top)
    found = run(tmp_path / "m.onnx", predictor.pooled(ROWS))
    np.testing.assert_allclose(found["probability"], predictor.predict(ROWS), rtol=0, atol=1e-6)
    model = onnx.load(tmp_path / "m.onnx")
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]


def test_errors(tmp_path, monkeypatch):
    top = Top({"name": "lr"}, {"bias": np.float64(0), "linear.weights": np.zeros(0)}, 1, 0)
    with pytest.raises(DataError, match="cannot be written"):
        write_onnx(tmp_path / "none" / "m.onnx", top)
    real = builtins.__import__

    def blocked(name, *rest):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ConfigError, match=r"pip install 'deshpc\[onnx\]'"):
        write_onnx(tmp_path / "m.onnx", top)
