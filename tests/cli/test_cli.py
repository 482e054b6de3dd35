"""The command line as a user meets it: real processes, exit codes, what is printed and what is written.

Proves that the front answers without loading the engine; that a model trained on two ranks scores alike on one, two
and three; that the Python API gives what the command line gives; and that every mistake of a user, on any number of
ranks, is one clear line.
"""

import json
import math
import random
import shutil
from dataclasses import asdict

import pytest
from launching import MPIEXEC, deshpc, errors, run

import deshpc as package
from deshpc.checkpoint.manifest import write_manifest
from deshpc.config import flat, load, resolved
from deshpc.errors import ConfigError, DataError

ROWS = {"train": 301, "valid": 53, "test": 97}
SITES, TAGS, BUCKETS, EPOCHS, BATCH = 23, 7, 4, 2, 64

CSV_CONFIG = f"""
[data]
train = "train.csv"
valid = "valid.csv"
test = "test.csv"
fields = [
    {{ name = "site" }},
    {{ name = "tags", kind = "multi", pooling = "mean" }},
    {{ name = "age", kind = "dense" }},
    {{ name = "price", kind = "bucket", buckets = {BUCKETS} }},
]
[model]
dim = 5
[train]
epochs = {EPOCHS}
global_batch_samples = {BATCH}
precision = "float64"
[compute]
threads_per_rank = 1
"""

SYNTHETIC_CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 2_000, valid_rows = 0, test_rows = 501 }
[model]
dim = 5
[train]
global_batch_samples = 256
precision = "float64"
[compute]
threads_per_rank = 1
"""

BLOCKED = """
import sys

class Blocked:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "numba", "mpi4py"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked)
from deshpc.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def write_rows(path, rows, seed):
    """A CSV file; the training file has every site and tag."""
    chance = random.Random(seed)
    lines = ["site,label,tags,age,price"]
    for i in range(rows):
        tags = "|".join(f"t{(i + j) % TAGS}" for j in range(chance.randrange(4)))
        site = i if i < SITES else chance.randrange(SITES + 5 * (seed > 0))  # seed 0 trains; others know more sites
        age = "" if chance.random() < 0.1 else f"{chance.gauss(40, 15):.1f}"
        label = int(chance.random() < (0.7 if site % 3 == 0 else 0.2))
        lines.append(f"s{site},{label},{tags},{age},{chance.expovariate(1):.3f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def csv_folder(tmp_path_factory):
    """A folder with data and csv.toml, synthetic.toml."""
    folder = tmp_path_factory.mktemp("csv")
    for seed, (name, rows) in enumerate(ROWS.items()):
        write_rows(folder / f"{name}.csv", rows, seed)
    (folder / "csv.toml").write_text(CSV_CONFIG, encoding="utf-8")
    (folder / "synthetic.toml").write_text(SYNTHETIC_CONFIG, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(csv_folder):
    """(finished process, run directory) of a training on two ranks, or on one without a launcher."""
    done = deshpc("train", "csv.toml", ranks=2 if MPIEXEC.exists() else 1, cwd=csv_folder)
    assert done.returncode == 0, done.stderr
    return done, (csv_folder / "runs" / "latest").resolve()


@pytest.fixture
def run_copy(trained, tmp_path):
    """A copy of the trained run, to be damaged."""
    return shutil.copytree(trained[1], tmp_path / "run")


def events(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_metrics(found, wanted, tolerance=0.0):
    """Metrics, as dictionaries, are equal up to a relative tolerance."""
    found, wanted = flat(found), flat(wanted)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        same = found[name] == value if value is None or isinstance(value, str) else abs(found[name] - value) <= tolerance * abs(value)
        assert same, name


def check_error(done, code, *words):
    """One line of error with the words, nothing on standard output, and the exit code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    said = errors(done)
    assert len(said) == 1 and not said[0].startswith("deshpc: rank "), done.stderr  # no rank failed alone
    for word in words:
        assert str(word) in said[0]


def blocked(*arguments, cwd=None):
    """`deshpc ARGUMENTS` in a process that cannot import NumPy, Numba or mpi4py."""
    return run("-c", BLOCKED, *arguments, cwd=cwd)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("eval", "--help"), ("info", "--help"), ("--version",)]
)
def test_help_needs_no_engine(arguments):
    done = blocked(*arguments)
    assert done.returncode == 0 and done.stderr == ""
    wanted = {
        "--version": [package.__version__], "--help": ["train", "eval", "info"],
        "train": ["usage: deshpc train", "--set", "--check-bytes"],
    }  # fmt: skip
    for word in wanted.get(arguments[0], ["usage: deshpc " + arguments[0], "--set"]):
        assert word in done.stdout


@pytest.mark.parametrize(
    "arguments", [(), ("trian", "a.toml"), ("train",), ("train", "a.toml", "--epochs", "3"), ("eval",)]
)
def test_a_wrong_command_line(arguments):
    done = blocked(*arguments)
    assert done.returncode == 2 and "usage: deshpc" in done.stderr


def test_info_needs_no_engine(csv_folder, trained, tmp_path):
    done = blocked("info")
    assert done.returncode == 0 and f"deshpc {package.__version__}" in done.stdout and "backends cpu" in done.stdout
    done = blocked("info", "--options")
    assert done.returncode == 0 and "train.global_batch_samples = 8192" in done.stdout
    done = blocked("info", "csv.toml", "--set", "train.epochs=7", cwd=csv_folder)
    assert done.returncode == 0 and "epochs = 7\n" in done.stdout and 'name = "price"' in done.stdout

    done = blocked("info", trained[1])
    assert done.returncode == 0 and done.stdout.startswith("# model of ")
    assert f"model of {EPOCHS * math.ceil(ROWS['train'] / BATCH)} steps on" in done.stdout
    again = tmp_path / "again.toml"
    again.write_text(done.stdout, encoding="utf-8")
    assert load(again) == load(csv_folder / "csv.toml", [f"run.directory=runs/{trained[1].name}"])
    check_error(blocked("info", tmp_path), 3, tmp_path, "no saved model there")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "none.toml"), ("none.toml", "no such configuration file")),
        (("train", "csv.toml", "--set", "train.epoch=3"), ("did you mean train.epochs?",)),
        (("train", "csv.toml", "--set", "model.dim=0"), ("model.dim", "at least 1")),
        (("info", "csv.toml", "--set", "epochs=3"), ("--set epochs=3",)),
        (("info", "none"), ("none", "no such configuration file")),
    ],
)
def test_a_config_error_needs_no_engine(csv_folder, arguments, words):
    check_error(blocked(*arguments, cwd=csv_folder), 2, *words)


def test_train_writes_record_and_model(csv_folder, trained):
    done, directory = trained
    record, ranks = events(directory / "record.jsonl"), 2 if MPIEXEC.exists() else 1
    names = [event["event"] for event in record]
    assert names[:2] == ["start", "ready"] and names[-1] == "result"
    assert names[2:-1] == ["progress", "valid"] * EPOCHS
    times = [event["time_s"] for event in record]
    assert times == sorted(times) and times[0] >= 0
    assert record[0]["config"] == resolved(load(csv_folder / "csv.toml", [f"run.directory=runs/{directory.name}"]))
    assert record[0]["ranks"] == ranks
    assert record[1]["train_rows"] == ROWS["train"]
    assert [event["samples"] for event in record[2:-1:2]] == [ROWS["train"]] * EPOCHS

    result = record[-1]
    assert result["samples"] == EPOCHS * ROWS["train"] and result["steps"] == EPOCHS * math.ceil(ROWS["train"] / BATCH)
    assert result["rows"] == sum(result["rows_per_rank"]) == SITES + TAGS + BUCKETS
    assert len(result["rows_per_rank"]) == ranks and result["threads_per_rank"] == 1
    for part in ("valid", "test"):
        metrics = result[part]
        assert metrics["rows"] == ROWS[part] and 0 < metrics["positives"] < ROWS[part]
        assert 0.5 < metrics["auc"] < 1 and metrics["best_auc"] is None
    assert {**result["valid"], "unseen": None} == {name: record[-2][name] for name in result["valid"]}
    assert [one["field"] for one in result["valid"]["unseen"]] == ["site", "tags"]

    shown = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert float(shown["test AUC"]) == round(result["test"]["auc"], 5)
    assert int(shown["test rows, positive"].split(",")[0]) == ROWS["test"]
    assert "epoch 2/2  100 %" in done.stderr and "deshpc:" not in done.stderr
    files = {path.name for path in (directory / "model").iterdir()}
    assert files == {"manifest.json", "dense"} | {f"rank-{r:05d}-of-{ranks:05d}.rows" for r in range(ranks)}
    assert {path.name for path in directory.iterdir()} == {"record.jsonl", "model"}


def test_train_shows_the_bytes_by_ledger_and_formula(trained):
    done, directory = trained
    result = events(directory / "record.jsonl")[-1]
    lines = done.stdout.splitlines()
    (keys,) = [line for line in lines if line.startswith("keys a sample  ")]
    assert f"m = {result['keys_per_sample']:.2f}" in keys
    if result["ranks"] == 1:  # no launcher here: nothing travels
        assert result["traffic"] == [] and "u = " not in keys
        return
    assert "u = " not in keys and result["unique_keys_per_sample"] is None  # inside a node every occurrence is looked up
    title, *table = lines[-1 - len(result["traffic"]) :]
    assert title.startswith("bytes/sample and rank  ") and title.endswith(" | formula")
    for line, row in zip(table, result["traffic"], strict=True):
        name, ledger, *formula = line.replace("|", " ").replace(" to ", " ").rsplit(None, 3 if row["kind"] == "keys" else 2)
        assert name == f"{row['operator']} {row['kind']}, {row['direction']}"
        shown = [float(text) for text in (ledger, formula[0], formula[-1])]
        wanted = [row[which] / 2 / result["samples"] for which in ("sent_bytes", "low_bytes", "high_bytes")]
        assert shown == pytest.approx(wanted, abs=0.0051)
    assert {row["kind"] for row in result["traffic"]} == {"keys", "labels", "partials"}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_eval_on_any_number_of_ranks(trained, run_copy, ranks):
    """float64: a logit of a dozen terms is off by 1e-14 at most, and so are means over the rows."""
    done = deshpc("eval", run_copy, ranks=ranks, cwd=run_copy.parent)
    assert done.returncode == 0, done.stderr
    (event,) = events(run_copy / "eval-test.jsonl")  # in the directory that was named, not where it was trained
    wanted = events(trained[1] / "record.jsonl")[-1]["test"]
    assert event["event"] == "eval" and event["part"] == "test" and event["ranks"] == ranks
    check_metrics({name: event[name] for name in wanted}, wanted, tolerance=0 if ranks == 2 else 1e-12)
    assert f"{wanted['auc']:.5f}" in done.stdout and done.stdout.count("\nAUC ") == 1


def test_eval_of_another_part_and_other_files(csv_folder, trained, tmp_path, world):
    wanted = events(trained[1] / "record.jsonl")[-1]["valid"]
    here = (f"run.directory={tmp_path}",)
    check_metrics(asdict(package.evaluate(trained[1], world, here, part="valid")), wanted, 1e-12)
    other = (*here, f"data.test={csv_folder / 'valid.csv'}")
    check_metrics(asdict(package.evaluate(trained[1], world, other)), wanted, 1e-12)
    assert {path.name for path in tmp_path.iterdir()} == {"eval-valid.jsonl", "eval-test.jsonl"}
    with pytest.raises(ConfigError, match="data.test files"):
        package.evaluate(trained[1], world, (*here, "data.test=[]"))


def test_python_gives_what_the_command_line_gives(csv_folder, tmp_path, world):
    done = deshpc("train", "synthetic.toml", "--set", f"run.directory={tmp_path / 'a'}", cwd=csv_folder)
    assert done.returncode == 0, done.stderr
    config = load(csv_folder / "synthetic.toml", [f"run.directory={tmp_path / 'b'}"])
    clocks = {"samples_per_s", "setup_s", "compile_s", "checkpoint_stall_s", "longest_stall_s"}
    result = {name: value for name, value in asdict(package.train(config, world)).items() if name not in clocks}
    written = [events(tmp_path / run / "record.jsonl")[-1] for run in "ab"]
    for event in written:
        assert {name: event[name] for name in result} == result
    assert result["test"]["best_auc"] > result["test"]["auc"] > 0.5
    assert (tmp_path / "b" / "model" / "manifest.json").exists()


def test_no_model_is_saved_on_request(csv_folder, tmp_path, world):
    config = load(
        csv_folder / "synthetic.toml",
        [f"run.directory={tmp_path}", "run.save_model=false", "train.epochs=0", "model.initial_bias=zero"],
    )
    result = package.train(config, world)
    assert result.rows == result.steps == result.samples == 0 and result.test.rows == 501
    assert result.test.log_loss == pytest.approx(math.log(2), rel=1e-4)  # logits of two dense features' first factors
    assert [path.name for path in tmp_path.iterdir()] == ["record.jsonl"]
    with pytest.raises(DataError, match="no saved model there"):
        package.evaluate(tmp_path, world)


def test_fewer_rows_than_ranks(csv_folder, tmp_path):
    few = ("train_rows=2", "test_rows=1")
    options = [text for one in few for text in ("--set", f"data.synthetic.{one}")]
    done = deshpc("train", "synthetic.toml", *options, "--set", f"run.directory={tmp_path}", ranks=3, cwd=csv_folder)
    assert done.returncode == 0, done.stderr
    result = events(tmp_path / "record.jsonl")[-1]
    assert result["samples"] == 2 and result["test"]["rows"] == 1 and result["test"]["auc"] is None
    assert "undefined (one class only)" in done.stdout
    # two samples' label and two dense features go to two other ranks; the mean over ranks, per sample
    assert result["bytes_per_sample"]["labels"] == pytest.approx(2 * 2 * 3 * 4 / 3 / 2)


def test_missing_data_is_said_once(csv_folder):
    done = deshpc("train", "csv.toml", "--set", "data.valid=none.csv", ranks=3, cwd=csv_folder)
    check_error(done, 3, csv_folder / "none.csv", "no such file")


def test_data_that_cannot_be_read_names_the_place(csv_folder, tmp_path):
    text = (csv_folder / "train.csv").read_text(encoding="utf-8").splitlines()
    text[5] = text[5].replace(",0,", ",2,").replace(",1,", ",2,")
    (tmp_path / "bad.csv").write_text("\n".join(text), encoding="utf-8")
    done = deshpc("train", "csv.toml", "--set", f"data.train={tmp_path / 'bad.csv'}", cwd=csv_folder)
    check_error(done, 3, tmp_path / "bad.csv", "line 6", "label")


def test_a_run_directory_that_cannot_be_written(csv_folder):
    done = deshpc("train", "synthetic.toml", "--set", "run.directory=csv.toml/run", ranks=3, cwd=csv_folder)
    check_error(done, 2, "run.directory", "csv.toml/run", "cannot be written")


def test_nothing_to_train_on_is_said_once(csv_folder):
    check_error(
        deshpc("train", "csv.toml", "--set", "data.train=[]", ranks=3, cwd=csv_folder), 2, "training needs data.train"
    )


def test_eval_without_a_model_is_said_once(tmp_path):
    check_error(deshpc("eval", tmp_path, ranks=3), 3, tmp_path, "no saved model there")


def test_eval_of_a_damaged_model_is_said_once(run_copy):
    rows = sorted((run_copy / "model").glob("rank-*"))[-1]
    rows.write_bytes(rows.read_bytes()[:-100])
    check_error(deshpc("eval", run_copy, ranks=3), 3, rows, "damaged")


def change_manifest(run, **entries):
    """Entries that are not true, under a checksum that is."""
    manifest = {**json.loads((run / "model" / "manifest.json").read_text(encoding="utf-8")), **entries}
    del manifest["crc32"]
    write_manifest(run / "model", manifest)


def flip(path, fraction):
    content = bytearray(path.read_bytes())
    content[int(len(content) * fraction)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "kind", "word"),
    [
        (lambda run: flip(run / "model" / "dense", 0.05), DataError, "dense: not a deshpc container"),
        (lambda run: flip(run / "model" / "dense", 0.3), DataError, "dense, section"),
        (lambda run: flip(rows_file(run), 0.3), DataError, "rank-00000-of"),
        (lambda run: rows_file(run).write_bytes(b""), DataError, "rank-00000-of"),
        (lambda run: rows_file(run).unlink(), DataError, "no such file"),
        (lambda run: shutil.copy(run / "model" / "dense", rows_file(run)), DataError, "file of another model"),
        (lambda run: (run / "model" / "manifest.json").write_text("{"), DataError, "manifest.json: damaged"),
        (lambda run: (run / "model" / "manifest.json").write_text("[]"), DataError, "not the manifest of a model"),
        (lambda run: flip(run / "model" / "manifest.json", 0.5), DataError, "manifest.json"),
        (lambda run: change_manifest(run, format=4), DataError, "format 4; this version reads format 3"),
        (lambda run: change_manifest(run, hash="md5"), DataError, "keys were hashed by 'md5'"),
        (lambda run: change_manifest(run, ranks=5), DataError, "rank-00000-of-00005"),
        (lambda run: change_manifest(run, ranks="2"), DataError, "'ranks' is '2'"),
        (lambda run: change_manifest(run, source={}), DataError, "transforms are damaged"),
        (lambda run: change_manifest(run, config={"modle": {}}), ConfigError, "did you mean model?"),
    ],
)
def test_every_damage_is_a_clear_error(run_copy, world, damage, kind, word):
    damage(run_copy)
    with pytest.raises(kind) as caught:
        package.evaluate(run_copy, world)
    assert word in str(caught.value) and str(run_copy) in str(caught.value) or "transforms" in word


def rows_file(run):
    return sorted((run / "model").glob("rank-*"))[0]


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("model.dim=7", "model.dim: the model in .* has dim = 5, the configuration asks for 7"),
        ("optimizer.name=sgd", "optimizer.name: .* 'adagrad', the configuration asks for 'sgd'"),
        ("model.name=lr", "model.name: .* 'fm'"),
        ("train.precision=float32", "train.precision: .* 'float64'"),
        ("model.dim=x", "integer"),
    ],
)
def test_a_model_of_another_shape_is_a_clear_error(run_copy, world, override, word):
    with pytest.raises(ConfigError, match=word):
        package.evaluate(run_copy, world, [override])


def test_python_module_is_the_command():
    done = deshpc("--version")
    assert done.stdout == f"deshpc {package.__version__}\n" and done.returncode == 0


def test_train_is_a_function_whatever_was_imported_before():
    imports = ["import deshpc; deshpc.train", "import deshpc, deshpc.training.session"]
    for first in imports:
        done = run("-c", f"{first}\nprint(callable(deshpc.train), callable(deshpc.evaluate), callable(deshpc.train))")
        assert done.stdout.split() == ["True", "True", "True"], first


def test_training_again_replaces_the_model(tmp_path):
    config = tmp_path / "again.toml"
    config.write_text(
        '[data]\nformat = "synthetic"\nsynthetic = { train_rows = 500, test_rows = 0 }\n[model]\ndim = 5\n'
        f'[run]\ndirectory = "{tmp_path / "run"}"\n',
        encoding="utf-8",
    )
    for epochs, again in ((1, []), (2, ["--overwrite"])):
        assert run("-m", "deshpc", "train", config, "--set", f"train.epochs={epochs}", *again).returncode == 0
        manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["steps"] == epochs
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["model", "record.jsonl"]
