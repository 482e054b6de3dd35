"""Whole runs by weights: weighted rows against repeated ones, and predictions that stay calibrated where negatives are left out."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from deshpc.config.load import build
from deshpc.config.unused import unused_options
from deshpc.errors import ConfigError, DataError
from deshpc.serve.export import export
from deshpc.serve.predictor import Predictor
from deshpc.training.api import evaluate, train
from deshpc.training.base_rate import base_rate
from deshpc.training.best_constant import best_constant
from deshpc.training.training_part import problem

FIELDS = [{"name": "user"}, {"name": "item"}, {"name": "price", "kind": "dense"}]
ROWS = 600


def rows(seed=1):
    """[(user, item, price, label, weight)]"""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 40, ROWS), rng.integers(0, 15, ROWS)
    labels = rng.random(ROWS) < 1 / (1 + np.exp(1 + 0.1 * users - 0.2 * items))
    return list(zip(users, items, rng.integers(0, 9, ROWS), labels.astype(int), rng.integers(1, 4, ROWS), strict=True))


def write(path, those):
    path.write_text("\n".join(["user,item,price,label,weight", *(",".join(map(str, row)) for row in those)]) + "\n")
    return str(path)


def config_of(folder, file, run="run", **sections):
    """A full batch a step, so that its mean is that of the data."""
    tree = {
        "data": {"train": file, "fields": FIELDS, "test": str(folder / "test.csv")},
        "model": {"name": "fm", "dim": 4, "init_std": 0.2},
        "optimizer": {"name": "adam", "learning_rate": 0.02, "epsilon": 1e-3},
        "train": {"precision": "float64", "global_batch_samples": 1 << 14, "epochs": 6, "shuffle": False},
        "compute": {"threads_per_rank": 1},
        "run": {"directory": str(folder / run), "report_interval_s": 1e-9},
    }
    return build({**tree, **{name: {**tree.get(name, {}), **options} for name, options in sections.items()}})


def record(folder, run="run"):
    return [json.loads(line) for line in (folder / run / "record.jsonl").read_text().splitlines()]


def shown(folder, run):
    """(base rate, losses while it trained) of a run's record."""
    (ready,) = [line for line in record(folder, run) if line["event"] == "ready"]
    return ready["base_rate"], *(line["loss"] for line in record(folder, run) if line["event"] == "progress")


@pytest.fixture
def folder(world, tmp_path):
    folder = Path(world.bcast(str(tmp_path)))
    if world.rank == 0:
        those = rows()
        write(folder / "weighted.csv", those)
        write(folder / "repeated.csv", [(*row[:4], 1) for row in those for _ in range(row[4])])
        write(folder / "test.csv", rows(2))
        write(folder / "test_repeated.csv", [(*row[:4], 1) for row in rows(2) for _ in range(row[4])])
    world.Barrier()
    return folder


@pytest.mark.mpi
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_run_on_weighted_rows_is_one_on_repeated_rows(world, folder, reduction):
    """Base rate, losses on the screen, and all metrics of other rows, weighted and repeated alike.  Prices are standardised on rows,
    not on weights, so they are left out."""
    found = []
    for name, test, weight in (("weighted", "test", "weight"), ("repeated", "test_repeated", "")):
        data = {"weight": weight, "fields": FIELDS[:2], "test": str(folder / f"{test}.csv")}
        rule = {"reduction": reduction, **({} if reduction == "mean" else {"name": "adagrad", "learning_rate": 0.05})}
        config = config_of(folder, str(folder / f"{name}.csv"), name, data=data, optimizer=rule)
        result = train(config, world, check_bytes=True)
        one = result.test
        found.append((one.log_loss, one.auc, one.normalized_entropy, one.calibration, *shown(folder, name)))
    assert len(found[0]) == len(found[1]) == 5 + 6
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.mpi
def test_weights_of_classes_are_weights_of_rows(world, folder):
    those = [(*row[:4], 3 * row[4] if row[3] else row[4]) for row in rows()]
    if world.rank == 0:
        write(folder / "by_hand.csv", those)
    world.Barrier()
    found = []
    for name, weights in (("weighted", [1, 3]), ("by_hand", [])):
        file = str(folder / f"{name}.csv")
        options = {"data": {"weight": "weight", "test": file}, "train": {"class_weights": weights}}
        one = train(config_of(folder, file, name, **options), world).test
        found.append((*shown(folder, name), one.log_loss, one.calibration))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    positive, weight = sum(row[4] for row in those if row[3]), sum(row[4] for row in those)
    assert found[0][0] == pytest.approx(positive / weight, rel=1e-15)


SAMPLED = {"train_rows": 1_000_000, "test_rows": 200_000}


@pytest.mark.parametrize("correction", ["bias", "weights"])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_a_model_of_one_negative_in_five_is_calibrated_on_all_rows(tmp_path, name, correction):
    """Within 3 % of the full test part's positives; without a correction it would say 2.5 times as many."""
    config = build(
        {
            "data": {"format": "synthetic", "synthetic": SAMPLED},
            "model": {"name": name},
            "train": {"negative_sampling": 0.2, "sampling_correction": correction},
            "run": {"directory": str(tmp_path), "save_model": False},
        }
    )
    result = train(config, MPI.COMM_SELF)
    assert result.test.rows == 200_000 and abs(result.test.calibration - 1) <= 0.03
    assert result.test.normalized_entropy < 0.9
    (ready,) = [line for line in record(tmp_path, ".") if line["event"] == "ready"]
    positives = round(ready["base_rate"] * 1_000_000)
    negatives = result.samples - positives
    assert ready["kept_rows"] == result.samples and abs(negatives / (1_000_000 - positives) - 0.2) < 0.002
    assert not [line for line in record(tmp_path, ".") if line["event"] == "warning"]
    if correction == "bias":
        assert positives / result.samples / ready["base_rate"] == pytest.approx(2.5, abs=0.1)


@pytest.mark.mpi
def test_a_run_of_some_negatives_goes_on_where_it_was(world, folder):
    """The same rows after a checkpoint, the same model as without one; bytes are those of the formula."""
    sampled = {"negative_sampling": 0.3, "global_batch_samples": 50, "shuffle": True, "shuffle_block_rows": 64}
    data = {"weight": "weight"}

    def run(name, epochs, **how):
        train_options = {**sampled, "epochs": epochs}
        options = {"checkpoint": {"every_steps": 7}, "train": train_options, "data": data}
        return train(config_of(folder, str(folder / "weighted.csv"), name, **options), world, check_bytes=True, **how)

    whole = run("whole", 3)
    first = run("parts", 2)
    parts = run("parts", 3, resume=True)
    assert parts.resumed_from and parts.resumed_from <= first.steps and parts.test == whole.test
    kept = [line["kept_rows"] for line in record(folder, "whole") if line["event"] == "ready"]
    assert whole.samples == 3 * kept[0] < 3 * ROWS
    with pytest.raises(ConfigError, match="train.negative_sampling = 0.4, but the checkpoint"):
        sampled["negative_sampling"] = 0.4
        run("parts", 4, resume=True)


@pytest.mark.mpi
def test_eval_of_a_run_by_weights(world, folder):
    """The test part has the column, too; `evaluate` reads it again, or leaves it, for a file that has none.  An exported model takes rows
    with the column and without it."""
    options = {"data": {"weight": "weight"}, "train": {"class_weights": [1, 2]}}
    found = train(config_of(folder, str(folder / "weighted.csv"), **options), world)
    assert evaluate(folder / "run", world) == found.test
    off = ["data.weight=", "train.class_weights=[]"]
    plain, repeated = (evaluate(folder / "run", world, off, data=[folder / f"{name}.csv"]) for name in ("test", "test_repeated"))
    assert plain.rows == ROWS and len({plain.log_loss, repeated.log_loss, found.test.log_loss}) == 3
    again = evaluate(folder / "run", world, ["train.class_weights=[]"])
    assert again.log_loss == pytest.approx(repeated.log_loss, rel=1e-9) and again.auc == pytest.approx(repeated.auc, rel=1e-12)
    if world.rank == 0:
        export(folder / "run", folder / "out.model")
        model, row = Predictor(folder / "out.model"), {"user": "3", "item": "4", "price": 2.0}
        assert model.predict_one(row) == model.predict_one({**row, "label": 1, "weight": 2})
        with pytest.raises(DataError, match="weigth"):
            model.predict_one({**row, "weigth": 2})


class Parts:
    """A data set whose targets come in pieces."""

    def __init__(self, labels, weights):
        self._labels, self._weights, self.has_weights = labels, weights, weights is not None

    def __len__(self):
        return len(self._labels)

    def targets(self, begin, end):
        for first in range(begin, end, 7):
            own = slice(first, min(first + 7, end))
            yield first, self._labels[own], self._weights[own] if self.has_weights else None


@pytest.mark.mpi
@pytest.mark.parametrize("weighted", [False, True])
def test_the_base_rate_of_weights_and_of_kept_rows(world, weighted, monkeypatch):
    from deshpc.comm.group import Group

    monkeypatch.setattr("deshpc.training.base_rate._BLOCK_ROWS", 3)
    rng = np.random.default_rng(4)
    labels, weights = (rng.random(101) < 0.4).astype(np.float32), rng.random(101).astype(np.float32) * 9
    for kept in (None, np.flatnonzero(rng.random(101) < 0.5).astype(np.uint32), np.array([100], np.uint32)):
        own = slice(None) if kept is None else kept
        found = base_rate(Group(world), Parts(labels, weights if weighted else None), kept)
        counts = weights if weighted else np.ones(101)
        assert (found.rows, found.positives) == (len(labels[own]), int(labels[own].sum()))
        assert found.weight == pytest.approx(math.fsum(counts[own].tolist()), rel=1e-13)
        assert found.positive_weight == pytest.approx(math.fsum((counts * labels)[own].tolist()), rel=1e-13)
        assert found.mean_weight == pytest.approx(counts[own].mean())
        assert len(set(world.allgather(found))) == 1


@pytest.mark.parametrize(
    ("weights", "only"),
    [([1, 3e38], None), ([3e38, 1], None), ([1e-40, 1e-40], None), ([0, 1], 1.0), ([2, 0], 0.0), ([0, 0], None)],
)
@pytest.mark.parametrize("loss", ["log", "squared"])
def test_labels_that_count(weights, only, loss):
    """Neither does a large weight hide a small one, nor is a small one none; a row of weight 0 says nothing."""
    from deshpc.comm.group import Group

    part = Parts(np.array([0, 1], np.float32), np.array(weights, np.float32))
    found = best_constant(loss, Group(MPI.COMM_SELF), part)
    exact = [Fraction(float(weight)) for weight in part._weights]
    assert found.only == only
    assert found.weight == pytest.approx(float(sum(exact)), rel=1e-15)
    assert found.prediction == (pytest.approx(float(exact[1] / sum(exact)), rel=1e-15) if sum(exact) else None)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_not_added_up(odd):
    from deshpc.comm.group import Group

    part = Parts(np.array([0, 1, 1], np.float32), np.array([1, 2, odd], np.float32))
    error = problem(best_constant("log", Group(MPI.COMM_SELF), part))
    assert str(error) == "data.train: the weights add up to nan; expected finite numbers of at least 0"


def refused(folder, world, those, error, text, **train_options):
    if world.rank == 0:
        write(folder / "odd.csv", those)
    world.Barrier()
    with pytest.raises(error, match=text):
        train(config_of(folder, str(folder / "odd.csv"), "odd", data={"weight": "weight"}, train=train_options), world)


@pytest.mark.mpi
def test_nothing_to_learn_from_is_an_error(world, folder):
    refused(folder, world, [(*row[:4], 0) for row in rows()], DataError, "data.train: no row has a weight above 0")
    negatives = [(*row[:3], 0, 1) for row in rows()]
    refused(folder, world, negatives, DataError, "negative_sampling = 1e-12 keeps 0 of 600 rows: no row has a weight", negative_sampling=1e-12)


def test_options_that_are_wrong_or_without_effect():
    def config(**options):
        return build({"data": {"format": "synthetic"}, "train": options})

    for weights, text in (
        ([1], "has 1 numbers; expected 2"), ([1, -1], "class_weights\\[1\\] = -1.0: a weight is at least 0"), ([0, 0], "no sample counts"),
        ([1e31, 1], "at most 1e\\+30"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=text):
            config(class_weights=weights)
    with pytest.raises(ConfigError, match="train.negative_sampling = 0.0 is too small: it must be above 0"):
        config(negative_sampling=0)
    with pytest.raises(ConfigError, match="train.negative_sampling = 1.5 is too large"):
        config(negative_sampling=1.5)
    assert dict(unused_options(config(sampling_correction="weights"))).keys() == {"train.sampling_correction"}
