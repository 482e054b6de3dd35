"""Evaluations on the way and early stopping of whole runs: when they happen, and which model is left.

The kept model is that of the best recorded evaluation: its metrics, measured again from disk on the validation part,
are those of that line of the record, and no row of a later step is in it.
"""

import json

import numpy as np
import pytest

import deshpc
from deshpc.checkpoint.rows_file import RowsFile
from deshpc.config.load import build

pytestmark = pytest.mark.mpi

ROWS, BATCH = 6_000, 500  # 12 steps an epoch


@pytest.fixture
def directory(world, tmp_path):
    """One folder for all ranks."""
    return world.bcast(str(tmp_path))


def config(directory, **train):
    return build(
        {
            "data": {
                "format": "synthetic",
                "synthetic": {"train_rows": ROWS, "valid_rows": 1_500, "test_rows": 1_500},
            },
            "model": {"dim": 4},
            "optimizer": {"learning_rate": 0.3},  # on so few rows the model soon learns them by heart
            "train": {"global_batch_samples": BATCH, "epochs": 4, **train},
            "compute": {"threads_per_rank": 1},
            "run": {"directory": directory, "report_interval_s": 1000.0},
        }
    )


def evaluations(directory):
    """[(epoch, step, auc, log_loss)] of the record."""
    with open(f"{directory}/record.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [(one["epoch"], one["step"], one["auc"], one["log_loss"]) for one in lines if one["event"] == "valid"]


@pytest.mark.parametrize("every, expected", [(0, [12, 24, 36, 48]), (5, [5, 10, 12, 17, 22, 24, 29, 34, 36, 41, 46, 48])])
def test_evaluations_come_every_so_many_steps_and_after_each_epoch(world, directory, every, expected):
    deshpc.train(config(directory, evaluate_every_steps=every), world)
    found = evaluations(directory)
    assert [step for _, step, _, _ in found] == expected
    assert [epoch for epoch, _, _, _ in found] == [(step - 1) // 12 for step in expected]


@pytest.mark.parametrize("metric, sign", [("auc", 1), ("log_loss", -1)])
@pytest.mark.parametrize("exchange", ["allreduce", "rows"])
def test_the_best_model_is_kept_on_disk_and_measured_at_the_end(world, directory, metric, sign, exchange):
    stopping = {"stop_metric": metric, "stop_patience": 3, "evaluate_every_steps": 4, "exchange": exchange}
    result = deshpc.train(config(directory, **stopping), world)
    found = evaluations(directory)
    scores = sign * np.array([one[2 if metric == "auc" else 3] for one in found])
    best = int(np.argmax(scores))  # the first of the best: an equal score is no gain
    assert len(found) == best + 1 + 3 and result.steps == found[-1][1] < 48  # three more, without a gain
    assert result.best_step == found[best][1]
    assert getattr(result.valid, metric) == pytest.approx(sign * scores[best], abs=1e-12)
    again = deshpc.evaluate(directory, world, part="valid")
    assert (again.auc, again.log_loss) == (result.valid.auc, pytest.approx(result.valid.log_loss, abs=1e-12))
    own = RowsFile(f"{directory}/model/rank-{world.rank:05d}-of-{world.size:05d}.rows")
    assert max((block.steps.max() for block in own.blocks()), default=0) < found[best][1]
    assert len(own) == result.rows_per_rank[world.rank]


def test_without_a_gain_at_the_end_all_epochs_are_trained(world, directory):
    result = deshpc.train(config(directory, stop_metric="auc", stop_patience=100), world)
    assert result.steps == 48 and result.best_step in (12, 24, 36, 48)
