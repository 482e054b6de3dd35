"""Tables in the place of files: the model that training from a Parquet file with the same columns makes, to the bit."""

import json
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.parquet as pq
import pytest
from every_kind import FIELDS, make_rows, tree
from mpi4py import MPI

from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError, LaunchError
from deshpc.formats.table import digest
from deshpc.serve.export import export
from deshpc.training.api import evaluate, train

NUMBERS = [field["name"] for field in FIELDS if field.get("kind") in ("dense", "bucket")]


def arrow_of(rows):
    """Rows of text as a table whose columns have the types that somebody would give them."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name in NUMBERS:
        columns[name] = [float(cell) if cell else None for cell in columns[name]]
    lists = [[tag for tag in cell.split("|") if tag] for cell in columns["tags"]]
    numbers = {name: [int(cell) for cell in columns[name]] for name in ("click", "hour")}
    return pa.table({**columns, **numbers, "tags": lists, "not_read": [{"a": i} for i in range(len(rows))]})


TRAIN, TEST = arrow_of(make_rows(0, 400)), arrow_of(make_rows(1, 150))


class Stream:
    """Anything that hands out a stream of Arrow's."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


FORMS = {
    "pandas": lambda table: table.to_pandas(),
    "pandas, categories": lambda table: table.to_pandas().astype({"site": "category", "hour": "category"}),
    "polars": lambda table: pl.from_arrow(table),
    "chunks": lambda table: pa.concat_tables([table[:7], table[7:100], table[100:]]),
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "stream": Stream,
    "stream that is read once": lambda table: table.to_reader(50),
    "data set": lambda table: dataset.dataset(table),
    "columns": lambda table: {name: np.array(table[name]) if name in NUMBERS else table[name].to_pylist() for name in table.column_names},
}


def settings(folder, **data):
    """A configuration without files, as nested dictionaries."""
    whole = tree(folder)
    return {**whole, "data": {"label": "click", "fields": FIELDS, **data}}


def exported(folder):
    """The bytes of the model of a run."""
    export(folder / "run", folder / "exported")
    return (folder / "exported").read_bytes()


@pytest.fixture(scope="module")
def of_parquet(tmp_path_factory):
    """(folder, metrics, exported model) of a run whose rows come from Parquet files."""
    folder = tmp_path_factory.mktemp("parquet")
    for part, table in (("train", TRAIN), ("test", TEST)):
        pq.write_table(table, folder / part)
    config = settings(folder, format="parquet", train=str(folder / "train"), test=str(folder / "test"))
    found = train(config, MPI.COMM_SELF)
    return folder, found.test, exported(folder)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_model_as_from_a_file(tmp_path, of_parquet, form):
    _, metrics, model = of_parquet
    found = train(settings(tmp_path), MPI.COMM_SELF, train=FORMS[form](TRAIN), test=FORMS[form](TEST))
    assert found.test == metrics and exported(tmp_path) == model
    assert evaluate(tmp_path / "run", MPI.COMM_SELF, data=FORMS[form](TEST)) == metrics


def test_config_in_every_form(tmp_path, of_parquet):
    folder, metrics, _ = of_parquet
    config = build(json.loads(json.dumps(settings(folder, format="csv", delimiter=";", train=["absent.csv"]))))
    assert train(config, MPI.COMM_SELF, [f"run.directory={tmp_path / 'a'}"], train=TRAIN, test=TEST).test == metrics
    (tmp_path / "c.toml").write_text(
        '[data]\nlabel = "click"\nfields = [{name = "site"}, {name = "age", kind = "dense"}]\n[model]\nname = "lr"\n'
    )
    found = train(tmp_path / "c.toml", MPI.COMM_SELF, [f"run.directory={tmp_path / 'b'}"], train=TRAIN)
    assert found.rows == len({*TRAIN["site"].to_pylist()})


def test_models_of_files_are_evaluated_on_tables_and_the_reverse(tmp_path, of_parquet):
    folder, metrics, _ = of_parquet
    assert evaluate(folder / "run", MPI.COMM_SELF, data=TEST.to_pandas()) == metrics
    train(settings(tmp_path), MPI.COMM_SELF, train=TRAIN)
    assert evaluate(tmp_path / "run", MPI.COMM_SELF, ["data.format=parquet"], data=[str(folder / "test")]) == metrics
    for part in ("test", "train"):
        with pytest.raises(ConfigError, match="rows come from Python.*no file keeps them.*--set data.format=csv --data FILE"):
            evaluate(tmp_path / "run", MPI.COMM_SELF, part=part)


def test_bad_rows_are_those_of_a_file(tmp_path):
    spoilt = TEST.to_pandas()
    spoilt.loc[[3, 70], "click"] = 5
    with pytest.raises(DataError, match=re.escape("test, row 3 (from 0), field 'click': '5' is not 0 or 1")):
        train(settings(tmp_path), MPI.COMM_SELF, train=TRAIN, test=spoilt)
    found = train(settings(tmp_path, on_bad_row="skip"), MPI.COMM_SELF, train=TRAIN, test=spoilt)
    assert found.test.rows == 148


def test_labels_and_missing_cells_are_those_of_the_configuration(tmp_path):
    sites = [*["a", "NA", "b", ""] * 5]
    config = settings(tmp_path, positive="yes", missing=["NA"], label="bought", fields=[{"name": "site"}])
    own, other = ({"site": sites, "bought": labels} for labels in (["yes", "never"] * 10, ["yes"] * 20))
    found = train(config, MPI.COMM_SELF, train=own, test=other)
    assert (found.rows, found.test.positives) == (3, 20)  # a, b and the empty value


@pytest.mark.parametrize("given, error, words", [
    ({"train": "rows.csv"}, ConfigError, "train: a str is no table; expected a table of pandas, polars"),
    ({"train": TRAIN.drop(["age"])}, DataError, "train, field 'age': no such column"),
    ({"train": TRAIN[:0]}, DataError, "no rows in the table train"),
    ({"train": {"site": np.zeros((2, 2))}}, DataError, "'site' has 2 dimensions; expected 1"),
    ({"train": {"site": ["a"], "age": [1, 2]}}, DataError, "train: cannot be read as a table"),
    ({"valid": TRAIN}, ConfigError, "training needs data.train"),
])  # fmt: skip
def test_what_is_no_table(tmp_path, given, error, words):
    with pytest.raises(error, match=words):
        train(settings(tmp_path), MPI.COMM_SELF, **given)


def test_weights_and_names_of_slices_come_from_tables_too(tmp_path):
    rows = make_rows(0, 200)
    sites, weights = ["ab"[i % 2] for i in range(200)], np.arange(200) % 3 * 1.0
    config = {**settings(tmp_path, weight="counts", fields=[{"name": "site"}]), "metrics": {"slices": [{"field": "site"}]}}
    table = {"site": sites, "click": [int(row["click"]) for row in rows], "counts": weights, "other": ["x"] * 200}
    found = train(config, MPI.COMM_SELF, train=table, test=table).test
    assert found.weight == weights.sum() and sorted(one.value for one in found.slices) == ["a", "b"]
    assert evaluate(tmp_path / "run", MPI.COMM_SELF, data=table) == found
    with pytest.raises(DataError, match="train, field 'counts': no such column"):
        train(config, MPI.COMM_SELF, overwrite=True, train={"site": sites, "click": table["click"]})


def test_a_part_that_has_files_beside_one_that_is_a_table(tmp_path):
    with pytest.raises(ConfigError, match="data.test names files, and train is a table: pass test as a table, too, or leave data.test out"):
        train(tree(tmp_path), MPI.COMM_SELF, train=TRAIN)


def test_it_goes_on_from_a_checkpoint(tmp_path, of_parquet):
    _, metrics, model = of_parquet
    given = settings(tmp_path)
    train({**given, "checkpoint": {"every_steps": 3}}, MPI.COMM_SELF, ["train.epochs=1"], train=TRAIN)
    found = train(given, MPI.COMM_SELF, resume=True, train=TRAIN, test=TEST)
    assert found.resumed_from == 6 and found.test == metrics and exported(tmp_path) == model
    with pytest.raises(DataError, match="has 399 rows; the checkpoint .* was made with 400"):
        train({**given, "train": {**given["train"], "epochs": 3}}, MPI.COMM_SELF, resume=True, train=TRAIN[1:], test=TEST)


def test_fields_are_inferred_as_init_does(tmp_path, capfd):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({
        "id": range(3000), "user_id": rng.integers(0, 900, 3000), "size": rng.choice(["S", "M"], 3000), "price": rng.random(3000),
        "age": rng.integers(18, 80, 3000), "day": pd.Categorical(rng.integers(0, 40, 3000)),
        "tags": [["a", "b"][: i % 3] for i in range(3000)], "bought": rng.random(3000) < 0.3,
    })  # fmt: skip
    found = train({"model": {"name": "lr"}, "run": {"directory": str(tmp_path)}}, MPI.COMM_SELF, train=frame)
    record = json.loads((tmp_path / "record.jsonl").read_text().splitlines()[0])["config"]
    kinds = {one["name"]: one["kind"] for one in record["data"]["fields"]}
    assert kinds == {
        "user_id": "categorical", "size": "categorical", "price": "dense", "age": "bucket", "day": "categorical", "tags": "multi",
    }  # fmt: skip
    assert record["data"]["label"] == "bought" and record["data"]["train"] == ["a pandas DataFrame, 3,000 rows"]
    assert found.steps == -(-3000 // 64) == 47
    again = {"model": {"name": "lr"}, "run": {"directory": str(tmp_path / "again")}}
    assert train(again, MPI.COMM_SELF, train=pa.Table.from_pandas(frame).to_reader()).rows == found.rows
    notes = capfd.readouterr().err
    assert "label bought (by its name), user_id categorical" in notes and "left out: id (every row has another one" in notes
    assert "train.global_batch_samples: 64, as there are 3,000 rows" in notes


def test_a_digest_is_of_the_values_alone():
    kinds = {"f": pa.float32(), "s": pa.string(), "l": pa.list_(pa.int64()), "c": pa.dictionary(pa.int8(), pa.string()), "b": pa.bool_()}
    values = {"f": [1.5, None, 0.0], "s": ["a", None, "bc"], "l": [[1], None, [2, 3]], "c": ["x", None, "x"], "b": [True, None, False]}
    one = pa.table({name: pa.array(values[name], kind) for name, kind in kinds.items()})
    later = pa.concat_tables([one, one]).combine_chunks()[3:]
    pieces = pa.concat_tables([one[:1], one[1:]])
    assert digest(one) == digest(later) == digest(pieces)
    others = [one.set_column(i, one.field(i), one.column(i).take([0, 1, 0])) for i in range(5)]
    assert len({digest(one), *map(digest, others), digest(one[:2])}) == 6  # the third category is the first


@pytest.mark.mpi
def test_every_rank_has_the_same_tables(world, tmp_path, of_parquet):
    folder = world.bcast(tmp_path)
    config = world.bcast(settings(folder))
    if world.size > 1:
        spoilt = TRAIN.set_column(0, "site", pa.array(["other", *TRAIN["site"].to_pylist()[1:]])) if world.rank == 1 else TRAIN
        with pytest.raises(LaunchError, match="the ranks differ: tables.train.digest of rows and columns is"):
            train(config, world, train=spoilt)
        with pytest.raises(LaunchError, match="the ranks differ: tables.train.rows is"):
            train(config, world, train=TRAIN[world.rank == 1 :])
    found = train(config, world, train=TRAIN, test=TEST)
    assert found.test.rows == 150 and found.test.log_loss == pytest.approx(of_parquet[1].log_loss, rel=1e-5)
    assert evaluate(folder / "run", world, data=TEST) == found.test
