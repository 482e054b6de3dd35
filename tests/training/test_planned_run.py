"""`train.split = routing = "auto"`: what is chosen is the plan's first option, it trains to the same model, and what it sends is what was planned."""

import json

import numpy as np
import pytest

import deshpc
from deshpc.config.load import build
from deshpc.errors import ConfigError, DeshpcError

OPTIONS = {"split": "auto", "routing": "auto"}


def config(folder, model=None, **train):
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": 4096, "test_rows": 1024}},
            "model": {"name": "fm", "dim": 4, **(model or {})}, "train": {"global_batch_samples": 512, "precision": "float64", **train},
            "run": {"directory": str(folder)}, "compute": {"threads_per_rank": 1},
        }
    )  # fmt: skip


def events(folder, name):
    lines = map(json.loads, (folder / "record.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == name]


@pytest.mark.mpi
def test_a_planned_run_trains_what_any_run_trains(world, tmp_path):
    folder = tmp_path if world.rank == 0 else None
    folder = world.bcast(folder)
    planned = deshpc.train(config(folder / "planned", **OPTIONS), world, check_plan=True, check_bytes=True)
    plain = deshpc.train(config(folder / "plain"), world)
    assert planned.test.log_loss == pytest.approx(plain.test.log_loss, rel=1e-9)
    again = deshpc.evaluate(folder / "planned", world)  # what was chosen is in the model's configuration
    assert again.log_loss == planned.test.log_loss
    if world.rank == 0:
        (plan,), (beside,) = events(folder / "planned", "plan"), events(folder / "planned", "planned")
        sent = planned.bytes_per_sample
        assert {kind: pair[1] for kind, pair in beside["bytes_per_sample"].items()} == {**dict.fromkeys(plan["bytes_per_sample"], 0.0), **sent}
        totals = [sum(one["bytes_per_sample"].values()) for one in plan["options"]]
        assert plan["choice"] == plan["options"][0]["choice"] and totals[0] <= min(totals) + 1e-9
        assert np.isfinite(beside["step_s"][1]) and beside["step_s"][0] is None


def test_what_is_named_is_not_chosen(tmp_path):
    result = deshpc.train(config(tmp_path / "run", routing="auto", split="key", exchange="rows"))
    (plan,) = events(tmp_path / "run", "plan")
    assert {(one["choice"]["split"], one["choice"]["exchange"]) for one in plan["options"]} == {("key", "rows")} and result.steps == 8


def test_what_cannot_be_planned_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no valid way to train model.name = 'lr' on 1 ranks with .*split = 'column'"):
        deshpc.train(config(tmp_path / "run", {"name": "lr"}, split="column", routing="auto"))
    deshpc.train(config(tmp_path / "run"), overwrite=True)
    with pytest.raises(ConfigError, match="are planned where a run begins to train"):
        deshpc.evaluate(tmp_path / "run", overrides=["train.split=auto"])
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        deshpc.train(config(tmp_path / "other", machine="nowhere.json", **OPTIONS))


def test_bytes_that_were_not_planned_are_an_error(tmp_path):
    from dataclasses import replace

    from deshpc.comm.group import Group
    from deshpc.launch.start import world
    from deshpc.training.planned_run import Forecast

    result = deshpc.train(config(tmp_path / "run"))
    group, forecast = Group(world()), Forecast({}, "", {"partials": 100.0, "keys": 50.0}, None, False)
    forecast.require_agreement(group, replace(result, bytes_per_sample={"partials": 100.0, "keys": 52.0}))  # keys are expected
    more_keys = replace(result, bytes_per_sample={"partials": 100.0, "keys": 80.0})
    replace(forecast, samples=result.samples + 1).require_agreement(group, more_keys)  # a run that was to be longer
    replace(forecast, keys_known=False).require_agreement(group, more_keys)
    with pytest.raises(DeshpcError, match=r"--check-plan: keys: 50.00 bytes a sample planned, 80.00 sent"):
        replace(forecast, samples=result.samples).require_agreement(group, more_keys)
    with pytest.raises(DeshpcError, match=r"--check-plan: partials: 100.00 bytes a sample planned, 103.00 sent"):
        forecast.require_agreement(group, replace(result, bytes_per_sample={"partials": 103.0, "keys": 50.0}))
    nothing = replace(result, samples=0, samples_per_s=0.0, bytes_per_sample={})  # went on from its end
    forecast.require_agreement(group, nothing)
    assert forecast.beside(nothing)["step_s"] == [None, None]
    group.free()
