"""Columns that `deshpc predict --keep` carries along, against the files as Python's own readers see them, on any number of ranks."""

import csv
import gzip
import os
from pathlib import Path

import pytest

import deshpc
from deshpc.cli.main import main
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.training.predict import predict

pytestmark = pytest.mark.mpi
KEEP = ("id", "site", "note")


def rows_of(count, bad=()):
    """Rows whose ids, notes and sites are awkward; `bad` ones have a price that is none."""
    notes = ["", "a,b", 'say "x"', "two\nlines", "Ü\u20ac", " plain "]
    return [
        {"id": f"{i:07d}", "site": f"s{i % 7}", "price": "dear" if i in bad else f"{i % 5}.5", "note": notes[i % 6], "label": str(i * i % 3 % 2)}
        for i in range(count)
    ]


def write(path, rows, **how):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), **how)
        writer.writeheader()
        writer.writerows(rows)


def read(path):
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(communicator, folder with a model and files)."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    folder = Path(world.bcast(str(tmp_path_factory.mktemp("keep"))))
    if world.rank == 0:
        write(folder / "train.csv", rows_of(90))
        write(folder / "a.csv", rows_of(43, bad={0, 5, 6, 42}))
        write(folder / "b.csv", rows_of(11))
        with open(folder / "a.csv", "a", encoding="utf-8") as file:
            file.write("0000099,s1\n0000043,s1,2.5,last,1\n")  # the first has too few cells to be told apart
    world.Barrier()
    data = {"train": str(folder / "train.csv"), "fields": [{"name": "site"}, {"name": "price", "kind": "dense"}]}
    deshpc.train(build({"data": data, "model": {"name": "lr"}, "run": {"directory": str(folder / "run")}}), world)
    return world, folder


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_cells_stand_beside_their_rows(run, monkeypatch, suffix):
    world, folder = run
    monkeypatch.setattr("deshpc.training.row_stream._BLOCK_ROWS", 10)
    monkeypatch.setattr("deshpc.formats.text._BLOCK_ROWS", 4)
    out = folder / f"scores.{suffix}"
    predict(folder / "run", str(out), world, ["data.on_bad_row=skip"], data=[str(folder / f"{one}.csv") for one in "ab"], keep=KEEP)
    if suffix == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(out)
        assert [str(table.schema.field(name).type) for name in KEEP] == ["string"] * 3
        found = table.to_pylist()
        assert found[43]["note"] is None
    else:
        found = read(out)
        assert list(found[0]) == ["file", "row", *KEEP, "score"]
    nothing = {"id": "", "site": "", "note": ""}
    wanted = [*rows_of(43), nothing, {"id": "0000043", "site": "s1", "note": "last"}, *rows_of(11)]
    assert [[line[name] or "" for name in KEEP] for line in found] == [[row[name] for name in KEEP] for row in wanted]
    empty = {int(line["row"]) for line in found[:45] if line["score"] in ("", None)}
    assert empty == {0, 5, 6, 42, 43} and all(line["score"] not in ("", None) for line in found[45:])


def test_parquet_keeps_its_types(run):
    world, folder = run
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder_of_day = folder / "hive" / "day=2024-01-05"
    values = {
        "id": pa.array([2**60, None, 3], pa.int64()), "tags": pa.array([["x", "y"], None, []], pa.list_(pa.string())),
        "when": pa.array([1, 2, None], pa.timestamp("ms")), "good": pa.array([True, False, None]),
    }  # fmt: skip
    if world.rank == 0:
        os.makedirs(folder_of_day, exist_ok=True)
        table = pa.table({"site": ["s1", "s2", "s1"], "price": [0.5, 1.5, 2.5], **values})
        parquet.write_table(table, folder_of_day / "rows.parquet")
    world.Barrier()
    options, keep = ["data.format=parquet"], [*values, "day"]
    predict(folder / "run", str(folder / "kept.parquet"), world, options, data=[str(folder / "hive")], label=False, keep=keep)
    found = parquet.read_table(folder / "kept.parquet")
    for name, array in values.items():
        assert found[name].to_pylist() == array.to_pylist()
    assert [str(found.schema.field(name).type) for name in ("id", "when", "good")] == ["int64", "timestamp[ms]", "bool"]
    assert found["day"].to_pylist() == ["2024-01-05"] * 3
    predict(folder / "run", str(folder / "kept.csv"), world, options, data=[str(folder / "hive")], label=False, keep=keep)
    lines = read(folder / "kept.csv")
    assert [line["tags"] for line in lines] == ['["x", "y"]', "", "[]"] and [line["good"] for line in lines] == ["true", "false", ""]
    assert [line["id"] for line in lines] == [str(2**60), "", "3"]


def test_what_cannot_be_kept(run):
    world, folder = run
    where = [str(folder / "b.csv")]
    with pytest.raises(DataError, match=r"--keep: .*b\.csv, line 1, field 'ide': no such column; did you mean 'id'"):
        predict(folder / "run", str(folder / "x.csv"), world, data=where, keep=["ide"])
    with pytest.raises(ConfigError, match="--keep score: a file of scores has a column 'score'"):
        predict(folder / "run", str(folder / "x.csv"), world, data=where, keep=["score"])
    with pytest.raises(ConfigError, match="--keep id: generated samples have no columns"):
        predict(folder / "run", str(folder / "x.csv"), world, ["data.format=synthetic", "data.fields=[]"], keep=["id"])
    assert not list(folder.glob("x.csv*"))


def test_names_on_the_command_line(run, capsys):
    world, folder = run
    if world.size > 1:
        return
    command = ["predict", str(folder / "run"), "--out", str(folder / "y.csv"), "--data", str(folder / "b.csv"), "--keep", "note,id", "--keep", "id"]
    assert main(command) == 0
    assert list(read(folder / "y.csv")[0]) == ["row", "note", "id", "score"]
