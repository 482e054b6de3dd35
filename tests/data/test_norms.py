"""Samples of norm 1: values and dense features beside NumPy's float64, in text, caches and the encoder; a model of them by its definition."""

import every_kind
import numpy as np
import pytest

import deshpc
from deshpc.cli.inspect import inspect
from deshpc.config.load import build
from deshpc.data.conversion import convert_parts
from deshpc.data.input import open_input
from deshpc.data.norms import normalise
from deshpc.errors import ConfigError
from deshpc.serve.encoder import Encoder
from deshpc.serve.exported import read_model

CROSSES = [{"fields": ["site", "price"]}, {"fields": ["tags", "history", "hour"], "name": "three"}]
K = 4


def norms_of(samples):
    """(n) float64: the root of the sum of squares of each sample's values for embeddings, and of its dense features."""
    x = samples.values.reshape(len(samples.keys), -1)[:, 0].astype(np.float64)
    own = [x[begin:end] @ x[begin:end] for begin, end in zip(samples.offsets[:-1], samples.offsets[1:], strict=True)]
    return np.sqrt(np.array(own) + (samples.dense.astype(np.float64) ** 2).sum(axis=1))


def test_values_are_divided_by_the_norm_in_text_caches_and_the_encoder(tmp_path):
    tree = every_kind.tree(tmp_path, data={"crosses": CROSSES})
    plain = open_input(build(tree).data).load("train")
    tree["data"]["normalise_samples"] = True
    config = build(tree)
    source = open_input(config.data)
    samples, norms = source.load("train"), norms_of(plain)
    assert norms.std() > 0.1 and plain.values.shape[1] == 2
    of_each = np.repeat(norms, np.diff(plain.offsets))
    np.testing.assert_allclose(samples.values, plain.values / of_each[:, None], rtol=2e-7)
    np.testing.assert_allclose(samples.dense, plain.dense / norms[:, None], rtol=2e-7)
    np.testing.assert_allclose(norms_of(samples), 1, rtol=1e-6)
    assert np.array_equal(samples.keys, plain.keys)
    list(convert_parts(config.data, tmp_path))
    cached = open_input(build({"data": {"format": "cache", "train": [str(tmp_path / "train.cache")]}}).data)
    assert cached.schema.normalise_samples
    (_, piece), = cached.blocks("train")
    rows, encoder = every_kind.make_rows(0, 400), Encoder(source.schema, source.transforms)
    encoded = encoder.encode(len(rows), [[row[field.name] for row in rows] for field in encoder.fields])
    for name in ("values", "dense"):
        assert np.array_equal(getattr(piece, name), getattr(samples, name))
    np.testing.assert_allclose(np.stack([encoded.x, encoded.xl], axis=1), samples.values, rtol=2e-7)
    np.testing.assert_allclose(encoded.dense, samples.dense, rtol=2e-7)


def pairs(row, rows):
    """The pairs of a row {field: {index: value}} by libffm's definition, in float64.  rows : {(field, index): (2, K)}"""
    x = [(int(field), rows[int(field), index], value) for field, values in row.items() for index, value in values.items() if (int(field), index) in rows]
    scale = 1 / sum(value**2 for values in row.values() for value in values.values())
    return scale * sum(
        (v[g] @ w[f]) * p * q for i, (f, v, p) in enumerate(x) for g, w, q in x[i + 1 :]
    )  # fmt: skip


def test_a_model_of_them_is_libffms_formula_in_training_predictor_and_onnx(tmp_path):
    """An index beyond those of training counts in the norm, as in libffm, and nowhere else."""
    pytest.importorskip("onnx")
    from onnxruntime import InferenceSession

    rng = np.random.default_rng(4)
    rows = [
        {"0": {int(i): float(x) for i, x in zip(rng.choice(9, rng.integers(1, 4), replace=False), rng.uniform(0.5, 3, 3), strict=False)},
         "1": {int(rng.integers(9)): float(rng.uniform(0.5, 3))}}
        for _ in range(120)
    ]  # fmt: skip
    test = [*rows[:20], {"0": {77: 2.0, 3: 1.0}, "1": {4: 1.5}}]
    for name, part in (("train", rows), ("test", test)):
        lines = (" ".join([str(i % 2), *(f"{field}:{one}:{x:.9g}" for field, values in row.items() for one, x in values.items())]) for i, row in enumerate(part))
        (tmp_path / f"{name}.ffm").write_text("\n".join(lines) + "\n")
    tree = {
        "data": {"format": "libffm", "libffm_fields": 2, "normalise_samples": True, **{one: [str(tmp_path / f"{one}.ffm")] for one in ("train", "test")}},
        "model": {"name": "ffm", "dim": K, "linear": False, "init_std": 0.3}, "optimizer": {"learning_rate": 0.5},
        "train": {"precision": "float64", "global_batch_samples": 40}, "compute": {"threads_per_rank": 1}, "run": {"directory": str(tmp_path / "run")},
    }  # fmt: skip
    deshpc.train(tree)
    deshpc.export(tmp_path / "run", tmp_path / "model", onnx=tmp_path / "out.onnx")
    model = read_model(tmp_path / "model")
    of_key = {key: one.reshape(2, K) for key, one in zip(model.rows.keys.tolist(), model.rows.embeddings, strict=True)}
    fields = [{"name": "0", "kind": "multi"}, {"name": "1", "kind": "multi"}]
    of_index = {(f, i): of_key[key] for f in (0, 1) for i in range(9) if (key := every_kind.plain_key(str(f), str(i), fields)) in of_key}
    expected = 1 / (1 + np.exp(-np.array([model.dense["bias"] + pairs(row, of_index) for row in test])))
    predictor = deshpc.Predictor(tmp_path / "model")
    assert expected.std() > 0.01
    np.testing.assert_allclose(predictor.predict(test), expected, atol=1e-7)
    pooled = {name: array.astype(np.float32) for name, array in predictor.pooled(test).items()}
    (found,) = InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"]).run(["probability"], pooled)
    np.testing.assert_allclose(np.ravel(found), expected, atol=1e-5)
    assert "divided by their norm" in inspect(tmp_path / "model") and "divided by their norm" in inspect(tmp_path / "run" / "model")
    labels = np.arange(len(test)) % 2
    loss = -np.log(np.where(labels == 1, expected, 1 - expected)).mean()
    assert deshpc.evaluate(tmp_path / "run").log_loss == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("shape", [(0,), (0, 2)])
def test_samples_without_keys_have_the_norm_of_their_dense_features(shape):
    """Such as a share of a few rows that gets none, and rows of empty lists."""
    dense = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    normalise(np.zeros(3, np.int64), np.zeros(shape, np.float32), dense)
    assert dense.tolist() == [[np.float32(0.6), np.float32(0.8)], [0.0, 0.0]]
    normalise(np.zeros(1, np.int64), np.zeros(shape, np.float32), np.zeros((0, 0), np.float32))


@pytest.mark.parametrize("data, words", [
    ({"format": "synthetic"}, "generated samples are those of their true model"),
    ({"format": "cache", "train": ["x"]}, "convert the rows again with it"),
])  # fmt: skip
def test_where_it_cannot_be_is_said(data, words):
    with pytest.raises(ConfigError, match=words):
        build({"data": {**data, "normalise_samples": True}})
