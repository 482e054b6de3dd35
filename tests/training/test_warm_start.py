"""`train.from`: a run that starts from another's model, against one run that did it all; what models have in common; what is refused."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from every_kind import FIELDS, make_rows, tree, write_csv
from mpi4py import MPI
from saved_models import assert_same_rows, content_of, joined, some_ranks

import deshpc
from deshpc.checkpoint.folders import step_folder
from deshpc.checkpoint.load import dense_parameters, row_blocks, waiting_keys
from deshpc.checkpoint.manifest import read_manifest
from deshpc.cli.convert import convert
from deshpc.cli.toml import to_toml
from deshpc.config.load import build
from deshpc.data.synthetic import generate
from deshpc.errors import ConfigError, DataError
from deshpc.table.schedule import Schedule

ROWS, BATCH, STEPS = 1_000, 150, 7  # an epoch


def config(directory, name="fm", **train):
    """Nested dictionaries of a run of generated samples in the order in which they come, in float64."""
    every_steps = train.pop("every_steps", 0)
    model = {"dim": 5, "init_std": 0.1, **({} if name in ("lr", "fm") else {"hidden": [6]}), **train.pop("model", {})}
    return {
        "data": {"format": "synthetic", "synthetic": {"train_rows": ROWS, "test_rows": 300}},
        "model": {"name": name, **model},
        "optimizer": {"learning_rate": 0.2, **train.pop("optimizer", {})},
        "train": {"global_batch_samples": BATCH, "shuffle": False, "precision": "float64", **train},
        "compute": {"threads_per_rank": 1},
        "checkpoint": {"every_steps": every_steps},
        "run": {"directory": str(directory), "report_interval_s": 1000.0},
    }


def saved(folder):
    """(Rows, {name: dense parameter}) of a run's model."""
    manifest = read_manifest(folder / "model")
    return joined(row_blocks(folder / "model", manifest)), dense_parameters(folder / "model", manifest)


def line_of(folder, event):
    lines = map(json.loads, (folder / "record.jsonl").read_text(encoding="utf-8").splitlines())
    return [one for one in lines if one["event"] == event][-1]


SAME = {  # options of the run of two epochs, and what the second of two runs may have in its place
    "fixed point": ("fm", {"accumulate": "int64", "optimizer": {"name": "ftrl", "l1": 0.1, "learning_rate": 0.3}}, {"split": "field"}),
    "adam": ("deepfm", {"optimizer": {"name": "adam", "learning_rate": 0.02, "warmup_steps": 9, "epsilon": 1e-3}}, {"split": "field"}),
}


@pytest.mark.mpi
@pytest.mark.parametrize("case", SAME)
def test_two_runs_make_the_model_of_one(world, tmp_path, case):
    """Rows, state, steps, warm-up and bias correction go on, on other ranks and by another split."""
    base, (name, options, others) = Path(world.bcast(str(tmp_path))), SAME[case]
    with some_ranks(world, 1 + (world.size > 2)) as comm:
        if comm:
            deshpc.train(config(base / "whole", name, epochs=2, **options), comm)
            deshpc.train(config(base / "first", name, **options), comm)
    result = deshpc.train(config(base / "second", name, **options, **others, **{"from": str(base / "first")}), world)
    assert (result.steps, result.first_step, result.samples) == (2 * STEPS, STEPS, ROWS)
    (rows, dense), (expected, whole) = saved(base / "second"), saved(base / "whole")
    if options.get("accumulate") == "int64":
        assert_same_rows(rows, expected)
    assert np.array_equal(rows.keys, expected.keys) and np.array_equal(rows.steps, expected.steps) and np.array_equal(rows.counts, expected.counts)
    np.testing.assert_allclose(rows.numbers, expected.numbers, rtol=0, atol=1e-9 * np.abs(expected.numbers).max())
    for parameter, array in whole.items():
        np.testing.assert_allclose(dense[parameter], array, rtol=0, atol=1e-9)


def test_a_decay_of_the_whole_run_begins_where_the_run_does():
    """Linear: from the full rate at its first step to nothing at its end; one of so many steps goes on."""
    whole = Schedule(1.0, warmup_steps=2, decay="linear", total_steps=20, first_step=10)
    assert [whole.rate(step) for step in (10, 15, 20)] == [1.0, 0.5, 0.0]
    assert Schedule(1.0, warmup_steps=14, decay="linear", total_steps=20, first_step=10).rate(13) == 1.0
    assert Schedule(1.0, decay="linear", decay_steps=20, first_step=10).rate(15) == 0.25


COMMON = [  # what starts from which model, what rows take, dense parameters that are taken, what is left, what is new
    ("fm", "lr", ["linear weights"], ["bias", "fm.weights"], [], ["embeddings", "fm (2 x 5)"]),
    ("deepfm", "fm", ["linear weights", "embeddings"], ["fm.factors", "wide.weights", "bias"], [], ["deep (62 x 6, 6 x 1)"]),
    ("dcn", "deepfm", ["embeddings"], None, ["linear weights", "fm (2 x 5)", "linear (2 x 1)"], None),
    ("wide", "deepfm", ["linear weights", "embeddings"], ["wide.weights", "bias"], None, ["deep (62 x 7, 7 x 4, 4 x 1)"]),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of each of some models."""
    base = tmp_path_factory.mktemp("trained")
    for name in ("lr", "fm", "deepfm"):
        deshpc.train(config(base / name, name), MPI.COMM_SELF)
    return base


@pytest.mark.parametrize("name, other, parts, dense, left, new", COMMON)
def test_another_model_starts_from_what_is_common(trained, tmp_path, capfd, name, other, parts, dense, left, new):
    """No epoch: the model is what it starts as."""
    model = {"hidden": [7, 4]} if name == "wide" else {}
    options = config(tmp_path / "run", {"wide": "wide_deep"}.get(name, name), epochs=0, model=model, **{"from": str(trained / other)})
    result = deshpc.train(options, MPI.COMM_SELF)
    assert result.steps == result.first_step == STEPS
    (rows, own), (others, whole) = saved(tmp_path / "run"), saved(trained / other)
    assert np.array_equal(rows.keys, others.keys) and np.array_equal(rows.counts, others.counts)
    places = {"linear weights": (0, 1), "embeddings": (1 if name != "dcn" else 0, 5)}
    for part in parts:
        begin, width = places[part]
        before = 1 if part == "embeddings" else 0
        assert np.array_equal(rows.numbers[:, begin : begin + width], others.numbers[:, before : before + width])
    line = line_of(tmp_path / "run", "from")
    assert line["parts"] == parts and line["rows"] == len(rows) and line["steps"] == STEPS
    for key, expected in (("dense", dense), ("left", left), ("new", new)):
        assert expected is None or line[key] == expected
    assert not dense or own["bias"] == whole["bias"] != 0
    said = capfd.readouterr().err
    assert f"starts from {(trained / other / 'model').resolve()} (7 steps) with optimizer state: {' and '.join(parts)} of {len(rows):,} rows" in said
    assert all(text in said for text in line["left"] + line["new"])


def test_transforms_are_kept_and_a_resumed_run_does_not_look_again(tmp_path):
    """Other rows would have fitted others; the run that is interrupted, whose start is gone, ends as the one that was not."""
    yesterday = {**tree(tmp_path), "run": {"directory": str(tmp_path / "yesterday")}}
    deshpc.train(yesterday, MPI.COMM_SELF)
    write_csv(tmp_path / "train.csv", [{**row, "age": "7", "income": "1e6", "price": "3"} for row in make_rows(5, 300)])
    today = {
        **yesterday, "train": {**yesterday["train"], "from": str(tmp_path / "yesterday"), "epochs": 1},
        "checkpoint": {"every_steps": 2}, "run": {"directory": str(tmp_path / "today")},
    }  # fmt: skip
    result = deshpc.train(today, MPI.COMM_SELF, score_first=True)
    assert result.before.rows == 300
    assert result.before.log_loss == pytest.approx(deshpc.evaluate(tmp_path / "yesterday", MPI.COMM_SELF, data=[str(tmp_path / "train.csv")]).log_loss)
    source = read_manifest(tmp_path / "today" / "model")["source"]
    assert source == read_manifest(tmp_path / "yesterday" / "model")["source"]
    expected = content_of(tmp_path / "today" / "model")
    for step in (result.steps, result.steps - 1, result.steps - 2):
        shutil.rmtree(step_folder(tmp_path / "today", step), ignore_errors=True)
    shutil.rmtree(tmp_path / "yesterday")
    again = deshpc.train({**today, "train": {**today["train"], "from": ""}}, MPI.COMM_SELF, resume=True)
    assert result.first_step < again.resumed_from < again.steps == result.steps and again.first_step == result.first_step
    assert content_of(tmp_path / "today" / "model") == expected


LIVING = {"admit_after": 2, "max_age_steps": 3, "half_life_steps": 3, "min_decayed_count": 0.01, "evict_every_steps": 2}


@pytest.mark.parametrize("state", ["keep", "fresh"])
def test_rows_come_and_go_where_a_run_goes_on(tmp_path, state):
    """Keys, last steps, decayed counts and waiting keys of a second run, against dictionaries that hear of each step's keys."""
    first, second = ({**config(tmp_path / name, "lr", **options), "table": LIVING} for name, options in (
        ("first", {}), ("second", {"from": str(tmp_path / "first"), "from_state": state})
    ))  # fmt: skip
    deshpc.train(first, MPI.COMM_SELF)
    result = deshpc.train(second, MPI.COMM_SELF)
    rows, waiting, _ = lived({}, {}, 0)
    assert rows and waiting
    rows, waiting, evicted = lived(rows, waiting, STEPS) if state == "keep" else lived({key: (0, 1.0) for key in rows}, {}, 0)
    manifest = read_manifest(tmp_path / "second" / "model")
    found, sights = joined(row_blocks(tmp_path / "second" / "model", manifest)), waiting_keys(tmp_path / "second" / "model", manifest)
    assert dict(zip(found.keys.tolist(), found.steps.tolist(), strict=True)) == {key: last for key, (last, _) in rows.items()}
    np.testing.assert_allclose(found.decayed, [rows[key][1] for key in found.keys.tolist()], rtol=1e-6)
    assert dict(zip(sights.keys.tolist(), sights.steps.tolist(), strict=True)) == waiting
    assert (result.first_step, result.evicted, result.waiting_keys) == (STEPS if state == "keep" else 0, evicted, len(waiting)) and evicted
    look = line_of(tmp_path / "second", "progress")["table"]
    assert look["step"] == (result.steps // 2) * 2 and look["evicted"] == evicted


def test_models_of_runs_without_counts_are_taken_and_the_other_way_round(tmp_path):
    """No epoch: a count that nobody kept is that of even sights; one that nobody keeps is dropped, as waiting keys are."""
    deshpc.train(config(tmp_path / "plain", "lr"), MPI.COMM_SELF)
    living = {**config(tmp_path / "living", "lr", epochs=0, **{"from": str(tmp_path / "plain")}), "table": LIVING}
    deshpc.train(living, MPI.COMM_SELF)
    deshpc.train(config(tmp_path / "again", "lr", epochs=0, **{"from": str(tmp_path / "living")}), MPI.COMM_SELF)
    (plain, _), (rows, _), (again, _) = (saved(tmp_path / name) for name in ("plain", "living", "again"))
    even = np.minimum(1.0, 1 / (np.log(2) / 3 * (plain.steps + 1.0)))
    np.testing.assert_allclose(rows.decayed, plain.counts * even, rtol=1e-6)
    assert_same_rows(replace(rows, decayed=None), plain)
    assert_same_rows(again, plain)


def lived(rows, waiting, begin):
    """(rows {key: (last step, decayed count)}, waiting {key: step of its one sight}, rows given up) after an epoch by LIVING from a step on."""
    dataset, gone = generate(build(config("")).data.synthetic, "train", 0, ROWS), 0
    rows, waiting = dict(rows), dict(waiting)
    for step in range(begin, begin + STEPS):
        place = (step - begin) * BATCH
        for key in set(dataset.keys[dataset.offsets[place] : dataset.offsets[min(place + BATCH, ROWS)]].tolist()):
            if key in rows or waiting.pop(key, None) is not None:
                last, count = rows.get(key, (step, 0.0))
                rows[key] = step, count * 2 ** ((last - step) / 3) + 1
            else:
                waiting[key] = step
        if step % 2:
            left = {key: (last, count) for key, (last, count) in rows.items() if step - last < 3 and count * 2 ** ((last - step) / 3) >= 0.01}
            gone, rows, waiting = gone + len(rows) - len(left), left, {key: seen for key, seen in waiting.items() if step - seen < 3}
    return rows, waiting, gone


def test_caches_are_converted_by_the_transforms_of_the_model(of_every_kind, tmp_path):
    base, settings = of_every_kind
    write_csv(tmp_path / "train.csv", make_rows(7, 80))
    (tmp_path / "click.toml").write_text(to_toml({**settings, "data": {**settings["data"], "train": [str(tmp_path / "train.csv")], "test": []}}), encoding="utf-8")
    start = f"train.from={base / 'run'}"
    convert(tmp_path / "click.toml", tmp_path / "own", [])
    with pytest.raises(DataError, match="other fitted transforms than the model; .* deshpc convert --set train.from=RUN"):
        deshpc.train(tmp_path / "own" / "config.toml", MPI.COMM_SELF, [start, f"run.directory={tmp_path / 'one'}"])
    convert(tmp_path / "click.toml", tmp_path / "same", [start])
    result = deshpc.train(tmp_path / "same" / "config.toml", MPI.COMM_SELF, [f"run.directory={tmp_path / 'two'}"], score_first=True)
    expected = deshpc.evaluate(base / "run", MPI.COMM_SELF, data=[str(tmp_path / "train.csv")])
    assert result.before.log_loss == pytest.approx(expected.log_loss, rel=1e-6)


def test_tables_have_the_fields_of_the_model(tmp_path):
    """What is inferred from the rows of one day might be another kind tomorrow."""
    rows = pd.DataFrame({"user": [f"u{i % 7}" for i in range(90)], "n": np.arange(90.0) / 7, "click": [i % 3 == 0 for i in range(90)]})
    settings = {"data": {"label": "click"}, "model": {"name": "lr"}, "run": {"directory": str(tmp_path / "one")}}
    deshpc.train(settings, MPI.COMM_SELF, train=rows)
    other = {**settings, "train": {"from": str(tmp_path / "one")}, "run": {"directory": str(tmp_path / "two")}}
    deshpc.train(other, MPI.COMM_SELF, train=rows.assign(n=5.0)[:40])  # nothing would be learnt from such a column
    assert read_manifest(tmp_path / "two" / "model")["source"] == read_manifest(tmp_path / "one" / "model")["source"]


def moved(field, **options):
    return {"data": {"fields": [{**one, **options} if one["name"] == field else one for one in FIELDS]}}


REFUSED = [  # sections that differ from those of the model, and words of the error
    ({"model": {"dim": 6}}, ConfigError, "model.dim = 6, but the model in .* has embeddings of 5"),
    ({"data": {"fields": FIELDS[1:]}}, ConfigError, "data.fields: the model in .* has the fields site, .*; here are tags, "),
    (moved("site", kind="bucket"), ConfigError, "kind = 'bucket' of field 'site', but the model in .* has 'categorical'"),
    (moved("price", buckets=9), ConfigError, "buckets = 9 of field 'price', but the model in .* has 5: set it as it was"),
    ({"data": {"normalise_samples": True}}, ConfigError, "normalise_samples = true, but the model in .* has false: set it as it was; caches"),
    ({"train": {"loss": "squared"}}, ConfigError, "train.loss = 'squared', but the model in .* was trained by 'log'"),
    ({"optimizer": {"name": "ftrl"}}, ConfigError, "optimizer.name = 'ftrl', but the model in .* has 'adagrad': .*train.from_state = 'fresh'"),
    ({"train": {"from": "nowhere"}}, ConfigError, "train.from = 'nowhere': no saved model there; give a run's folder"),
    ({"hash": "other"}, DataError, "keys were hashed by 'other'"),
]


@pytest.fixture(scope="module")
def of_every_kind(tmp_path_factory):
    base = tmp_path_factory.mktemp("kinds")
    settings = tree(base)
    deshpc.train(settings, MPI.COMM_SELF)
    return base, settings


@pytest.mark.parametrize("sections, kind, words", REFUSED)
def test_what_does_not_fit_is_refused(of_every_kind, tmp_path, monkeypatch, sections, kind, words):
    base, settings = of_every_kind
    whole = {**settings, "run": {"directory": str(tmp_path / "run")}}
    if "hash" in sections:
        monkeypatch.setattr("deshpc.checkpoint.manifest.HASH_ID", "mine")
        words = words.replace("'other'", re.escape(repr(read_hash(base))))
        sections = {}
    for section, options in {"train": {}, **sections}.items():
        first = {"from": str(base / "run")} if section == "train" else {}
        whole[section] = {**whole[section], **first, **options}
    with pytest.raises(kind, match=words):
        deshpc.train(whole, MPI.COMM_SELF)


def read_hash(base):
    return json.loads((base / "run" / "model" / "manifest.json").read_text(encoding="utf-8"))["hash"]


def test_a_checkpoint_that_overwrite_would_remove_is_refused_before_it_is(tmp_path):
    deshpc.train(config(tmp_path / "run", every_steps=3), MPI.COMM_SELF)
    start = step_folder(tmp_path / "run", 6)
    with pytest.raises(ConfigError, match="is one of the checkpoints in run.directory that --overwrite removes"):
        deshpc.train(config(tmp_path / "run", **{"from": str(start)}), MPI.COMM_SELF, overwrite=True)
    assert start.exists()
    assert deshpc.train(config(tmp_path / "other", **{"from": str(start)}), MPI.COMM_SELF).first_step == 6
