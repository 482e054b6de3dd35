"""`deshpc train`, `predict` and `export` as real processes on one and two ranks, against the predictor on the same rows."""

import csv

import numpy as np
import pytest
from every_kind import NAMES, make_rows, tree, write_csv
from launching import MPIEXEC, deshpc

import deshpc as package
from deshpc.cli.toml import to_toml


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    (folder / "run.toml").write_text(to_toml(tree(folder)), encoding="utf-8")
    done = deshpc("train", "run.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_predict_and_export_agree(folder):
    rows = make_rows(9, 70)
    write_csv(folder / "new 1.csv", rows, NAMES)
    done = deshpc(
        "predict", "run", "--out", "scores.csv.gz", "--data", "new 1.csv", "--no-label", cwd=folder,
        ranks=2 if MPIEXEC.exists() else 1,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "", done.stderr
    done = deshpc("predict", "run", "--out", "scores.csv", "--data", "new*.csv", "--no-label", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = deshpc("export", "run", "--out", "out.model", "--onnx", "out.onnx", cwd=folder)
    assert done.returncode == 0 and done.stdout.startswith("out.model: fm model of 14 steps, "), done.stderr
    assert (folder / "out.onnx").exists()
    with open(folder / "scores.csv", encoding="utf-8", newline="") as file:
        expected = [float(row["score"]) for row in csv.DictReader(file)]
    found = package.Predictor(folder / "out.model").predict([{name: row[name] for name in NAMES} for row in rows])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    two = np.loadtxt(folder / "scores.csv.gz", delimiter=",", skiprows=1)
    assert two[:, 0].tolist() == list(range(70))
    np.testing.assert_allclose(two[:, 1], expected, rtol=0, atol=1e-6)


def test_mistakes(folder):
    done = deshpc("predict", "run", "--out", "scores.xlsx", cwd=folder)
    assert done.returncode == 2 and "must end in" in done.stderr and "Traceback" not in done.stderr
    done = deshpc("export", "nothing", "--out", "x.model", cwd=folder)
    assert done.returncode == 3 and "no saved model" in done.stderr and "Traceback" not in done.stderr
