"""`deshpc init`: against what a person says of files that were made here; what it writes is read, and one is trained on."""

import csv
import datetime
import decimal
import gzip
import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import deshpc

from deshpc.cli.init import init
from deshpc.config import load
from deshpc.data.input import open_input
from deshpc.errors import ConfigError, DataError, DeshpcError

ROWS = 300
HEAD = ["id", "time", "action", "site", "tags", "weights", "age", "price", "const", "user_id", "title", "mostly"]


def rows_of(seed, first=0):
    """Rows of a log: what a person says of its columns is KINDS."""
    chance = random.Random(seed)
    words = [f"w{i}" for i in range(400)]
    for i in range(first, first + ROWS):
        yield [
            i, 1_700_000_000 + 3 * i, "click" if chance.random() < 0.3 else "view", f"s{chance.randrange(30)}",
            "|".join(f"t{chance.randrange(9)}" for _ in range(chance.randrange(4))),
            ";".join(f"k{chance.randrange(9)}:{chance.random():.2f}" for _ in range(2)),
            chance.randrange(18, 80), "NA" if chance.random() < 0.1 else f"{chance.expovariate(1):.3f}", "same",
            chance.randrange(10**6), " ".join(chance.sample(words, 3)), "x" if i == first + 7 else chance.randrange(1000),
        ]  # fmt: skip


KINDS = {
    "site": "categorical", "tags": "multi", "weights": "multi", "age": "bucket", "price": "dense", "user_id": "categorical",
    "mostly": "categorical",
}  # fmt: skip
LEFT_OUT = ("id", "time", "const", "title")


def write_csv(path, rows, head=HEAD, delimiter=","):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([*([head] if head else []), *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def made(folder, *files, label=None):
    """(DataConfig that init has written for files, its text); the training part can be read."""
    out = folder / "click.toml"
    init([str(file) for file in files], str(out), label)
    config = load(out).data
    assert len(open_input(config).load("train"))
    return config, out.read_text(encoding="utf-8")


def kinds(config):
    return {field.name: field.kind for field in config.fields}


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_log(tmp_path, delimiter, suffix):
    config, text = made(tmp_path, write_csv(tmp_path / f"rows.{suffix}", rows_of(1), delimiter=delimiter), label="action")
    assert kinds(config) == KINDS
    for name in LEFT_OUT:
        assert f'\n    # {{ name = "{name}" }},  # ' in text
    assert (config.label, config.positive, config.missing, config.test) == ("action", "click", ("NA",), ())
    assert 'positive = "click"' in text and "'view' 2" in text and "# test =" in text
    by_name = {field.name: field for field in config.fields}
    assert (by_name["tags"].separator, by_name["tags"].weight_separator, by_name["tags"].pooling) == ("|", "", "mean")
    assert (by_name["weights"].separator, by_name["weights"].weight_separator) == (";", ":")


def test_files_are_divided_by_their_time_and_not_by_their_names(tmp_path):
    days = [write_csv(tmp_path / f"{name}.csv", rows_of(i, i * ROWS), delimiter=";") for i, name in enumerate("bca")]
    config, text = made(tmp_path, *sorted(days), label="action")
    assert config.train == tuple(map(str, days[:2])) and config.test == (str(days[2]),)
    assert "the last files by 'time'" in text and config.delimiter == ";"


def test_names_of_files_say_which_part_they_are(tmp_path):
    for name in ("train", "my_valid", "test"):
        write_csv(tmp_path / f"{name}.csv", rows_of(2))
    config, _ = made(tmp_path, tmp_path / "*.csv", label="action")
    assert [len(part) for part in (config.train, config.valid, config.test)] == [1, 1, 1]
    assert config.valid == (str(tmp_path / "my_valid.csv"),) and config.test == (str(tmp_path / "test.csv"),)


def test_a_test_file_without_labels_is_no_test_part(tmp_path):
    write_csv(tmp_path / "train.csv", [[i % 2, f"s{i % 7}"] for i in range(50)], ["clicked", "site"])
    write_csv(tmp_path / "test.csv", [[f"s{i}"] * 2 for i in range(5)], ["site", "other"])
    config, text = made(tmp_path, tmp_path / "train.csv", tmp_path / "test.csv")
    assert config.test == () and config.label == "clicked"
    assert "test.csv has no column 'clicked': deshpc predict RUN --no-label --data FILE scores it" in text


def test_rows_without_a_header(tmp_path):
    rows = [[f"s{i % 7}", i % 2, f"{i / 8}"] for i in range(100)]
    config, text = made(tmp_path, write_csv(tmp_path / "rows.txt", rows, None, "|"))
    assert (config.header, config.columns, config.label, config.delimiter) == (False, ("c1", "c2", "c3"), "c2", "|")
    assert kinds(config) == {"c1": "categorical", "c3": "dense"} and "the first line looks like a row" in text


def test_a_folder_of_folders(tmp_path):
    for day in (1, 2, 3):
        for shop in "ab":
            folder = tmp_path / "hive" / f"day=2024-01-0{day}" / f"shop={shop}"
            folder.mkdir(parents=True)
            write_csv(folder / "rows.csv", [[i % 2, f"s{i % 7}"] for i in range(30)], ["label", "site"])
    config, text = made(tmp_path, tmp_path / "hive")
    assert kinds(config) == {"site": "categorical", "shop": "categorical"} and '# { name = "day" },  # a time' in text
    of = [str(tmp_path / f"hive/day=2024-01-0{day}/shop={shop}/rows.csv") for day in (1, 2, 3) for shop in "ab"]
    assert (config.train, config.valid, config.test) == (tuple(of[:4]), (of[4],), (of[5],))


def test_parquet(tmp_path):
    rng = np.random.default_rng(1)
    many = [rng.integers(0, 9, size).tolist() for size in rng.integers(0, 4, ROWS)]
    times = pa.array([datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=i) for i in range(ROWS)])
    table = {
        "when": times,
        "clicked": rng.random(ROWS) < 0.3,
        "site": pa.array([f"s{i}" for i in rng.integers(0, 20, ROWS)]).dictionary_encode(),
        "shop_id": pa.array([None if i % 9 == 0 else float(i % 40) for i in range(ROWS)]),
        "many": pa.array(many),
        "price": np.where(rng.random(ROWS) < 0.1, np.nan, rng.random(ROWS)),
        "exact": [decimal.Decimal(int(i)) for i in rng.integers(0, 9, ROWS)],
        "pairs": pa.array([[("a", 0.5)]] * ROWS, pa.map_(pa.string(), pa.float64())),
        "odd": [{"a": 1}] * ROWS,
        "flag": rng.random(ROWS) < 0.5,
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    config, text = made(tmp_path, tmp_path / "rows.parquet")
    assert config.format == "parquet" and config.label == "clicked" and config.positive == ""
    assert kinds(config) == {
        "site": "categorical", "shop_id": "categorical", "many": "multi", "price": "dense", "exact": "bucket", "pairs": "multi",
        "flag": "categorical",
    }  # fmt: skip
    assert '# { name = "odd" },  # its type is struct<a: int64>' in text and '# { name = "when" },  # a time (such as 2024' in text


CRITEO = "\t".join(["1", *map(str, range(13)), *(f"{i:08x}" for i in range(26))])


@pytest.mark.parametrize(
    "line, expected", [(CRITEO, "criteo"), ("1 3:0.5 17:1", "libsvm"), ("0 2:17:1 5:3:0.25", "libffm"), ("-1 1:1 # why", "libsvm")]
)
def test_formats_that_know_their_fields(tmp_path, line, expected):
    (tmp_path / "rows").write_text(f"{line}\n" * 20)
    config, _ = made(tmp_path, tmp_path / "rows")
    assert config.format == expected and config.fields == () and config.libffm_fields == (6 if expected == "libffm" else 0)


def test_outcomes_are_left_out_with_the_reason(tmp_path):
    """What a person knows only after the click, beside what was there before it."""
    chance = random.Random(7)
    rows = []
    for _ in range(1000):
        clicked = chance.random() < 0.3
        seen = round(clicked * chance.uniform(1, 60) + chance.uniform(0, 0.5), 2)
        after = chance.choice("abcdefgh") if clicked else ""
        rows.append([int(clicked), f"s{chance.randrange(30)}", seen, int(clicked and chance.random() < 0.02), chance.randrange(2), after])
        rows[-1] += [int(clicked and chance.random() < 0.4), round(chance.random(), 3), int(chance.random() < 0.5 + 0.3 * clicked), chance.randrange(90)]
    head = ["is_click", "site", "seen", "is_like", "is_member", "next", "flag", "price", "strong", "play_time_ms"]
    config, text = made(tmp_path, write_csv(tmp_path / "rows.csv", rows, head))
    assert kinds(config) == {"site": "categorical", "is_member": "categorical", "price": "dense", "strong": "categorical"}
    for name, why in (
        ("seen", "alone it ranks the label with an AUC of 1.00"), ("is_like", "something which happens afterwards"),
        ("next", "where it is not missing, the label is nearly always the positive one"),
        ("flag", "where it is not '0', the label is nearly always the positive one"), ("play_time_ms", "a time which is known afterwards"),
    ):
        assert any(f'# {{ name = "{name}" }},  # looks like an outcome' in line and why in line for line in text.splitlines()), name


def test_columns_are_judged_by_several_files(tmp_path):
    """The first file alone would say: one shop, three ages, a column that other files lack, labels that are all there."""
    for i in range(6):
        rows = [[j % 2, f"s{i}", 20 + 3 * i + j % 3, f"t{j % 5}", j % 4] for j in range(60)]
        write_csv(tmp_path / f"day{i}.csv", [row[:5 if i == 0 else 4] for row in rows], ["label", "shop", "age", "site", "odd"][: 5 if i == 0 else 4])
    config, text = made(tmp_path, tmp_path / "day*.csv")
    assert kinds(config) == {"shop": "categorical", "age": "categorical", "site": "categorical"}
    assert '{ name = "shop", kind = "categorical" },  # 5 values' in text and "has no such column" in text
    assert [len(part) for part in (config.train, config.valid, config.test)] == [4, 1, 1]
    whole = load(tmp_path / "click.toml")
    assert whole.train.stop_metric == "log_loss" and whole.train.epochs > 1 and "300 rows of" in text and "and of 4 more files" in text


def test_odd_names_are_no_syntax(tmp_path):
    folder = tmp_path / "it's \"odd\" [1]\nfolder"
    folder.mkdir()
    head = ["lab\tel # x", 'a"b', "", "two", "two", "\\", "é]"]
    rows = [["ja\n#" if i % 3 else "#nein", f"s{i % 5}", i, 1, 2, f"{i % 4}", f"'{i % 6}"] for i in range(60)]
    config, text = made(folder, write_csv(folder / "rows.csv", rows, head), label=head[0])
    assert kinds(config) == {'a"b': "categorical", "\\": "categorical", "é]": "categorical"}
    assert (config.label, config.positive) == (head[0], "#nein") and "several columns have this name" in text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["", "0", "1", "2.5", "a", "b|c", "NA", "2024-01-01", '"', "é", "x y", "[1]"]), min_size=3, max_size=3), min_size=1, max_size=9),
    st.sampled_from([",", "\t", ";", "|"]),
)  # fmt: skip
def test_whatever_the_file_it_is_an_error_or_a_configuration(tmp_path_factory, rows, delimiter):
    folder = tmp_path_factory.mktemp("any")
    write_csv(folder / "rows", rows, None, delimiter)
    try:
        init([str(folder / "rows")], str(folder / "out.toml"))
    except DeshpcError:
        assert not (folder / "out.toml").exists()
    else:
        assert load(folder / "out.toml").data.fields


@pytest.mark.parametrize(
    "text, label, error, expected",
    [
        ("a,b\nx,1\ny,2\nz,3\n", None, DataError, "rows: no column is called label or click, or has two values; name the label by --label"),
        ("a,b\nx,1\ny,0\n", "c", DataError, "rows: no column is called 'c' (the columns are: a, b)"),
        ("a,b\nx,1\ny,2\nz,3\n", "b", DataError, "rows: the label 'b' has 3 values ('1', '2', '3', ...); expected two"),
        ("a,b\nx,1\nx,0\n", None, DataError, "rows: no column can be learnt from: 'a': always 'x'"),
        ("Report\nlabel,a\n" + "1,x\n0,y\n" * 20, None, DataError, "rows, line 1: the header has 1 cells between ','; most rows below it have 2"),
        ("alone\n1\n", None, DataError, "rows: its lines are not divided into the same number of cells by a comma, tab, semicolon or |"),
        ("", None, DataError, "rows: the file is empty; expected rows"),
        ('"a\nb",label\nx,1\ny,0\n', None, DataError, "rows, line 1: the header cannot be read: unexpected end of data"),
        ("BZh91AY&SY1234567", None, DataError, "rows: is packed by bzip2"),
        ("1 1:1\n", "b", ConfigError, "--label b: "),
    ],
)
def test_errors(tmp_path, text, label, error, expected):
    (tmp_path / "rows").write_text(text)
    with pytest.raises(error) as raised:
        init([str(tmp_path / "rows")], str(tmp_path / "out.toml"), label)
    assert expected in str(raised.value) and not (tmp_path / "out.toml").exists()


def test_a_file_is_not_replaced(tmp_path):
    write_csv(tmp_path / "rows", [[0, "a"], [1, "b"]], ["label", "c"])
    (tmp_path / "out.toml").write_text("mine")
    with pytest.raises(ConfigError, match="out.toml: there is such a file; choose another name"):
        init([str(tmp_path / "rows")], str(tmp_path / "out.toml"))
    assert (tmp_path / "out.toml").read_text() == "mine"


def test_a_column_of_whole_floats_is_noted_once(tmp_path):
    table = {"label": [0, 1] * 50, "shop_id": pa.array([None if i % 9 == 0 else float(i % 40) for i in range(100)])}
    for name in ("train", "test"):
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    assert deshpc("init", "train.parquet", "test.parquet", cwd=tmp_path).returncode == 0
    for done in (deshpc("convert", "click.toml", "--out", "caches", cwd=tmp_path), deshpc("train", "click.toml", cwd=tmp_path)):
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("deshpc: note: data.fields, 'shop_id': ") == 1 and "13.0 gets the key of 13" in done.stderr


def test_what_is_written_trains_at_once(tmp_path):
    for i in range(2):
        write_csv(tmp_path / f"day{i}.csv", rows_of(i, i * ROWS), delimiter=";")
    done = deshpc("init", "day0.csv", "day1.csv", "--label", "action", cwd=tmp_path)
    assert done.returncode == 0 and "next: deshpc train click.toml" in done.stdout, done.stderr
    done = deshpc("train", "click.toml", cwd=tmp_path)
    assert done.returncode == 0 and "test AUC" in done.stdout, done.stderr
