"""Grouped AUC, slices, unseen keys and calibration of whole runs, against scikit-learn on the scores of `deshpc predict`."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

import deshpc
from deshpc.cli.convert import convert
from deshpc.cli.tables import metrics_table, training_table
from deshpc.config.load import build
from deshpc.errors import ConfigError
from deshpc.hashing.key import key
from deshpc.training.predict import predict

pytestmark = pytest.mark.mpi
FIELDS = [{"name": "user"}, {"name": "tab"}, {"name": "age", "kind": "bucket", "boundaries": [20.0, 40.0]}, {"name": "tags", "kind": "multi"}]
METRICS = {"group": "user", "slices": [{"field": "tab", "most": 4}, {"field": "age"}, {"field": "user", "values": ["u3", "nobody"]}]}


def rows_of(seed, count, users):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        user, tab = int(rng.integers(0, users)), int(rng.zipf(1.6) % 9)
        click = int(rng.random() < 0.15 + 0.07 * tab + 0.1 * (user % 3))
        yield {"user": f"u{user}", "tab": f"tab {tab}" if tab else "", "age": str(rng.integers(10, 60)), "tags": "x|y", "click": str(click)}


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(communicator, folder, TrainResult, rows of the test part, their scores)."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    folder = Path(world.bcast(str(tmp_path_factory.mktemp("slices"))))
    parts = {"train": list(rows_of(1, 700, 30)), "valid": list(rows_of(2, 150, 30)), "test": list(rows_of(3, 601, 45))}
    if world.rank == 0:
        for name, rows in parts.items():
            write(folder / f"{name}.csv", rows)
    world.Barrier()
    data = {**{part: str(folder / f"{part}.csv") for part in parts}, "label": "click", "fields": FIELDS}
    tree = {
        "data": data, "model": {"name": "lr"}, "train": {"global_batch_samples": 64, "stop_metric": "grouped_auc", "epochs": 3},
        "metrics": METRICS, "run": {"directory": str(folder / "run")},
    }  # fmt: skip
    result = deshpc.train(build(tree), world)
    predict(folder / "run", str(folder / "scores.csv"), world)
    with open(folder / "scores.csv", encoding="utf-8") as file:
        scores = np.array([float(line["score"]) for line in csv.DictReader(file)])
    return world, folder, result, parts, scores


def column(rows, name):
    return np.array([row[name] for row in rows])


def test_a_run_finds_them_of_its_test_part(run):
    _, _, result, parts, p = run
    rows, found = parts["test"], result.test
    y = column(rows, "click").astype(int)
    assert found.pr_auc == pytest.approx(average_precision_score(y, p), rel=1e-9)
    users, areas, sizes = column(rows, "user"), [], []
    for user in np.unique(users):
        mine = users == user
        if 0 < y[mine].sum() < mine.sum():
            areas.append(roc_auc_score(y[mine], p[mine]))
            sizes.append(mine.sum())
    assert (found.groups, found.groups_left_out) == (len(areas), len(np.unique(users)) - len(areas))
    assert found.grouped_auc == pytest.approx(np.average(areas, weights=sizes), rel=1e-9)
    tabs, counts = np.unique(column(rows, "tab"), return_counts=True)
    in_order = sorted(zip(-counts, (key(1, "tab", str(tab)) for tab in tabs), tabs, strict=True))[:4]
    ages = np.digitize(column(rows, "age").astype(float), [20, 40])
    wanted = [("tab", str(tab), column(rows, "tab") == tab) for *_, tab in in_order]
    by_count = np.argsort(-np.bincount(ages), kind="stable")
    names = ["0: -inf to 20", "1: 20 to 40", "2: 40 to inf"]
    wanted += [("age", names[age], ages == age) for age in by_count]
    wanted += [("user", "u3", users == "u3"), ("user", "nobody", users == "nobody")]
    assert [(one.field, one.value, one.rows) for one in found.slices] == [(field, value, which.sum()) for field, value, which in wanted]
    for one, (_, _, which) in zip(found.slices, wanted, strict=True):
        assert one.positives == y[which].sum()
        if which.any():
            assert one.log_loss == pytest.approx(log_loss(y[which], p[which], labels=[0, 1]), rel=1e-6)
            assert one.auc == pytest.approx(roc_auc_score(y[which], p[which]), rel=1e-9)
            assert one.calibration == pytest.approx(p[which].sum() / y[which].sum(), rel=1e-6)


def test_unseen_keys_are_those_of_no_training_row(run):
    _, _, result, parts, _ = run
    assert [one.field for one in result.test.unseen] == ["user", "tab", "tags"]
    for one in result.test.unseen[:2]:
        had, values = {row[one.field] for row in parts["train"]}, column(parts["test"], one.field)
        unseen = [value for value in values if value not in had]
        assert (one.occurrences, one.unseen_occurrences) == (601, len(unseen))
        assert (one.distinct, one.unseen_distinct) == (len(set(values)), len(set(unseen)))
    assert result.test.unseen[0].unseen_distinct == 15
    assert result.test.unseen[2].occurrences == 1202


def test_evaluations_on_the_way_have_no_slices_but_groups(run):
    world, folder, result, _, _ = run
    lines = [json.loads(line) for line in (folder / "run" / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    valid = [line for line in lines if line["event"] == "valid"]
    assert all(line["slices"] is None and line["unseen"] is None and line["grouped_auc"] and len(line["calibration_bins"]) == 10 for line in valid)
    assert result.best_step == max(valid, key=lambda line: line["grouped_auc"])["step"]
    assert [line for line in lines if line["event"] == "result"][0]["test"] == json.loads(json.dumps(asdict(result.test)))


def test_eval_finds_the_same_and_shows_it(run):
    world, folder, result, _, _ = run
    found = deshpc.evaluate(folder / "run", world)
    assert found == result.test
    text = metrics_table(found)
    assert f"grouped AUC           {found.grouped_auc:.5f} ({found.groups:,} groups; {found.groups_left_out} of one class)" in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("tab")][0] == ["tab", "tab"]
    assert ["user", "45", "15", "33.3", "%"] in [line.split()[:5] for line in text.splitlines()] and text.count("\n\n") == 3
    assert "calibration, from low" not in training_table(result) and "test slices" in training_table(result)
    assert "unseen keys" in training_table(result)
    other = deshpc.evaluate(folder / "run", world, ["metrics.slices=[]", "metrics.group=''", "metrics.calibration_bins=0", "train.stop_metric=none"])
    assert (other.slices, other.grouped_auc, other.calibration_bins, other.auc) == (None, None, None, found.auc)


def test_values_that_are_in_no_file_are_shown_by_their_keys(run):
    world, folder, result, _, _ = run
    if world.size > 1:
        pytest.skip("caches are made by one process")
    if world.rank == 0:
        (folder / "cached").mkdir(exist_ok=True)
        fields = ", ".join("{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in field.items()) + "}" for field in FIELDS)
        parts = "".join(f"{part} = {json.dumps(str(folder / f'{part}.csv'))}\n" for part in ("train", "test"))
        (folder / "text.toml").write_text(f"[data]\n{parts}label = 'click'\nfields = [{fields}]\n", encoding="utf-8")
        convert(folder / "text.toml", folder / "cached", ())
    world.Barrier()
    cache = next(path for path in sorted((folder / "cached").iterdir()) if "test" in path.name)
    options = ["data.format=cache", "data.fields=[]", "data.train=[]", "data.valid=[]", f"data.test={json.dumps(str(cache))}", "train.stop_metric=none"]
    found = deshpc.evaluate(folder / "run", world, options)
    by_name = [(f"{key(1, 'tab', one.value):#018x}" if one.field == "tab" else one.value) for one in result.test.slices]
    assert [one.value for one in found.slices] == by_name
    assert [one.auc for one in found.slices] == [one.auc for one in result.test.slices]


@pytest.mark.parametrize("options, words", [
    (["metrics.group=usr"], "metrics.group = 'usr' is no field of data.fields, which metrics are found by; did you mean 'user'"),
    (["metrics.group=tags"], "metrics.group = 'tags' is a multi field"),
    (["metrics.slices=[{field='tab'}, {field='tab'}]"], r"metrics.slices\[1\].field = 'tab' is there twice"),
    (["metrics.slices=[{}]"], r"metrics.slices\[0\].field = '' is missing"),
    (["metrics.group=''"], "train.stop_metric = 'grouped_auc' needs metrics.group"),
])  # fmt: skip
def test_what_cannot_be_found_by(run, options, words):
    world, folder, *_ = run
    with pytest.raises(ConfigError, match=words):
        deshpc.evaluate(folder / "run", world, options)


def test_keys_written_otherwise_are_warned_of_once(run, capfd):
    world, folder, _, parts, _ = run
    if world.rank == 0:
        write(folder / "odd.csv", [{**row, "user": f"{row['user']}.0", "tab": f" {row['tab']}"} for row in parts["test"]])
    world.Barrier()
    deshpc.evaluate(folder / "run", world, data=[str(folder / "odd.csv")])
    said = capfd.readouterr().err
    if world.rank == 0:
        (line,) = [line for line in said.splitlines() if "unseen keys" in line]
        assert "most values of 'user' (100 % of 45), 'tab' (100 % of 9) in the test part were never seen in training" in line
        assert "13.0 is not 13" in line
