"""A chain of days: what each day is scored as, against a predictor of NumPy and scikit-learn; a chain that was ended goes on as if it had not."""

import json
import re
import shutil

import numpy as np
import pytest
from every_kind import FIELDS, make_rows, write_csv
from mpi4py import MPI
from saved_models import content_of
from sklearn.metrics import log_loss, roc_auc_score

import deshpc
from deshpc.checkpoint.manifest import read_manifest
from deshpc.cli.tables import days_table
from deshpc.daily.days import days_of
from deshpc.errors import ConfigError, DataError
from deshpc.report.page import page
from deshpc.report.run import read_run
from deshpc.storage.container import Container
from deshpc.training import loop

ROWS, STEPS = 200, 4  # of a day


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of four days, one of them a folder of two files."""
    folder = tmp_path_factory.mktemp("data")
    for i in (1, 2, 10):
        write_csv(folder / f"day_{i}.csv", make_rows(i, ROWS))
    (folder / "day_3").mkdir()
    write_csv(folder / "day_3" / "a.csv", make_rows(3, 150))
    write_csv(folder / "day_3" / "b.csv", make_rows(4, 50))
    return folder


def config(folder, **sections):
    return {
        "data": {"label": "click", "fields": FIELDS},
        "model": {"name": "fm", "dim": 5, "init_std": 0.1, **sections.pop("model", {})},
        "optimizer": {"name": "adagrad", "learning_rate": 0.1},
        "train": {"global_batch_samples": 64, **sections.pop("train", {})},
        "checkpoint": {"every_steps": 1, "keep": 2},
        "compute": {"threads_per_rank": 1},
        "run": {"directory": str(folder), "report_interval_s": 1000.0},
        **sections,
    }


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """(the Chain of all days, its folder)."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return deshpc.train_days(config(folder), str(data / "day_*"), MPI.COMM_SELF), folder


def test_days_are_in_the_order_of_their_numbers(data, tmp_path):
    assert [day.name for day in days_of([str(data / "day_*")])] == ["day_1", "day_2", "day_3", "day_10"]
    (tmp_path / "day_3.csv.gz").touch()
    with pytest.raises(DataError, match=r"day_3 and .*day_3.csv.gz have the same name, 'day_3'"):
        days_of([str(data / "day_*"), str(tmp_path / "day_3.csv.gz")])
    with pytest.raises(DataError, match=r"--days nothing-\*: nothing matches"):
        days_of(["nothing-*"])


def test_each_day_is_scored_by_the_model_of_the_day_before(whole, data):
    chain, folder = whole
    assert [(day.day, day.rows, day.steps) for day in chain.days] == [
        (name, ROWS, STEPS * (i + 1)) for i, name in enumerate(("day_1", "day_2", "day_3", "day_10"))
    ]
    assert chain.days[0].before is None
    rows = {"day_2": make_rows(2, ROWS), "day_3": make_rows(3, 150) + make_rows(4, 50), "day_10": make_rows(10, ROWS)}
    for before, day in zip(chain.days, chain.days[1:], strict=False):
        predictor = deshpc.Predictor(folder / "days" / before.day / "exported.model")
        labels = np.array([int(row["click"]) for row in rows[day.day]])
        scores = predictor.predict(rows[day.day])
        assert day.before["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
        assert day.before["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-5)
        assert day.before["calibration"] == pytest.approx(scores.sum() / labels.sum(), rel=1e-5)
    assert chain.mean("auc") == pytest.approx(np.mean([day.before["auc"] for day in chain.days[1:]]))


def test_what_is_on_disk_afterwards(whole):
    """The chain's folder is a run's; of days before the newest two the exported model stays, and the record."""
    chain, folder = whole
    assert sorted(path.parent.name for path in folder.glob("days/*/model")) == ["day_10", "day_3"]
    assert len(list(folder.glob("days/*/exported.model"))) == len(list(folder.glob("days/*/record.jsonl"))) == 4
    assert not list(folder.glob("days/*/checkpoints/*"))
    assert content_of(folder / "model") == content_of(folder / "days" / "day_10" / "model")
    assert (folder / "exported.model").read_bytes() == (folder / "days" / "day_10" / "exported.model").read_bytes()
    assert read_manifest(folder / "model")["steps"] == 4 * STEPS
    table = days_table(chain).splitlines()
    assert table[0].split()[:3] == ["day", "rows", "AUC"] and [line.split()[0] for line in table[1:6]] == ["day_1", "day_2", "day_3", "day_10", "all"]
    text = page([read_run(folder)])
    assert "after 4 days, the last of them day_10" in text and 'id="days-auc-0"' in text
    assert re.search(rf"<td>day_3</td><td>200</td><td>{chain.days[2].before['auc']:.5f}</td>", text)


@pytest.mark.parametrize("last", [1, STEPS + 1, 2 * STEPS])
def test_a_chain_that_was_ended_goes_on_as_if_it_had_not(whole, data, tmp_path, monkeypatch, last):
    """In the middle of a day, at its begin, in the first and in the last one: all models are the same to the bit."""
    steps = loop.steps

    def ended(*arguments):
        for step in steps(*arguments):
            if step.batch.step == last:
                raise RuntimeError("ended")
            yield step

    monkeypatch.setattr(loop, "steps", ended)
    with pytest.raises(RuntimeError):
        deshpc.train_days(config(tmp_path / "run"), str(data / "day_*"), MPI.COMM_SELF)
    monkeypatch.setattr(loop, "steps", steps)
    chain = deshpc.train_days(config(tmp_path / "run"), str(data / "day_*"), MPI.COMM_SELF, resume=True)
    expected, folder = whole
    assert [(day.day, day.before) for day in chain.days] == [(day.day, day.before) for day in expected.days]
    assert content_of(tmp_path / "run" / "model") == content_of(folder / "model")
    for day in chain.days:
        found, whole_day = (Container(base / "days" / day.day / "exported.model") for base in (tmp_path / "run", folder))
        assert found.names == whole_day.names and all(found.read(name).tobytes() == whole_day.read(name).tobytes() for name in found.names)


def test_a_new_day_is_added_and_a_late_one_is_refused(data, tmp_path):
    days = [str(data / f"day_{i}.csv") for i in (1, 10)]
    deshpc.train_days(config(tmp_path / "run"), days[:1], MPI.COMM_SELF)
    with pytest.raises(ConfigError, match="holds a chain of days: add --resume"):
        deshpc.train_days(config(tmp_path / "run"), days, MPI.COMM_SELF)
    chain = deshpc.train_days(config(tmp_path / "run"), days[1:], MPI.COMM_SELF, resume=True)  # the first one's file may be gone
    assert [(day.day, day.steps) for day in chain.days] == [("day_1", STEPS), ("day_10", 2 * STEPS)]
    with pytest.raises(DataError, match="day_2 comes before day_10, which is learnt already"):
        deshpc.train_days(config(tmp_path / "run"), str(data / "day_*"), MPI.COMM_SELF, resume=True)
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    assert events[:3] == ["start", "day", "result"]
    chain = deshpc.train_days(config(tmp_path / "run"), days[:1], MPI.COMM_SELF, overwrite=True)
    assert [day.day for day in chain.days] == ["day_1"] and not (tmp_path / "run" / "days" / "day_10").exists()


def test_a_chain_starts_from_a_model_and_has_none_of_other_runs(whole, data, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(whole[1] / "model", start)
    later = config(tmp_path / "run", train={"from": str(start), "from_state": "fresh"})
    chain = deshpc.train_days(later, str(data / "day_1.csv"), MPI.COMM_SELF)
    assert chain.days[0].before["rows"] == ROWS and chain.days[0].steps == STEPS
    with pytest.raises(ConfigError, match="holds a run that is no chain of days"):
        run = tmp_path / "ordinary"
        shutil.copytree(start, run / "model")
        deshpc.train_days(config(run), str(data / "day_1.csv"), MPI.COMM_SELF, resume=True)
    with pytest.raises(ConfigError, match="data.format = 'synthetic' has no files"):
        deshpc.train_days({"data": {"format": "synthetic"}}, str(data / "day_1.csv"), MPI.COMM_SELF)
