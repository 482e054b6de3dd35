"""`deshpc predict` on any number of ranks, against the definition in plain Python with the trained rows; and every score
beside the row that it belongs to.
"""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from every_kind import NAMES, make_rows, plain_probability, tree, write_csv

import deshpc
from deshpc.checkpoint.load import dense_parameters, row_blocks
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.training.predict import predict

pytestmark = pytest.mark.mpi
DIM = 5


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(communicator, folder of the run and its data, function row of text -> probability by definition)."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    folder = Path(world.bcast(str(tmp_path_factory.mktemp("predict"))))
    config = tree(folder) if world.rank == 0 else None
    config = world.bcast(config)
    deshpc.train(build(config), world)
    model = folder / "run" / "model"
    manifest = read_manifest(model)
    rows = {}
    for block in row_blocks(model, manifest):
        rows |= {key: (row[0], row[1 : 1 + DIM]) for key, row in zip(block.keys.tolist(), block.numbers, strict=True)}
    dense = dense_parameters(model, manifest)
    dense = {"bias": dense["bias"], "weights": dense["fm.weights"], "factors": dense["fm.factors"]}
    return world, folder, lambda row: plain_probability(row, rows, dense, manifest["source"])


def first(world, task):
    """Let rank 0 do something before all go on."""
    if world.rank == 0:
        task()
    world.Barrier()


def read(path):
    """Lines of a file of scores."""
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores(path):
    return [float(line["score"]) for line in read(path)]


@pytest.mark.parametrize(
    "options",
    [
        (), ("train.exchange=reduce_scatter", "train.global_batch_samples=7"), ("train.exchange=rows",),
        ("train.routing=broadcast", "train.global_batch_samples=1000"), ("train.split=field", "train.exchange=reduce_scatter"),
        ("train.split=column", "train.routing=broadcast"),
    ],
)  # fmt: skip
def test_equals_the_definition(trained, options):
    world, folder, definition = trained
    out = folder / "scores.csv"
    assert predict(folder / "run", str(out), world, options) == 0
    lines = read(out)
    assert [int(line["row"]) for line in lines] == list(range(150))
    expected = [definition(row) for row in make_rows(1, 150)]
    np.testing.assert_allclose([float(line["score"]) for line in lines], expected, rtol=0, atol=1e-6)
    assert not list(folder.glob("*.partial"))


def test_another_part_and_another_model_folder(trained):
    world, folder, definition = trained
    predict(folder / "run" / "model", str(folder / "train.scores.csv"), world, part="train")
    expected = [definition(row) for row in make_rows(0, 400)]
    np.testing.assert_allclose(scores(folder / "train.scores.csv"), expected, rtol=0, atol=1e-6)


def test_rows_without_label_block_by_block(trained, monkeypatch):
    world, folder, definition = trained
    monkeypatch.setattr("deshpc.training.row_stream._BLOCK_ROWS", 1)  # a block of the reader at a time
    monkeypatch.setattr("deshpc.formats.text._BLOCK_ROWS", 37)
    rows = make_rows(3, 120)
    first(world, lambda: write_csv(folder / "new.csv", rows, NAMES))
    predict(folder / "run", str(folder / "new.scores.csv"), world, data=[str(folder / "new.csv")], label=False)
    np.testing.assert_allclose(scores(folder / "new.scores.csv"), list(map(definition, rows)), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="click"):
        predict(folder / "run", str(folder / "x.csv"), world, data=[str(folder / "new.csv")])
    assert not list(folder.glob("x.csv*"))


@pytest.mark.parametrize("block_rows", [1, 65_536])
def test_rows_that_cannot_be_read_have_an_empty_score(trained, monkeypatch, capfd, block_rows):
    world, folder, definition = trained
    monkeypatch.setattr("deshpc.training.row_stream._BLOCK_ROWS", block_rows)
    monkeypatch.setattr("deshpc.formats.text._BLOCK_ROWS", 5)
    bad = {"a": {0, 1, 7, 8, 20, 39}, "b": set(range(9)), "c": set()}
    files = {name: make_rows(seed, count) for seed, (name, count) in enumerate([("a", 40), ("b", 9), ("c", 12)])}

    def write():
        for name, rows in files.items():
            rows = [{**row, "age": "old"} if i in bad[name] else row for i, row in enumerate(rows)]
            write_csv(folder / f"{name}.csv", rows)

    first(world, write)
    paths, out = [str(folder / f"{name}.csv") for name in files], folder / "some.scores.csv"
    predict(folder / "run", str(out), world, ["data.on_bad_row=skip"], data=paths)
    lines = read(out)
    assert [(Path(line["file"]).stem, int(line["row"])) for line in lines] == [
        (name, i) for name, rows in files.items() for i in range(len(rows))
    ]
    for line in lines:
        name, row = Path(line["file"]).stem, int(line["row"])
        if row in bad[name]:
            assert line["score"] == ""
        else:
            assert float(line["score"]) == pytest.approx(definition(files[name][row]), abs=1e-6)
    if world.rank == 0:
        assert "15 rows have no score" in capfd.readouterr().err
    with pytest.raises(DataError, match="field 'age'"):
        predict(folder / "run", str(folder / "y.csv"), world, data=paths)
    with pytest.raises(DataError, match="no row that can be read"):
        predict(folder / "run", str(folder / "y.csv"), world, ["data.on_bad_row=skip"], data=[str(folder / "b.csv")])
    assert not list(folder.glob("y.csv*"))


@pytest.mark.parametrize("suffix", ["csv.gz", "parquet"])
def test_other_files_hold_the_same(trained, suffix):
    world, folder, _ = trained
    data = [str(folder / "test.csv"), str(folder / "train.csv")]
    predict(folder / "run", str(folder / "both.csv"), world, data=data)
    predict(folder / "run", str(folder / f"both.{suffix}"), world, data=data)
    expected = [(line["file"], int(line["row"]), float(line["score"])) for line in read(folder / "both.csv")]
    if suffix == "csv.gz":
        found = [(line["file"], int(line["row"]), float(line["score"])) for line in read(folder / "both.csv.gz")]
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(folder / "both.parquet")
        found = list(zip(*(table[name].to_pylist() for name in ("file", "row", "score")), strict=True))
    assert found == expected and len(found) == 550


def test_generated_samples_and_evaluation_agree(trained):
    world, folder, _ = trained
    data = {"format": "synthetic", "synthetic": {"train_rows": 500, "test_rows": 300}}
    config = build({"data": data, "train": {"global_batch_samples": 50}, "compute": {"threads_per_rank": 1},
                    "model": {"dim": DIM}, "run": {"directory": str(folder / "generated")}})  # fmt: skip
    deshpc.train(config, world)
    predict(folder / "generated", str(folder / "generated.csv"), world)
    p = np.array(scores(folder / "generated.csv"))
    metrics = deshpc.evaluate(folder / "generated", world)
    assert len(p) == metrics.rows == 300
    assert p.sum() / metrics.positives == pytest.approx(metrics.calibration, rel=1e-6)
    with pytest.raises(ConfigError, match="--part"):
        predict(folder / "generated", str(folder / "z.csv"), world, data=["rows.csv"])


def test_errors(trained):
    world, folder, _ = trained
    with pytest.raises(ConfigError, match="must end in one of .csv, .csv.gz, .parquet"):
        predict(folder / "run", str(folder / "scores.txt"), world)
    with pytest.raises(DataError, match="no such file"):
        predict(folder / "run", str(folder / "z.csv"), world, data=[str(folder / "none.csv")])
    with pytest.raises(DataError, match="cannot be written"):
        predict(folder / "run", str(folder / "none" / "z.csv"), world)
    with pytest.raises(ConfigError, match="data.valid"):
        predict(folder / "run", str(folder / "z.csv"), world, part="valid")
    with pytest.raises(DataError, match="no saved model"):
        predict(folder, str(folder / "z.csv"), world)
