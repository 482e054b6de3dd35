"""Sequences and shared keys, from text, Parquet and tables in memory: against the definition of a key, and lists of Python."""

import numpy as np
import pytest

import deshpc
from deshpc.config import DataConfig, FieldConfig
from deshpc.config.load import build
from deshpc.data.samples import unfinished
from deshpc.data.statistics import SampleStatistics
from deshpc.errors import ConfigError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key
from deshpc.planner.workload import Workload

CELLS = ["a|b|c", "", "x", "c|c|a|b|d|", None]
VALUES = [["a", "b", "c"], [], ["x"], ["c", "c", "a", "b", "d"], []]
FIELDS = (
    FieldConfig("item"),
    FieldConfig("history", kind="sequence", share="item", length=3, recency=0.5),
    FieldConfig("first", kind="sequence", length=2, newest="first", recency=0.5, pooling="mean"),
)


def expected():
    """[[(key, field, weight)]] of each row, by definition."""
    rows = []
    for values in VALUES:
        newest, oldest = values[-3:], values[:2]
        rows.append([
            (key(0, "item", "b"), 0, 1.0),
            *((key(0, "item", text), 1, 0.5 ** (len(newest) - 1 - i)) for i, text in enumerate(newest)),
            *((key(2, "first", text), 2, 0.5**i / len(oldest)) for i, text in enumerate(oldest)),
        ])  # fmt: skip
    return rows


def samples(path, kind):
    reader = open_format(DataConfig(format=kind, fields=FIELDS), label=False)
    (block,) = reader.blocks([path], BadRows("error"))
    dataset = unfinished(block, reader.schema)
    triples = list(zip(dataset.keys.tolist(), dataset.fields.tolist(), dataset.values.tolist(), strict=True))
    return [triples[begin:end] for begin, end in zip(dataset.offsets, dataset.offsets[1:], strict=False)], dataset


@pytest.mark.parametrize("kind", ["csv", "parquet", "parquet of text"])
def test_the_newest_values_have_keys_of_the_field_that_is_shared(tmp_path, kind):
    if kind == "csv":
        lines = ["item,history,first", *(f"b,{cell or ''},{cell or ''}" for cell in CELLS)]
        (tmp_path / "rows").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        lists = CELLS if "text" in kind else [None if cell is None else cell.split("|") for cell in CELLS]
        parquet.write_table(arrow.table({"item": ["b"] * len(CELLS), "history": lists, "first": lists}), tmp_path / "rows")
    found, dataset = samples(tmp_path / "rows", kind.split()[0])
    assert found == expected()
    profile = SampleStatistics(Schema.of_fields(FIELDS, None))
    profile.add(dataset)
    tree = profile.to_json()
    assert [one["distinct_keys"] for one in tree["fields"]] == [1, 5, 4] and tree["distinct_keys"] == 5 + 4  # b is one row
    workload = Workload.from_profile({**tree, "dense": []}, 1, FIELDS)
    assert [one.keys_per_sample for one in workload.fields] == [1 + 7 / 5, 0.0, 1.0] and workload.keys_per_sample == 17 / 5


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_in_memory(library):
    """Lists of pandas and polars are those of a file: the same loss."""
    frame = pytest.importorskip(library).DataFrame({"item": ["a", "b"] * 20, "history": VALUES * 8, "click": [0, 1, 1, 0] * 10})
    texts = pytest.importorskip("pandas").DataFrame({"item": ["a", "b"] * 20, "history": ["|".join(one) for one in VALUES] * 8, "click": [0, 1, 1, 0] * 10})
    config = {
        "data": {"format": "table", "label": "click", "fields": [{"name": "item"}, {"name": "history", "kind": "sequence", "share": "item", "length": 2}]},
        "model": {"name": "fm", "dim": 3}, "train": {"global_batch_samples": 16}, "run": {"save_model": False},
    }  # fmt: skip
    losses = []
    from mpi4py import MPI

    for table in (frame, texts):
        losses.append(deshpc.train(config, MPI.COMM_SELF, train=table).rows)
    assert losses[0] == losses[1] == 5  # a, b, c, x, d


@pytest.mark.parametrize("fields, text", [
    ([{"name": "a", "share": "bb"}, {"name": "b"}], r"fields\[0\].share = 'bb' is no field of data.fields; did you mean 'b'"),
    ([{"name": "a", "share": "b"}, {"name": "b", "share": "c"}, {"name": "c"}], "the keys of that field are those of 'c'; give share = 'c'"),
    ([{"name": "a", "share": "a"}], "is the field itself; leave it out"),
    ([{"name": "a", "share": "b"}, {"name": "b", "kind": "dense"}], "'b' is of kind = 'dense', which has no keys of values"),
    ([{"name": "a", "share": "b", "kind": "bucket"}, {"name": "b"}], "'a' is of kind = 'bucket'"),
    ([{"name": "a", "kind": "sequence", "length": 0}], r"fields\[0\].length = 0 is too small"),
    ([{"name": "a", "kind": "multi", "length": 3}], "length belongs to kind = 'sequence', not 'multi'"),
    ([{"name": "a", "kind": "sequence", "weight_separator": ":"}], "weight_separator belongs to kind = 'multi', not 'sequence'"),
])  # fmt: skip
def test_bad_fields(fields, text):
    with pytest.raises(ConfigError, match=text):
        build({"data": {"train": ["x"], "fields": fields}})


def test_a_share_stands_with_the_data():
    with pytest.raises(ConfigError, match=r"model.fields\[0\].share is an option of data.fields: keys are made where rows are read"):
        build({"data": {"format": "synthetic"}, "model": {"fields": [{"name": "c1", "share": "c0"}]}})


def test_a_cache_says_whose_keys_a_field_has(tmp_path):
    """A stored key of another field than the one that is shared is damage."""
    from deshpc.data.soundness import require_sound
    from deshpc.errors import DataError

    (tmp_path / "rows").write_text("item,history,first\nb,a,c\n", encoding="utf-8")
    _, dataset = samples(tmp_path / "rows", "csv")
    schema = Schema.from_json(Schema.of_fields(FIELDS, None).to_json())
    require_sound(dataset, schema, None, str)
    dataset.keys[1] = key(1, "history", "a")
    with pytest.raises(DataError, match="is not a key of its field"):
        require_sound(dataset, schema, None, str)
    assert np.array_equal(schema.numbers_of_keys, [0, 0, 2])
