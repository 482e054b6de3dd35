"""What a configuration loads: text in memory against Python's csv, caches against text, and training on either."""

import csv
import gzip
import json
import math
import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from deshpc.config import Config, DataConfig, FieldConfig, ModelConfig, RunConfig, TrainConfig
from deshpc.data import cache
from deshpc.data.conversion import convert_parts
from deshpc.data.dataset import Dataset
from deshpc.data.input import open_input
from deshpc.errors import ConfigError, DataError
from deshpc.hashing.key import key

FIELDS = (
    FieldConfig("city"),
    FieldConfig("tags", "multi", weight_separator=":", pooling="mean", linear_pooling="sum"),
    FieldConfig("price", "dense"),
    FieldConfig("age", "bucket", buckets=4),
)


def write_rows(path, rows, seed):
    """A CSV file of random rows; its rows as lists of cells."""
    rng = random.Random(seed)
    table = [
        [
            str(rng.randint(0, 1)), f"c{rng.randint(0, 20)}",
            "|".join(f"t{rng.randint(0, 9)}:{rng.randint(1, 8) / 4}" for _ in range(rng.randint(0, 3))),
            rng.choice(["", str(rng.randint(-100, 10_000))]), rng.choice(["", str(rng.randint(0, 90))]),
        ]
        for _ in range(rows)
    ]  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["click", "city", "tags", "price", "age"], *table])
    return table


def data_config(folder, **options):
    return DataConfig(
        train=(str(folder / "day*.csv"),), test=(str(folder / "test.csv"),), label="click", fields=FIELDS, **options
    )


@pytest.fixture
def folder(tmp_path):
    for i, rows in enumerate((150, 0, 61)):
        write_rows(tmp_path / f"day{i}.csv", rows, i)
    write_rows(tmp_path / "test.csv", 40, 9)
    return tmp_path


def samples(data):
    """Every sample of a Dataset as bytes."""
    found = []
    for i in range(len(data)):
        own = slice(data.offsets[i], data.offsets[i + 1])
        found.append(
            (
                data.keys[own].tobytes(),
                data.fields[own].tobytes(),
                b"" if data.values is None else data.values[own].tobytes(),
                data.dense[i].tobytes(),
                data.labels[i],
            )
        )
    return found


def all_samples(data):
    return [one for number in range(len(data.starts) - 1) for one in samples(data.piece(number))]


def test_text_becomes_samples_cell_by_cell(tmp_path):
    table = write_rows(tmp_path / "day0.csv", 300, 3)
    write_rows(tmp_path / "test.csv", 1, 3)
    source = open_input(data_config(tmp_path))
    data = source.load("train")
    prices = [math.copysign(math.log1p(abs(float(row[3]))), float(row[3])) for row in table if row[3]]
    mean = math.fsum(prices) / len(prices)
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in prices) / len(prices))
    ages = sorted(float(row[4]) for row in table if row[4])
    boundaries = sorted({ages[math.ceil(i * len(ages) / 4) - 1] for i in (1, 2, 3)})
    for i, (label, city, tags, price, age) in enumerate(table):
        own = slice(data.offsets[i], data.offsets[i + 1])
        values = [tag.split(":") for tag in tags.split("|") if tag]
        bucket = str(sum(boundary <= float(age) for boundary in boundaries)) if age else ""
        assert data.keys[own].tolist() == [
            key(0, "city", city),
            *(key(1, "tags", name) for name, _ in values),
            key(2, "age", bucket),
        ]
        assert data.fields[own].tolist() == [0, *[1] * len(values), 2]
        expected = [(1, 1), *((float(weight) / len(values), float(weight)) for _, weight in values), (1, 1)]
        assert data.values[own].tolist() == np.array(expected, np.float32).tolist()
        z = (math.copysign(math.log1p(abs(float(price))), float(price)) - mean) / std if price else 0.0
        assert abs(data.dense[i, 0] - z) < 1e-5 and data.labels[i] == float(label)
    assert source.state() == json.loads(json.dumps(source.state()))


def test_stored_transforms_take_the_place_of_the_training_part(folder):
    config = data_config(folder)
    first = open_input(config)
    with pytest.raises(ConfigError, match="data.train is needed"):
        first.load("test")
    first.load("train")
    expected = samples(first.load("test"))
    second = open_input(replace(config, train=()))
    second.restore(first.state())
    assert samples(second.load("test")) == expected
    other = open_input(replace(config, fields=FIELDS[:-1]))
    with pytest.raises(DataError, match="of the fields price, age, not of those in data.fields"):
        other.restore(first.state())
    for state in ({}, {"dense": [{"name": "price"}], "buckets": []}):
        with pytest.raises(DataError, match="damaged"):
            second.restore(state)


def test_a_restored_input_does_not_fit_the_training_part_anew(folder):
    first, second = (open_input(data_config(folder)) for _ in range(2))
    first.load("train")
    state = first.state()
    state["dense"][0]["mean"] = 0.25
    second.restore(state)
    second.load("train")
    assert second.state() == state


def test_a_part_without_rows_is_an_error(tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("click,city\n")
    config = DataConfig(train=(str(path),), label="click", fields=FIELDS[:1])
    with pytest.raises(DataError, match=f"data.train: no rows in {path}"):
        open_input(config).load("train")
    path.write_text("click,city\n2,a\n")
    with pytest.raises(DataError, match=f"no rows in {path}; 1 were skipped, first: {path}, line 2, field 'click'"):
        open_input(replace(config, on_bad_row="skip")).load("train")


def test_skipped_rows_are_counted_by_part_in_text_and_cache(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("click,city\n1,a\n2,b\n0,c\nx,d\n")
    config = DataConfig(train=(str(path),), label="click", fields=FIELDS[:1], on_bad_row="skip")
    source = open_input(config)
    data = source.load("train")
    assert data.labels.tolist() == [1, 0] and data.keys.tolist() == [key(0, "city", "a"), key(0, "city", "c")]
    found = source.bad_rows["train"]
    assert found.count == 2 and f"{path}, line 3" in found.examples[0] and f"{path}, line 5" in found.examples[1]
    ((_, converted),) = convert_parts(config, tmp_path)
    assert (converted.rows, converted.skipped) == (2, 2)
    mapped = open_input(DataConfig(format="cache", train=(str(converted.path),)))
    mapped.load("train")
    assert (mapped.bad_rows["train"].count, mapped.bad_rows["train"].examples) == (2, found.examples)


def as_caches(config, folder):
    """The same data converted: a DataConfig of the caches."""
    folder.mkdir()
    return DataConfig(format="cache", **{part: (str(done.path),) for part, done in convert_parts(config, folder)})


CRITEO_LINE = "\t".join(
    ["{label}", *(["{i}", "", "-3", "{i}7"] + [""] * 9), *(["{i:08x}", "", "68fd1e64"] + ["a"] * 23)]
)
FILES = {
    "criteo": (CRITEO_LINE, {}),
    "criteo, buckets": (CRITEO_LINE, {"criteo_numeric": "bucket"}),
    "libsvm": ("{label} {i}:0.5 7:2", {}),
    "libffm": ("{label} 0:{i}:1 2:5:0.25", {"libffm_fields": 3}),
    "tsv": ("{label}\tc{i}\t{i}", {"label": "click", "fields": (FieldConfig("city"), FieldConfig("price", "dense"))}),
    "parquet": (None, {"label": "click", "fields": (FieldConfig("city"), FieldConfig("price", "bucket"))}),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_format_converts(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(cache, "PIECE_ROWS", 16)
    line, options = FILES[kind]
    paths = [str(tmp_path / f"{part}.txt") for part in ("train", "test")]
    for seed, path in enumerate(paths):
        rows = [{"label": (i + seed) % 2, "i": (i * 7 + seed) % 23} for i in range(50 - 20 * seed)]
        if kind == "parquet":
            pa = pytest.importorskip("pyarrow")
            columns = {
                "click": [r["label"] for r in rows],
                "city": [f"c{r['i']}" for r in rows],
                "price": [r["i"] for r in rows],
            }
            pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), path)
        else:
            header = ["click\tcity\tprice"] if kind == "tsv" else []
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join([*header, *(line.format(**row) for row in rows)]))
    config = DataConfig(format=kind.split(",")[0], train=(paths[0],), test=(paths[1],), **options)
    text, mapped = open_input(config), open_input(as_caches(config, tmp_path / "caches"))
    for part, rows in (("train", 50), ("test", 30)):
        in_memory = text.load(part)
        assert len(in_memory) == rows and all_samples(mapped.load(part)) == samples(in_memory)
    assert mapped.state() == text.state()


@pytest.mark.parametrize("piece_rows", [13, 64, 1000])
def test_text_and_cache_give_the_same_samples(folder, monkeypatch, piece_rows):
    monkeypatch.setattr(cache, "PIECE_ROWS", piece_rows)
    text = open_input(data_config(folder))
    mapped = open_input(as_caches(data_config(folder), folder / "caches"))
    for part in ("train", "test"):
        in_memory = text.load(part)
        assert isinstance(in_memory, Dataset) and all_samples(mapped.load(part)) == samples(in_memory)
    assert mapped.state() == text.state() and (mapped.n_fields, mapped.n_dense) == (text.n_fields, text.n_dense)
    mapped.restore(text.state())


def test_synthetic_samples_survive_conversion(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PIECE_ROWS", 100)
    config = Config().data
    config = replace(
        config, format="synthetic", synthetic=replace(config.synthetic, profile="history", train_rows=130, test_rows=70)
    )
    mapped, source = open_input(as_caches(config, tmp_path / "caches")), open_input(config)
    for part in ("train", "test"):
        one, other = mapped.load(part), source.load(part)
        assert all_samples(one) == samples(other) and one.has_truth and one.value_width == 1
        assert np.array_equal(np.concatenate([one.piece(i).truth for i in range(len(one.starts) - 1)]), other.truth)
    mapped.restore(source.state())


def test_a_cache_is_not_converted_again(folder):
    with pytest.raises(ConfigError, match="converted already"):
        list(convert_parts(as_caches(data_config(folder), folder / "caches"), folder))


def test_gzip_and_plain_text_are_the_same_input(folder):
    plain = open_input(data_config(folder)).load("train")
    for path in folder.glob("day*.csv"):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    zipped = open_input(replace(data_config(folder), train=(str(folder / "day*.gz"),))).load("train")
    assert samples(zipped) == samples(plain)


def test_loading_takes_the_memory_of_the_samples_and_of_a_copy_of_their_largest_array(tmp_path):
    path, rows = tmp_path / "a.csv", 500_000
    path.write_text("label,a,b,x\n" + "".join(f"{i % 2},u{i % 977},v{i % 31},{i % 11}\n" for i in range(rows)))
    config = DataConfig(train=(str(path),), fields=(FieldConfig("a"), FieldConfig("b"), FieldConfig("x", "dense")))
    open_input(config).load("train")  # compiles
    tracemalloc.start()
    data = open_input(config).load("train")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sizes = [array.nbytes for array in (data.offsets, data.keys, data.fields, data.dense, data.labels)]
    assert sum(sizes) > 15_000_000
    assert peak < sum(sizes) + max(sizes) + 4_000_000  # blocks of text on the way


@pytest.mark.mpi
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"routing": "broadcast", "shuffle_block_rows": 50}])
def test_training_on_caches_is_training_on_text(world, tmp_path_factory, monkeypatch, options):
    """The same bits: of the losses of every evaluation, and of all rows and parameters that enter the last one."""
    from deshpc.training.api import train

    monkeypatch.setattr(cache, "PIECE_ROWS", 16)  # every batch of 24 rows has rows of several pieces
    folder, data, mapped = None, None, None
    if world.rank == 0:
        folder = tmp_path_factory.mktemp("train")
        for i, rows in enumerate((150, 61)):
            write_rows(folder / f"day{i}.csv", rows, i)
        write_rows(folder / "test.csv", 40, 9)
        data = replace(data_config(folder), valid=(str(folder / "test.csv"),))
        mapped = as_caches(data, folder / "caches")
    folder, data, mapped = world.bcast((folder, data, mapped))
    results = []
    for name, one in (("text", data), ("cache", mapped)):
        config = Config(
            data=one, model=ModelConfig(dim=3), run=RunConfig(str(folder / name)),
            train=TrainConfig(global_batch_samples=24, epochs=2, **options),
        )  # fmt: skip
        found = train(config, world)
        results.append(
            (found.valid, found.test, found.steps, found.rows, found.bytes_per_sample, found.keys_per_sample)
        )
    assert results[0] == results[1]


@pytest.mark.mpi
@pytest.mark.parametrize("mapped", [False, True])
def test_skipped_rows_are_known_to_all_ranks_and_told_once(world, tmp_path_factory, capfd, mapped):
    from deshpc.training.session import Session

    config = None
    if world.rank == 0:
        folder = tmp_path_factory.mktemp("skip")
        (folder / "a.csv").write_text("click,city\n1,a\n2,b\n0,c\n")
        config = DataConfig(train=(str(folder / "a.csv"),), label="click", fields=FIELDS[:1], on_bad_row="skip")
        config = as_caches(config, folder / "caches") if mapped else config
    session = Session(Config(data=world.bcast(config)), world)
    assert len(session.load("train")) == 2
    assert session.skipped["train"]["count"] == 1 and "line 3, field 'click'" in session.skipped["train"]["examples"][0]
    told = capfd.readouterr().err.count("deshpc: warning: data.train: 1 bad rows were skipped")
    assert told == (world.rank == 0)
    session.close()
