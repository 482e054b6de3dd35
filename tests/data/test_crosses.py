"""Crossed keys against all pairs of cells, hashed by another package; a model that needs them, through every station; numeric transforms."""

import itertools
import math
import struct

import every_kind
import numpy as np
import pytest
import xxhash

import deshpc
from deshpc.config.load import build
from deshpc.data.conversion import convert_parts
from deshpc.data.crosses import with_room
from deshpc.data.input import open_input
from deshpc.errors import ConfigError
from deshpc.formats.schema import Schema
from deshpc.serve.encoder import Encoder

CROSSES = [{"fields": ["site", "price"]}, {"fields": ["tags", "history", "hour"], "name": "three"}]
KEYED = [field for field in every_kind.FIELDS if field.get("kind") != "dense"]


def plain_crosses(row, boundaries):
    """[(key, x of the embedding, x of the linear weight)] of a row of text, by definition."""
    of_field = {}
    for field in KEYED:
        name, kind, cell = field["name"], field.get("kind"), row[field["name"]]
        if kind == "multi":
            values = every_kind.plain_values(field, cell)
        elif kind == "bucket":
            edges = boundaries.get(name, field.get("boundaries"))
            values = [(str(sum(edge <= float(cell) for edge in edges)), 1.0, 1.0)] if cell else []
        else:
            values = [(cell, 1.0, 1.0)] if cell else []
        of_field[name] = [(every_kind.plain_key(name, text), np.float32(x), np.float32(xl)) for text, xl, x in values]
    found = []
    for number, cross in enumerate(CROSSES, len(KEYED)):
        seed = xxhash.xxh64_intdigest(cross.get("name", " x ".join(cross["fields"])).encode(), 0)
        for some in itertools.product(*(of_field[name] for name in cross["fields"])):
            keys, *xs = zip(*some, strict=True)
            digits = f"{xxhash.xxh64_intdigest(struct.pack(f'<{len(keys)}Q', *keys), seed):016x}"
            key = int(f"{digits[:4]}{number:04x}{digits[8:]}", 16)
            found.append((key, *(np.float32(np.prod(np.array(one, np.float64))) for one in xs)))
    return found


def test_crossed_keys_are_those_of_all_pairs_of_cells_in_text_and_caches(tmp_path):
    config = build(every_kind.tree(tmp_path, data={"crosses": CROSSES}))
    source = open_input(config.data)
    samples = source.load("train")
    boundaries = {one.name: one.boundaries for one in source.transforms.buckets}
    for i, row in enumerate(every_kind.make_rows(0, 400)):
        own = slice(samples.offsets[i], samples.offsets[i + 1])
        of_crosses = samples.fields[own] >= len(KEYED)
        found = [(int(key), x, xl) for key, (x, xl) in zip(samples.keys[own][of_crosses], samples.values[own][of_crosses], strict=True)]
        assert found == plain_crosses(row, boundaries)
    list(convert_parts(config.data, tmp_path))
    cached = open_input(build({"data": {"format": "cache", "train": [str(tmp_path / "train.cache")]}}).data)
    assert cached.schema.crosses == source.schema.crosses
    (_, piece), = cached.blocks("train")
    assert all(np.array_equal(getattr(piece, name), getattr(samples, name)) for name in ("offsets", "keys", "fields", "values"))


def test_a_missing_value_of_shared_keys_has_no_combination(tmp_path):
    rows = [("i1", "i2", "i1|i3"), ("i1", "", "i2"), ("", "i3", ""), ("i3", "i1", "i3|i2|i1")]
    (tmp_path / "train.csv").write_text("click,item,last,history\n" + "".join(f"{i % 2},{','.join(row)}\n" for i, row in enumerate(rows)))
    fields = [{"name": "item"}, {"name": "last", "share": "item"}, {"name": "history", "kind": "sequence", "length": 2, "share": "item"}]
    crosses = [{"fields": ["item", "last"]}, {"fields": ["last", "history"]}]
    config = build({"data": {"train": [str(tmp_path / "train.csv")], "label": "click", "fields": fields, "crosses": crosses}, "model": {"name": "lr"}})
    source = open_input(config.data)
    samples = source.load("train")
    encoded = Encoder(source.schema, source.transforms).encode(len(rows), [list(column) for column in zip(*rows, strict=True)])
    assert all(np.array_equal(getattr(encoded, name), getattr(samples, name)) for name in ("offsets", "keys", "fields"))
    for i, (item, last, history) in enumerate(rows):
        newest = [one for one in history.split("|") if one][-2:]
        pairs = [(3, one, last) for one in [item] if one and last] + [(4, last, one) for one in newest if last]
        expected = []
        for number, *values in pairs:
            keys = struct.pack("<2Q", *(every_kind.plain_key("item", value, fields) for value in values))
            digits = f"{xxhash.xxh64_intdigest(keys, xxhash.xxh64_intdigest(' x '.join(crosses[number - 3]['fields']).encode(), 0)):016x}"
            expected.append(int(f"{digits[:4]}{number:04x}{digits[8:]}", 16))
        own = slice(samples.offsets[i], samples.offsets[i + 1])
        assert sorted(samples.keys[own][samples.fields[own] >= 3].tolist()) == sorted(expected), i


def test_a_linear_model_learns_what_only_a_cross_says_and_its_file_too(tmp_path, capsys):
    generator = np.random.default_rng(3)
    pairs = generator.integers(0, 2, (600, 2))
    lines = [f"{a ^ b} 0:{a + 1}:1 1:{b + 1}:1" for a, b in pairs]
    (tmp_path / "rows.txt").write_text("\n".join(lines) + "\n")
    path = str(tmp_path / "rows.txt")
    tree = {
        "data": {"format": "libffm", "libffm_fields": 2, "train": [path], "test": [path], "crosses": [{"fields": ["0", "1"]}]},
        "model": {"name": "lr"}, "optimizer": {"learning_rate": 0.5}, "train": {"epochs": 5, "global_batch_samples": 64},
        "compute": {"threads_per_rank": 1}, "run": {"directory": str(tmp_path / "run")},
    }  # fmt: skip
    assert deshpc.train(tree).test.auc == 1.0
    deshpc.export(tmp_path / "run", tmp_path / "model")
    rows = [{"0": {a: 1.0}, "1": {b: 1.0}} for a, b in itertools.product((1, 2), (1, 2))]
    predictor = deshpc.Predictor(tmp_path / "model")
    assert predictor.fields == ["0", "1"]
    assert (predictor.predict(rows) > 0.5).tolist() == [False, True, True, False]
    from deshpc.cli.inspect import inspect

    assert "0 x 1" in inspect(tmp_path / "run") and "0 x 1" in inspect(tmp_path / "model")
    del tree["data"]["crosses"]
    tree["run"]["directory"] = str(tmp_path / "other")
    assert deshpc.train(tree).test.auc < 0.6


def test_numeric_transforms_are_their_formulas_fitted_on_training_rows(tmp_path):
    numbers = [0.0, 3.0, 24.0, -5.0, 1e6, None]
    options = {"log": {}, "square_root": {"clip": [-4.0, 100.0]}, "none": {"standardise": False}, "signed_log": {"clip": [0.0, 1e9]}}
    cells = ["" if x is None else repr(x) for x in numbers]
    (tmp_path / "train.csv").write_text("y,site,a,b,c,d\n" + "".join(f"{i % 2},s,{x},{x},{x},{x}\n" for i, x in enumerate(cells)))
    (tmp_path / "test.csv").write_text("y,site,a,b,c,d\n0,s,7,7,7,7\n")
    fields = [{"name": name, "kind": "dense", "transform": one, **more} for name, (one, more) in zip("abcd", options.items(), strict=True)]
    tree = {"data": {"train": [str(tmp_path / "train.csv")], "test": [str(tmp_path / "test.csv")], "label": "y", "fields": [{"name": "site"}, *fields]}}
    formulas = [
        lambda x: math.log(1 + max(x, 0)), lambda x: math.copysign(abs(min(max(x, -4), 100)) ** 0.5, x), lambda x: x,
        lambda x: math.log(1 + max(x, 0)),
    ]  # fmt: skip
    source = open_input(build(tree).data)
    train, test = source.load("train"), source.load("test")
    for j, formula in enumerate(formulas):
        z = np.array([formula(x) for x in numbers if x is not None])
        mean, std = (0.0, 1.0) if j == 2 else (z.mean(), z.std())
        assert train.dense[:, j] == pytest.approx([*(z - mean) / std, 0], rel=1e-6, abs=1e-6)
        assert test.dense[0, j] == pytest.approx((formula(7) - mean) / std, rel=1e-6)


@pytest.mark.parametrize("crosses, error", [
    ([{"fields": ["site"]}], "two or more different"), ([{"fields": ["site", "site"]}], "two or more different"),
    ([{"fields": ["site", "huor"]}], "did you mean 'hour'"), ([{"fields": ["site", "age"]}], "'age' is a dense field"),
    ([{"fields": ["site", "hour"], "name": "tags"}], "used twice"),
])  # fmt: skip
def test_crosses_that_are_none_are_refused(crosses, error):
    with pytest.raises(ConfigError, match=error):
        build({"data": {"train": ["x"], "label": "click", "fields": every_kind.FIELDS, "crosses": crosses}})


def test_rows_of_empty_lists_have_no_combination():
    fields = [{"name": "a", "kind": "multi", "pooling": "mean"}, {"name": "b", "kind": "multi"}]
    schema = Schema.from_config(build({"data": {"train": ["x"], "fields": fields, "crosses": [{"fields": ["a", "b"]}]}}).data)
    found = with_room(np.zeros(3, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint16), np.zeros(0, np.float32), schema)
    assert [len(one) for one in found] == [3, 0, 0, 0]


def test_an_encoder_crosses_raw_values_as_the_reader_does(tmp_path):
    source = open_input(build(every_kind.tree(tmp_path, data={"crosses": CROSSES})).data)
    samples, rows = source.load("train"), every_kind.make_rows(0, 400)
    encoder = Encoder(source.schema, source.transforms)
    found = encoder.encode(len(rows), [[row[field.name] for row in rows] for field in encoder.fields])
    assert all(np.array_equal(getattr(found, name), getattr(samples, name)) for name in ("offsets", "keys", "fields", "dense"))
    assert np.array_equal(np.stack([found.x, found.xl], axis=1).astype(np.float32), samples.values)


def test_a_missing_value_of_a_shared_field_or_a_sequence_has_no_combination(tmp_path):
    (tmp_path / "rows.csv").write_text("click,a,b,s\n1,3,,1|2|3\n0,,4,\n1,4,4,4|4\n0,,,7\n1,5,6,\n")
    fields = [{"name": "a"}, {"name": "b", "share": "a"}, {"name": "s", "kind": "sequence", "share": "a", "length": 2, "recency": 0.5}]
    tree = {"train": [str(tmp_path / "rows.csv")], "label": "click", "fields": fields, "crosses": [{"fields": ["a", "b"]}, {"fields": ["b", "s"]}]}
    samples = open_input(build({"data": tree}).data).load("train")
    crossed = [samples.fields[begin:end] for begin, end in itertools.pairwise(samples.offsets)]
    assert [[(one == number).sum() for number in (3, 4)] for one in crossed] == [[0, 0], [0, 0], [1, 2], [0, 0], [1, 0]]
    assert samples.values[samples.fields == 4].tolist() == [0.5, 1]
