"""Right by default: a bias that starts at the base rate, and one clear warning for what hardly anybody wants."""

import json
import math

import numpy as np
import pytest
from mpi4py import MPI

from deshpc.config.load import build
from deshpc.config.unused import unused_options
from deshpc.errors import ConfigError
from deshpc.training.api import evaluate, train
from deshpc.training.base_rate import BaseRate

FIELDS = [{"name": name} for name in ("user", "item", "place")]


def rare_clicks(rows, seed, rate=0.005):
    """(cells of FIELDS, labels): clicks of that rate, of which some users and items have more than others."""
    rng = np.random.default_rng(seed)
    cells = np.stack([rng.integers(0, count, rows) for count in (2000, 500, 20)], axis=1)
    logit = math.log(rate) + 0.5 * np.random.default_rng(5).standard_normal(2000)[cells[:, 0]] + 0.02 * cells[:, 2]
    return cells, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)


def write(path, cells, labels):
    lines = ["user,item,place,label", *(f"{u},{i},{p},{y}" for (u, i, p), y in zip(cells.tolist(), labels.tolist(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def config_of(folder, rows=2000, labels=None, **sections):
    cells, drawn = rare_clicks(rows, 1)
    file = write(folder / "rows.csv", cells, drawn if labels is None else labels)
    data = {"train": file, "test": file, "fields": FIELDS}
    tree = {"data": data, "model": {"name": "lr"}, "run": {"directory": str(folder / "run")}}
    return build({**tree, **{name: {**tree.get(name, {}), **options} for name, options in sections.items()}})


def warnings(folder):
    events = [json.loads(line) for line in (folder / "run" / "record.jsonl").read_text().splitlines()]
    return {one["subject"]: one["text"] for one in events if one["event"] == "warning"}


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rare")
    return [write(folder / name, *rare_clicks(rows, seed)) for name, rows, seed in (("train.csv", 200_000, 1), ("test.csv", 50_000, 2))]


@pytest.mark.parametrize("name", ["lr", "fm", "deepfm"])
def test_rare_clicks_are_calibrated_after_one_pass_with_defaults(rare, tmp_path, name):
    """At most 1.01 times the entropy of the best constant, and a mean prediction within 10 % of the training part's base rate."""
    data = {"train": rare[0], "test": rare[1], "fields": FIELDS}
    config = build({"data": data, "model": {"name": name}, "run": {"directory": str(tmp_path), "save_model": False}})
    found = train(config, MPI.COMM_SELF).test
    rate, mean = rare_clicks(200_000, 1)[1].mean(), found.calibration * found.positives / found.rows
    assert 0.005 < rate < 0.01
    assert found.normalized_entropy <= 1.01 and abs(mean / rate - 1) <= 0.1


@pytest.mark.mpi
def test_the_bias_starts_at_the_log_odds_of_the_training_part(world, tmp_path):
    folder = world.bcast(tmp_path)
    labels = np.arange(2000) % 8 == 0
    config = world.bcast(config_of(folder, labels=labels.astype(int), train={"epochs": 0}) if world.rank == 0 else None)
    found = train(config, world)  # no step is made: what is saved is the start
    assert found.test.log_loss == pytest.approx(-(math.log(1 / 8) / 8 + math.log(7 / 8) * 7 / 8), rel=1e-6)
    assert found.test.calibration == pytest.approx(1, rel=1e-6)


def test_zero_is_where_it_starts_if_somebody_says_so(tmp_path):
    found = train(config_of(tmp_path, train={"epochs": 0}, model={"initial_bias": "zero"}), MPI.COMM_SELF)
    assert found.test.log_loss == pytest.approx(math.log(2), rel=1e-6)


def test_what_a_base_rate_is():
    assert BaseRate.of_counts(0, 0).rate is None and BaseRate.of_counts(0, 0).log_odds == 0
    assert BaseRate.of_counts(5, 5).log_odds == 0 and BaseRate.of_counts(5, 5).log_loss is None
    assert BaseRate.of_counts(4, 1).log_odds == pytest.approx(math.log(1 / 3))
    assert BaseRate.of_counts(4, 1).log_loss == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))


def test_a_part_of_one_class_is_told(tmp_path):
    train(config_of(tmp_path, 50, labels=np.zeros(50, int)), MPI.COMM_SELF)
    assert warnings(tmp_path) == {"data.train": "all labels that count are 0: there is nothing to tell apart; is data.label the right column?"}


def test_steps_that_are_too_large_are_told(tmp_path):
    options = {"name": "sgd", "learning_rate": 1e4, "reduction": "sum"}
    train(config_of(tmp_path, optimizer=options, train={"epochs": 2, "global_batch_samples": 200}), MPI.COMM_SELF)
    found = warnings(tmp_path)
    assert found.keys() == {"training log-loss", "test log-loss"}
    assert "more than the" in found["training log-loss"] and "lower optimizer.learning_rate" in found["training log-loss"]
    assert "times that of the best constant prediction" in found["test log-loss"]


def test_options_that_a_run_does_not_read_are_told(tmp_path):
    labels = np.arange(50) % 2
    config = config_of(tmp_path, 50, labels, model={"hidden": [10]}, optimizer={"beta1": 0.5}, train={"epochs": 0})
    train(config, MPI.COMM_SELF)
    assert warnings(tmp_path) == {
        "model.hidden": "changes nothing: only deep models have layers (model.name = 'lr')",
        "optimizer.beta1": "changes nothing: optimizer.name = 'adagrad' has no such number",
    }


@pytest.mark.parametrize(
    "section, options, unused",
    [
        ("model", {"name": "fm", "dim": 4}, []),
        ("model", {"name": "lr", "dim": 4}, ["model.dim"]),
        ("model", {"name": "dlrm", "hidden": [4], "bottom_hidden": [4]}, []),
        ("model", {"name": "deepfm", "hidden": [4], "bottom_hidden": [4], "cin_layers": [2]}, ["model.bottom_hidden", "model.cin_layers"]),
        ("model", {"name": "dcn", "cross_layers": 2, "cross_rank": 2}, ["model.cross_rank"]),
        ("optimizer", {"name": "adam", "beta1": 0.8, "epsilon": 1e-3}, []),
        ("optimizer", {"name": "sgd", "beta1": 0.8, "epsilon": 1e-3}, ["optimizer.epsilon", "optimizer.beta1"]),
        ("optimizer", {"name": "sgd", "dense_name": "adam", "beta1": 0.8}, []),
        ("train", {"stop_patience": 5}, ["train.stop_patience"]),
        ("checkpoint", {"full_every": 5}, ["checkpoint.full_every"]),
        ("checkpoint", {"full_every": 5, "every_minutes": 30.0}, []),
    ],
)
def test_which_options_are_read(section, options, unused):
    config = build({"data": {"format": "synthetic"}, section: options})
    assert sorted(name for name, _ in unused_options(config)) == sorted(unused)


def test_a_trained_model_is_replaced_only_if_somebody_says_so(tmp_path):
    config = config_of(tmp_path, 50)
    first = train(config, MPI.COMM_SELF)
    with pytest.raises(ConfigError, match=r"holds a trained model: add --overwrite to replace it, --resume to go on .* or choose another folder"):
        train(config, MPI.COMM_SELF)
    with pytest.raises(ConfigError, match="choose one"):
        train(config, MPI.COMM_SELF, resume=True, overwrite=True)
    again = train(config, MPI.COMM_SELF, ["train.epochs=0"], overwrite=True)
    assert (first.steps, again.steps) == (1, 0)
    assert evaluate(tmp_path / "run", MPI.COMM_SELF) == again.test


def test_overwrite_removes_checkpoints(tmp_path):
    config = config_of(tmp_path, 50, train={"global_batch_samples": 10}, checkpoint={"every_steps": 2})
    train(config, MPI.COMM_SELF)
    with pytest.raises(ConfigError, match="holds checkpoints, the newest of them step-000000000004: add --resume .*, --overwrite to begin anew"):
        train(config, MPI.COMM_SELF)
    train(config, MPI.COMM_SELF, ["checkpoint.every_steps=0"], overwrite=True)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.mpi
def test_a_run_without_a_folder_gets_one(world, tmp_path, monkeypatch):
    folder = world.bcast(tmp_path)
    monkeypatch.chdir(folder)
    config = world.bcast(config_of(folder, 50) if world.rank == 0 else None)
    for _ in range(2):
        train(config, world, ["run.directory=''"])
        world.Barrier()
    runs = folder / "runs"
    names = sorted(one.name for one in runs.iterdir() if not one.is_symlink())
    assert len(names) == 2 and (runs / "latest").is_symlink() and (runs / "latest").resolve().name == names[1]
    train(config, world, ["run.directory=''"], resume=True)  # of the newest
    assert sorted(one.name for one in runs.iterdir() if not one.is_symlink()) == names


def test_other_rows_are_evaluated_by_name(tmp_path):
    config = config_of(tmp_path, 50)
    train(config, MPI.COMM_SELF)
    other = write(tmp_path / "other.csv", *rare_clicks(30, 3))
    assert evaluate(tmp_path / "run", data=[other]).rows == 30
