"""Exported models of every kind of data against the scores of `deshpc predict`, which the compiled model gives, to 1e-6."""

import csv
import random
import subprocess
import sys

import numpy as np
import pytest
from every_kind import make_rows, tree
from launching import TIMEOUT_S

import deshpc
from deshpc.config.load import build
from deshpc.data.synthetic import draw
from deshpc.errors import DataError
from deshpc.serve.export import export
from deshpc.serve.exported import read_model
from deshpc.training.predict import predict


@pytest.fixture(scope="module")
def comm():
    from mpi4py import MPI

    return MPI.COMM_SELF


def scores(path):
    """(n) float64 of a file that `deshpc predict` has written."""
    with open(path, encoding="utf-8", newline="") as file:
        return np.array([float(row["score"]) for row in csv.DictReader(file)])


def trained(comm, folder, tree):
    """Train; the run's scores of its test part, and the exported model's path."""
    deshpc.train(build(tree), comm)
    run = tree["run"]["directory"]
    predict(run, str(folder / "scores.csv"), comm)
    export(run, str(folder / "out.model"))
    return scores(folder / "scores.csv"), folder / "out.model"


def assert_same(path, rows, expected):
    found = deshpc.Predictor(path).predict(rows)
    assert len(found) == len(expected) and np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "precision"), [("fm", "float32"), ("lr", "float64")])
def test_fields_of_every_kind(comm, tmp_path, name, precision):
    expected, path = trained(comm, tmp_path, tree(tmp_path, name, train={"precision": precision}))
    assert_same(path, make_rows(1, 150), expected)
    assert read_model(path).rows.weights.dtype == precision


def test_rows_that_ftrl_made_zero_are_left_out(comm, tmp_path):
    config = tree(tmp_path, "lr", train={"precision": "float64"}, optimizer={"name": "ftrl", "learning_rate": 0.5, "l1": 1.0})
    expected, path = trained(comm, tmp_path, config)
    model = read_model(path)
    full = deshpc.train(build({**config, "run": {"directory": str(tmp_path / "again")}}), comm).rows
    assert 0 < len(model.rows.keys) < full and model.rows.weights.all()
    assert_same(path, make_rows(1, 150), expected)


@pytest.mark.thorough(1)
@pytest.mark.parametrize(
    ("profile", "name", "rate"), [("small", "fm", 0.1), ("history", "fm", 0.003), ("history", "dcn", 0.02)]
)  # of 12 and a thousand keys a sample
def test_generated_samples(comm, tmp_path, profile, name, rate):
    rows = {"train_rows": 300, "test_rows": 40}
    config = tree(tmp_path, name, optimizer={"learning_rate": rate})
    config["model"] |= {"init_std": 0.01, "hidden": [8]}
    config["data"] = {"format": "synthetic", "synthetic": {"profile": profile, **rows}}
    expected, path = trained(comm, tmp_path, config)
    raw, predictor = draw(build(config).data.synthetic, "test", 0, 40), deshpc.Predictor(path)
    names = [field.name for field in predictor.model.schema.key_fields]
    samples = []
    for i in range(40):
        sample = {f"d{j}": float(x) for j, x in enumerate(raw.dense[i])}
        for j in range(raw.offsets[i], raw.offsets[i + 1]):
            name = names[raw.fields[j]]
            if raw.values is None:
                sample[name] = int(raw.ids[j])
            else:
                sample.setdefault(name, []).append((int(raw.ids[j]), float(raw.values[j])))
        if raw.values is not None:  # one-hot fields have the weight 1 alone
            sample = {name: v[0][0] if name in names[:8] else v for name, v in sample.items()}
        samples.append(sample)
    assert_same(path, samples, expected)


def lines_of(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_criteo(comm, tmp_path):
    chance = random.Random(3)
    names = [f"I{i + 1}" for i in range(13)] + [f"C{i + 1}" for i in range(26)]

    def row():
        numbers = ["" if chance.random() < 0.2 else str(chance.randrange(-2, 500)) for _ in range(13)]
        return numbers + ["" if chance.random() < 0.2 else f"{chance.randrange(40):08x}" for _ in range(26)]

    rows = [row() for _ in range(300)]
    config = tree(tmp_path)
    config["data"] = {
        "format": "criteo", "criteo_numeric": "bucket",
        "train": lines_of(tmp_path / "train.txt", ("\t".join([str(int(r[13] > "00000010")), *r]) for r in rows[:250])),
        "test": lines_of(tmp_path / "test.txt", ("\t".join(["0", *r]) for r in rows[250:])),
    }  # fmt: skip
    expected, path = trained(comm, tmp_path, config)
    assert_same(path, [dict(zip(names, r, strict=True)) for r in rows[250:]], expected)


@pytest.mark.parametrize(("name", "model"), [("libsvm", "fm"), ("libffm", "fm"), ("libffm", "deepfm")])
def test_libsvm_and_libffm(comm, tmp_path, name, model):
    chance = random.Random(4)
    rows = [{chance.randrange(60): round(chance.gauss(0, 1), 3) for _ in range(chance.randrange(9))} for _ in range(300)]

    def line(row, label):
        prefix = {"libsvm": "", "libffm": "{}:"}[name]
        return " ".join([str(label), *(prefix.format(index % 3) + f"{index}:{value}" for index, value in row.items())])

    config = tree(tmp_path, model)
    config["data"] = {
        "format": name,
        "train": lines_of(tmp_path / "train.txt", (line(r, int(sum(r) % 60 > 30)) for r in rows[:250])),
        "test": lines_of(tmp_path / "test.txt", (line(r, 1) for r in rows[250:])),
        **({"libffm_fields": 3} if name == "libffm" else {}),
    }  # fmt: skip
    expected, path = trained(comm, tmp_path, config)
    if name == "libsvm":
        samples = [{"feature": row} for row in rows[250:]]
    else:
        samples = [{str(f): {i: x for i, x in row.items() if i % 3 == f} for f in range(3)} for row in rows[250:]]
    assert_same(path, samples, expected)


def test_export_needs_neither_mpi_nor_compiler(comm, tmp_path):
    expected, _ = trained(comm, tmp_path, tree(tmp_path))
    code = """
import sys
class Blocked:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("numba", "mpi4py", "llvmlite"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked)
from deshpc.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    for source in (tmp_path / "run", tmp_path / "run" / "model"):
        command = [sys.executable, "-c", code, "export", str(source), "--out", str(tmp_path / "x.model")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0 and "fm model of 14 steps" in done.stdout, done.stderr
        assert_same(tmp_path / "x.model", make_rows(1, 150), expected)


def test_a_model_that_cannot_be_read_or_written(comm, tmp_path):
    with pytest.raises(DataError, match="no saved model"):
        export(tmp_path, tmp_path / "x.model")
    trained(comm, tmp_path, tree(tmp_path))
    with pytest.raises(DataError, match="cannot be written"):
        export(tmp_path / "run", tmp_path / "none" / "x.model")
    rows = next((tmp_path / "run" / "model").glob("rank-*.rows"))
    data = bytearray(rows.read_bytes())
    data[200] ^= 1
    rows.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        export(tmp_path / "run", tmp_path / "y.model")
    assert not list(tmp_path.glob("y.model*"))


def test_a_cache_is_scored_as_its_rows_are(comm, tmp_path):
    from deshpc.cli.convert import convert
    from deshpc.cli.toml import to_toml
    from deshpc.config.load import load

    config = tree(tmp_path)
    (tmp_path / "rows.toml").write_text(to_toml({**config, "data": config["data"]}), encoding="utf-8")
    convert(str(tmp_path / "rows.toml"), str(tmp_path / "cache"), [])
    cached = load(tmp_path / "cache" / "config.toml")
    deshpc.train(cached, comm)
    predict(cached.run.directory, str(tmp_path / "scores.csv"), comm)
    export(cached.run.directory, str(tmp_path / "out.model"))
    assert_same(tmp_path / "out.model", make_rows(1, 150), scores(tmp_path / "scores.csv"))
