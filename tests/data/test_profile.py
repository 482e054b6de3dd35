"""`deshpc profile`: against counts by dictionaries over Python's reading of the same rows, and text against caches."""

import csv
import json
import random
from collections import Counter

import numpy as np
import pytest

from deshpc.cli.convert import convert
from deshpc.cli.main import main
from deshpc.cli.profile import profile
from deshpc.config import DataConfig, FieldConfig
from deshpc.data import cache, statistics
from deshpc.data.dataset import Dataset
from deshpc.data.input import open_input
from deshpc.data.statistics import SampleStatistics, profile_of, zipf_exponent
from deshpc.errors import ConfigError
from deshpc.formats.schema import Schema

CONFIG = """
[data]
format = "csv"
train = "train.csv"
test = "test.csv"
label = "click"
on_bad_row = "skip"
[[data.fields]]
name = "city"
[[data.fields]]
name = "tags"
kind = "multi"
[[data.fields]]
name = "age"
kind = "bucket"
buckets = 50
[[data.fields]]
name = "price"
kind = "dense"
[[data.fields]]
name = "nothing"
kind = "dense"
"""


def write_rows(path, rows, seed):
    """Random rows, the last of them bad; the good ones as lists of cells."""
    rng = random.Random(seed)
    table = [
        [
            str(int(rng.random() < 0.3)), rng.choice(["", *(f"c{int(rng.random() ** 3 * 40)}" for _ in range(3))]),
            "|".join(f"t{rng.randint(0, 9)}" for _ in range(rng.randint(0, 4))), rng.choice(["", str(rng.randint(1, 3))]),
            rng.choice(["", str(rng.randint(-50, 1000) / 4)]), "",
        ]
        for _ in range(rows)
    ]  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["click", "city", "tags", "age", "price", "nothing"], *table, ["2", "", "", "", "", ""]]
        )
    return table


@pytest.fixture
def table(tmp_path):
    (tmp_path / "run.toml").write_text(CONFIG)
    write_rows(tmp_path / "test.csv", 300, 1)
    return write_rows(tmp_path / "train.csv", 1200, 0)


def profiled(target, part="train"):
    return json.loads(profile(target, part, (), True))


def test_statistics_are_those_of_the_rows(table, tmp_path):
    found = profiled(tmp_path / "run.toml")
    keys = {
        "city": [[row[1]] for row in table],
        "tags": [[tag for tag in row[2].split("|") if tag] for row in table],
        "age": [[row[3]] for row in table],  # 50 quantiles give 1, 2 and 3 a bucket each
    }
    assert (found["rows"], found["skipped"]) == (1200, 1)
    assert found["positive_share"] == sum(row[0] == "1" for row in table) / 1200
    per_sample = [sum(map(len, row)) for row in zip(*keys.values(), strict=True)]
    assert found["keys_per_sample"] == pytest.approx(sum(per_sample) / 1200) and found["most_keys"] == max(per_sample)
    assert [one["name"] for one in found["fields"]] == list(keys)
    for one in found["fields"]:
        cells = keys[one["name"]]
        counts = Counter(value for cell in cells for value in cell)
        assert one["distinct_keys"] == len(counts)
        assert one["keys_per_sample"] == sum(counts.values()) / 1200 and one["most_keys"] == max(map(len, cells))
        assert one["missing_share"] == sum(not any(cell) for cell in cells) / 1200
        assert one["top_share"] == max(counts.values()) / sum(counts.values())
    assert found["distinct_keys"] == sum(one["distinct_keys"] for one in found["fields"])
    batches = [range(0, 512), range(512, 1024)]
    distinct = [
        len({(name, value) for name, cells in keys.items() for i in batch for value in cells[i]}) for batch in batches
    ]
    assert found["distinct_per_sample"] == {"512": sum(distinct) / 2 / 512, "2048": None, "8192": None}
    prices = [float(row[4]) for row in table if row[4]]
    price, nothing = found["dense"]
    assert price["name"] == "price" and price["missing_share"] == 1 - len(prices) / 1200
    assert (price["min"], price["max"]) == (min(prices), max(prices))
    assert price["mean"] == pytest.approx(sum(prices) / len(prices), rel=1e-12)
    assert nothing == {"name": "nothing", "missing_share": 1.0, "min": None, "max": None, "mean": None}


@pytest.mark.parametrize("piece_rows", [100, 65_536])
def test_text_and_caches_have_the_same_profile(table, tmp_path, monkeypatch, piece_rows):
    monkeypatch.setattr(cache, "PIECE_ROWS", piece_rows)
    convert(tmp_path / "run.toml", tmp_path / "caches", ())
    for part in ("train", "test"):
        text = profile(tmp_path / "run.toml", part, (), False)
        assert profile(tmp_path / "caches" / "config.toml", part, (), False) == text
        assert profile(tmp_path / "caches" / f"{part}.cache", part, (), False) == text
        assert profiled(tmp_path / "caches" / f"{part}.cache", part) == profiled(tmp_path / "run.toml", part)


def test_the_command_prints_a_table(table, tmp_path, capsys):
    assert main(["profile", str(tmp_path / "run.toml"), "--part", "test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("rows") and "300" in lines[0] and "1 skipped" in lines[0]
    assert [line.split()[0] for line in lines if line[:4] in ("city", "tags", "age ", "pric")] == [
        "city",
        "tags",
        "age",
        "price",
    ]
    assert main(["profile", str(tmp_path / "run.toml"), "--part", "valid"]) == 2
    assert main(["profile", str(tmp_path / "train.csv")]) == 3
    assert "not a deshpc container" in capsys.readouterr().err


def test_bucket_fields_need_training_rows(table, tmp_path):
    with pytest.raises(ConfigError, match="data.train is needed"):
        profile(tmp_path / "run.toml", "test", ["data.train=[]"], True)


def test_keys_are_counted_exactly_over_many_blocks():
    rng = np.random.default_rng(3)
    schema, counts = Schema.of_fields((FieldConfig("a"), FieldConfig("b", "multi")), "y"), (Counter(), Counter())
    found = SampleStatistics(schema)
    for rows in (0, 1, 700, 3, 3, 50, 2000):
        lengths = rng.integers(0, 5, rows)
        fields = np.concatenate([[], *([0, *[1] * (n - 1)][:n] for n in lengths)]).astype(np.uint16)
        keys = (rng.random(len(fields)) ** 4 * 500).astype(np.uint64) + 1
        for field, one in zip(fields.tolist(), keys.tolist(), strict=True):
            counts[field][one] += 1
        found.add(
            Dataset(np.concatenate([[0], lengths.cumsum()]), keys, fields, None, np.zeros((rows, 0)), np.zeros(rows))
        )
    for one, counter in zip(found.to_json()["fields"], counts, strict=True):
        assert one["distinct_keys"] == len(counter)
        assert one["top_share"] == max(counter.values()) / sum(counter.values())


def test_distinct_keys_of_a_batch_are_those_of_the_first_twenty_full_batches(monkeypatch):
    monkeypatch.setattr(statistics, "BATCH_SIZES", (10,))
    found = SampleStatistics(Schema.of_fields((FieldConfig("a"),), "y"))
    keys = np.random.default_rng(0).integers(1, 8, 250).astype(np.uint64)
    for begin, end in ((0, 3), (3, 104), (104, 250)):
        n = end - begin
        found.add(
            Dataset(np.arange(n + 1), keys[begin:end], np.zeros(n, np.uint16), None, np.zeros((n, 0)), np.zeros(n))
        )
    expected = sum(len(set(keys[i : i + 10].tolist())) for i in range(0, 200, 10)) / 200
    assert found.to_json()["distinct_per_sample"] == {"10": pytest.approx(expected, rel=1e-12)}


def test_the_exponent_of_a_power_law_is_found():
    ranks = np.arange(1, 3001)
    counts = np.random.default_rng(0).permutation(np.rint(1e9 * ranks**-1.3).astype(np.int64))
    assert zipf_exponent(counts) == pytest.approx(1.3, abs=1e-4)
    assert zipf_exponent(np.full(50, 7)) == pytest.approx(0, abs=1e-12)
    assert zipf_exponent(np.arange(1, 10)) is None and zipf_exponent(np.zeros(0, np.int64)) is None


def test_large_numbers_have_a_mean(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,x\n" + "1,1.5e308\n" * 4)
    config = DataConfig(train=(str(path),), fields=(FieldConfig("x", "dense"),))
    (dense,) = profile_of(open_input(config), "train")["dense"]
    assert dense["mean"] == pytest.approx(1.5e308)
