"""Early stopping as a judge of sequences, against what a person would say of each; and the options it refuses."""

import math
from types import SimpleNamespace

import pytest

from deshpc.config.load import build
from deshpc.config.schema import TrainConfig, choices
from deshpc.errors import ConfigError
from deshpc.training.early_stopping import EarlyStopping


def verdicts(values, metric="auc", patience=2, minimum_gain=0.0):
    """First letters of the verdicts on a sequence of values, and the best value."""
    others = dict.fromkeys(choices(TrainConfig, "stop_metric"), -1.0)
    stopping = EarlyStopping(metric, patience, minimum_gain)
    said = [stopping.observe(SimpleNamespace(**{**others, metric: value})) for value in values]
    assert set(said) <= {"best", "worse", "stop"}
    return "".join(word[0] for word in said), stopping.best


@pytest.mark.parametrize(
    ("values", "options", "said", "best"),
    [
        ([0.5, 0.6, 0.7], {}, "bbb", 0.7),
        ([0.7, 0.6, 0.5], {}, "bws", 0.7),
        ([0.5, 0.4, 0.6, 0.5, 0.5], {}, "bwbws", 0.6),  # patience starts anew at a gain
        ([0.5, 0.5, 0.5], {}, "bws", 0.5),  # equal is no gain
        ([0.5, 0.4], {"patience": 1}, "bs", 0.5),
        ([0.5, 0.4, 0.3, 0.2, 0.1], {"patience": 4}, "bwwws", 0.5),
        ([0.50, 0.509, 0.512, 0.515, 0.52], {"minimum_gain": 0.01}, "bwbws", 0.512),  # small gains add up to one
        ([0.6, 0.5, 0.4], {"metric": "log_loss"}, "bbb", 0.4),
        ([0.4, 0.5, 0.6], {"metric": "log_loss"}, "bws", 0.4),
        ([0.60, 0.595, 0.58], {"metric": "log_loss", "minimum_gain": 0.01}, "bwb", 0.58),
        ([None, None, 0.5], {}, "wsb", 0.5),  # undefined is no gain; who goes on after "stop" is judged on
        ([None, 0.5, None, 0.6], {}, "wbwb", 0.6),
        ([math.nan, 0.5, math.nan, math.inf], {}, "wbws", 0.5),
        ([None, None], {}, "ws", None),
        ([math.inf, 0.7], {"metric": "log_loss"}, "wb", 0.7),
        ([0.2, 0.3, 0.1], {"metric": "pr_auc"}, "bbw", 0.3),
        ([0.6, 0.5, 0.7], {"metric": "grouped_auc"}, "bwb", 0.7),
        ([0.9, 0.8, 0.85], {"metric": "normalized_entropy"}, "bbw", 0.8),
        ([0.02, 0.03, 0.01], {"metric": "calibration_error"}, "bwb", 0.01),
        ([0.5, 1.5, 0.6, 1.25, 0.0], {"metric": "calibration", "patience": 9}, "bbwbw", math.log(1.25)),  # the nearest to 1
    ],
)
def test_verdicts(values, options, said, best):
    assert verdicts(values, **options) == (said, best)


def config(valid=True, **sections):
    data = {"format": "synthetic", "synthetic": {"valid_rows": 10 if valid else 0}}
    return build({"data": data, **sections})


@pytest.mark.parametrize(
    ("valid", "sections", "words"),
    [
        (False, {"train": {"stop_metric": "auc"}}, ["train.stop_metric = 'auc'", "data.synthetic.valid_rows"]),
        (False, {"train": {"evaluate_every_steps": 5}}, ["train.evaluate_every_steps = 5", "data.synthetic.valid_rows"]),
        (True, {"train": {"stop_metric": "auc"}, "run": {"save_model": False}}, ["train.stop_metric", "run.save_model"]),
        (True, {"train": {"stop_metric": "AUC"}}, ["'AUC'", "'log_loss'"]),
        (True, {"train": {"stop_metric": "grouped_auc"}}, ["train.stop_metric = 'grouped_auc'", "metrics.group"]),
        (True, {"train": {"stop_metric": "calibration_error"}, "metrics": {"calibration_bins": 0}}, ["metrics.calibration_bins, which is 0"]),
        (True, {"train": {"stop_patience": 0}}, ["train.stop_patience", "at least 1"]),
        (True, {"train": {"stop_minimum_gain": -0.1}}, ["train.stop_minimum_gain", "at least 0"]),
        (True, {"train": {"watchdog_s": -1}}, ["train.watchdog_s", "at least 0"]),
    ],
)
def test_options_that_cannot_work_are_refused(valid, sections, words):
    with pytest.raises(ConfigError) as caught:
        config(valid, **sections)
    for word in words:
        assert word in str(caught.value)


def test_options_that_work():
    train = config(True, train={"stop_metric": "log_loss", "evaluate_every_steps": 5}).train
    assert (train.stop_metric, train.stop_patience, train.stop_minimum_gain, train.watchdog_s) == ("log_loss", 3, 0.0, 600.0)
    assert config(False, run={"save_model": False}).train.stop_metric == "none"


def test_files_count_as_a_validation_part():
    tree = {"data": {"train": "a.csv", "fields": [{"name": "x"}]}, "train": {"stop_metric": "auc"}}
    with pytest.raises(ConfigError, match=r"data\.valid"):
        build(tree)
    tree["data"]["valid"] = "b.csv"
    assert build(tree).train.stop_metric == "auc"
