"""Weights of samples from a column to batches: text, Parquet and caches alike, against the numbers that were written."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from thread_workers import Threads

from deshpc.backend.cpu.buffers import Buffers
from deshpc.comm.shares import slice_of
from deshpc.config import DataConfig, FieldConfig
from deshpc.config.load import build
from deshpc.data import cache
from deshpc.data.class_weights import weighted_by_class
from deshpc.data.conversion import convert_parts
from deshpc.data.input import open_input
from deshpc.data.kept_rows import kept_rows
from deshpc.data.reader import Reader
from deshpc.errors import ConfigError, DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema

FIELDS = (FieldConfig("city"), FieldConfig("tags", "multi"), FieldConfig("price", "dense"))
ROWS, PIECE_ROWS = 500, 64
WEIGHTS = np.random.default_rng(1).choice([0.0, 1.0, 2.5, 1e-3, 70000.0], ROWS)
LABELS = np.random.default_rng(2).random(ROWS) < 0.3
FORMATS = ("csv", "parquet", "cache")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """{format: open_input of the same rows}"""
    folder = tmp_path_factory.mktemp("weights")
    columns = {
        "w": WEIGHTS.tolist(), "city": [f"c{i % 7}" for i in range(ROWS)], "tags": ["|".join("abc"[: i % 4]) for i in range(ROWS)],
        "label": LABELS.astype(int).tolist(), "price": [i * 0.25 for i in range(ROWS)],
    }  # fmt: skip
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    configs = {
        format: DataConfig(format=format, train=(str(folder / f"rows.{format}"),), weight="w", fields=FIELDS) for format in ("csv", "parquet")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "PIECE_ROWS", PIECE_ROWS)
        ((_, converted),) = convert_parts(configs["csv"], folder)
    configs["cache"] = DataConfig(format="cache", train=(str(converted.path),))
    return {format: open_input(config) for format, config in configs.items()}


def batches_of(dataset, shuffle=True, **options):
    """Batches of one epoch."""
    reader = Reader(dataset, 60, lambda total: (0, total), Buffers, 3, shuffle, 128, 4, valid=100, **options)
    return list(reader.epoch(0))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_batches_have_the_weights_of_their_rows(inputs, format, shuffle):
    """Also where a batch has rows of several pieces of a cache, and in a rank's share of a batch."""
    found = batches_of(inputs[format].load("train"), shuffle)
    for batch in found:
        assert batch.weights.dtype == np.float32
        np.testing.assert_array_equal(batch.weights, WEIGHTS[batch.samples].astype(np.float32))
        np.testing.assert_array_equal(batch.share(5, 9).weights, batch.weights[5:9])
    assert sorted(np.concatenate([batch.samples for batch in found])) == list(range(ROWS))


def test_without_the_option_there_are_no_weights(inputs):
    config = DataConfig(format="csv", train=inputs["csv"]._config.train, fields=FIELDS)
    dataset = open_input(config).load("train")
    assert dataset.weights is None and not dataset.has_weights and batches_of(dataset)[0].weights is None
    assert next(iter(open_format(inputs["csv"]._config, weight=False).blocks(config.train, BadRows("error")))).weights is None


def test_a_schema_with_weights_and_one_that_was_stored_before_there_were_any(inputs):
    for schema in (inputs["csv"].schema, Schema.of_fields(FIELDS, "label")):
        assert Schema.from_json(schema.to_json()) == schema
    assert set(Schema.of_fields(FIELDS, "label").to_json()) == {"fields", "label"}
    inputs["csv"].restore({**inputs["csv"].state(), "schema": Schema.of_fields(FIELDS, "label").to_json()})  # the model is of the same fields


BAD = ["", "-1", "-1e-9", "nan", "inf", "1e39", "x", "1 2"]


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize("bad", BAD)
def test_a_cell_that_is_no_weight_of_text(tmp_path, bad, policy):
    (tmp_path / "rows.csv").write_text(f"label,w,city\n1,0,a\n0,{bad},b\n1,-0.0,c\n0,3.4e38,d\n")
    reader = open_format(DataConfig(weight="w", fields=(FieldConfig("city"),), missing=("nan",)))
    bad_rows = BadRows(policy)
    said = f"{tmp_path / 'rows.csv'}, line 3, field 'w': {bad!r} is not a weight, a finite number of at least 0; where a row is not to count, give 0"
    if policy == "error":
        with pytest.raises(DataError) as raised:
            list(reader.blocks([tmp_path / "rows.csv"], bad_rows))
        assert str(raised.value) == said
    else:
        (columns,) = reader.blocks([tmp_path / "rows.csv"], bad_rows)
        assert columns.weights.tolist() == [0, 0, np.float32(3.4e38)] and bad_rows.examples == [said]


@pytest.mark.parametrize("array, wrong", [
    (pa.array([1, None, 3]), "None"), (pa.array([0.5, -2.0, 1.0]), "-2.0"), (pa.array([1.0, math.nan, 1.0]), "nan"),
    (pa.array([1, 1e39, 1.0]), "1e+39"),
])  # fmt: skip
def test_a_value_that_is_no_weight_of_parquet(tmp_path, array, wrong):
    pq.write_table(pa.table({"label": [0, 1, 0], "city": ["a", "b", "c"], "w": array}), tmp_path / "rows")
    reader = open_format(DataConfig(format="parquet", weight="w", fields=(FieldConfig("city"),)))
    with pytest.raises(DataError, match="not a weight, a finite number of at least 0") as raised:
        list(reader.blocks([tmp_path / "rows"], BadRows("error")))
    assert "row 1 (from 0), field 'w': " in str(raised.value) and wrong in str(raised.value)


def test_a_weight_of_a_folder(tmp_path):
    (tmp_path / "w=2.5").mkdir()
    (tmp_path / "w=2.5" / "rows.csv").write_text("label,city\n1,a\n0,b\n")
    dataset = open_input(DataConfig(train=(str(tmp_path),), weight="w", fields=(FieldConfig("city"),))).load("train")
    assert dataset.weights.tolist() == [2.5, 2.5]


def test_what_has_no_column_of_weights_is_refused():
    for format, options in (("libsvm", {}), ("libffm", {"libffm_fields": 3}), ("criteo", {})):
        with pytest.raises(ConfigError, match=f"data.weight = 'w': .*data.format = '{format}' has no such column"):
            build({"data": {"format": format, "train": "x", "weight": "w", **options}})
    with pytest.raises(ConfigError, match="'cache' knows whether its rows have weights"):
        build({"data": {"format": "cache", "train": "x", "weight": "w"}})
    fields = [{"name": "a"}, {"name": "w"}]
    with pytest.raises(ConfigError, match="data.fields\\[1\\].name = 'w' is used twice"):
        build({"data": {"train": "x", "weight": "w", "fields": fields}})
    with pytest.raises(ConfigError, match="data.weight and data.label are both 'w'"):
        build({"data": {"train": "x", "weight": "w", "label": "w", "fields": fields[:1]}})


def test_a_damaged_weight_of_a_cache(inputs, tmp_path):
    """Its checksum is right: another program has written it."""
    (held,) = inputs["cache"].caches("train")
    piece = held.piece(2)
    for wrong in (-1.0, math.nan, math.inf):
        weights = piece.weights.copy()
        weights[7] = wrong
        with pytest.raises(DataError, match=f"row {2 * PIECE_ROWS + 7} \\(from 0\\): damaged: the weight is {wrong}; expected a finite"):
            held.require_sound(2, piece.with_weights(weights))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("format", FORMATS)
def test_weights_of_classes_are_multiplied_into_those_of_samples(inputs, format, size):
    dataset = weighted_by_class(inputs[format].load("train"), 0.5, 3, Threads(size))
    expected = (WEIGHTS.astype(np.float32) * np.where(LABELS, np.float32(3), np.float32(0.5))).astype(np.float32)
    for batch in batches_of(dataset):
        np.testing.assert_array_equal(batch.weights, expected[batch.samples])
    assert dataset.has_weights


def test_a_weight_that_its_class_makes_too_large(inputs):
    with pytest.raises(DataError, match=r"row \d+ \(from 0\) of the data: its weight 70000.0 times that of its class is too large"):
        weighted_by_class(inputs["csv"].load("train"), 1e35, 1e35, Threads(2))


MASK = 2**64 - 1


def mixed(x):
    """SplitMix64's output function, in Python's integers."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def kept_by_definition(labels, rate, seed):
    """docs/weights.md, row by row."""
    state = mixed(((seed ^ 0x6B657074) + 0x9E3779B97F4A7C15) & MASK)
    draws = (mixed(((state ^ row) + 0x9E3779B97F4A7C15) & MASK) >> 11 for row in range(len(labels)))
    return [row for row, (label, draw) in enumerate(zip(labels, draws, strict=True)) if label or draw / 2**53 < rate]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("format", FORMATS)
def test_kept_rows_are_those_of_the_definition(inputs, format, size):
    """Whatever the format and the number of workers, also where blocks are short."""
    dataset, found = inputs[format].load("train"), {}
    for rate, seed in ((0.25, 7), (0.25, 8), (1e-6, 7), (1.0, 7)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deshpc.data.kept_rows._BLOCK_ROWS", 100)
            kept = found[rate, seed] = kept_rows(dataset, rate, seed, Threads(size)).tolist()
        assert kept == kept_by_definition(LABELS, rate, seed)
    assert found[1e-6, 7] == np.flatnonzero(LABELS).tolist() and len(found[1.0, 7]) == ROWS and found[0.25, 7] != found[0.25, 8]


def test_the_share_of_kept_negatives_is_the_rate():
    labels = np.zeros(100_000, np.float32)
    kept = len(kept_by_definition(labels, 0.1, 3))
    assert abs(kept - 10_000) < 4 * math.sqrt(100_000 * 0.1 * 0.9)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_an_epoch_of_kept_rows(inputs, format, shuffle):
    """Each once, as if there were no others: in order, or in that which the numbers of places have; shares of ranks make the batch."""
    dataset = inputs[format].load("train")
    kept = kept_rows(dataset, 0.4, 5, Threads(1))
    found = batches_of(dataset, shuffle, kept=kept)
    order = np.concatenate([batch.samples for batch in found])
    assert (sorted(order) if shuffle else order.tolist()) == kept.tolist() and len(found) == -(-len(kept) // 60)
    for batch in found:
        np.testing.assert_array_equal(batch.labels, LABELS[batch.samples])
        np.testing.assert_array_equal(batch.weights, WEIGHTS[batch.samples].astype(np.float32))
        cities = batch.keys[batch.begins]
        assert len(set(zip(cities.tolist(), (batch.samples % 7).tolist(), strict=True))) == 7
    shares = [
        Reader(dataset, 60, lambda total, rank=rank: slice_of(total, 3, rank), Buffers, 3, shuffle, 128, 4, kept=kept) for rank in range(3)
    ]
    for whole, *parts in zip(found, *(reader.epoch(0) for reader in shares), strict=True):
        assert np.concatenate([part.samples for part in parts]).tolist() == whole.samples.tolist()
