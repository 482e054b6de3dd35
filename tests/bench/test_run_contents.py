"""The comparison of two runs' folders: it sees every single number that is changed, and nothing of names and times."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from saved_models import plain_manifest, random_rows, write_model

from deshpc.storage.container import Container, ContainerWriter

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_contents.py"
ROWS, DENSE = "rank-00001-of-00002.rows", "dense"
METRICS = {"rows": 3, "positives": 1, "auc": 0.5, "log_loss": 0.1, "normalized_entropy": 0.2, "calibration": 1.0, "best_auc": None}


@pytest.fixture(scope="module")
def contents():
    specification = importlib.util.spec_from_file_location("run_contents", SCRIPT)
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


def make_run(folder, number, time_s, loss=0.7, test_loss=0.1, score=0.25):
    """A run's folder with a model of two ranks, written by the run of a number."""
    write_model(folder / "model", [random_rows(1, 12, high=2**62), random_rows(2, 12, low=2**63)], run=number)
    lines = [
        {"event": "start", "time_s": time_s, "run": number},
        {"event": "progress", "time_s": time_s, "epoch": 0, "samples_per_s": 1 / time_s, "loss": loss, "auc": None, "samples": 9},
        {"event": "result", "time_s": time_s, "setup_s": time_s, "steps": 7, "test": {**METRICS, "log_loss": test_loss}},
    ]
    (folder / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "scores.csv").write_text(f"row,score\n0,0.125\n1,{score!r}\n", encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path):
    return make_run(tmp_path / "a", "0123456789abcdef", 0.5), make_run(tmp_path / "b", "f" * 16, 0.7)


def rewrite(path, change, **about):
    """Write a container again; change : {section: function of its array}."""
    old = Container(path, copy=True)
    path.unlink()
    with ContainerWriter(path, old.kind, {**old.about, **about}) as writer:
        for name in old.names:
            writer.add(name, change.get(name, np.array)(old.read(name)))
        writer.finish()


def next_to(array):
    """A copy whose last number is another one: the next floating-point number, or integer."""
    array = array.copy()
    last = array.reshape(-1)[-1:]
    last[:] = np.nextafter(last, np.inf, dtype=last.dtype) if array.dtype.kind == "f" else last + 1
    return array


def test_names_and_times_are_no_difference(contents, runs):
    assert contents.differences(*runs) == []


@pytest.mark.parametrize(
    ("name", "section"), [(ROWS, part) for part in ("keys/1", "fields/0", "counts/1", "steps/0", "numbers/0")] + [(DENSE, "values")]
)
def test_one_number_of_a_model(contents, runs, name, section):
    rewrite(runs[1] / "model" / name, {section: next_to})
    (found,) = contents.differences(*runs)
    assert found.startswith(f"{name}: {section}: 1 of ")


def test_the_sign_of_a_zero_is_a_difference(contents, runs):
    for folder, zero in zip(runs, (0.0, -0.0), strict=True):
        rewrite(folder / "model" / DENSE, {"values": lambda values, zero=zero: np.full_like(values, zero)})
    (found,) = contents.differences(*runs)
    assert found.startswith(f"{DENSE}: values: 3 of 3 numbers") and "0.0 and -0.0" in found


def test_another_number_of_rows(contents, runs):
    rewrite(runs[1] / "model" / ROWS, {f"{part}/1": lambda array: array[:-1] for part in ("keys", "fields", "counts", "steps", "numbers")})
    assert len(contents.differences(*runs)) == 5


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"loss": float(np.nextafter(0.7, 1))}, "record: line 0, progress: loss"),
        ({"test_loss": float(np.nextafter(0.1, 1))}, "record: line 1, result: test"),
        ({"score": float(np.nextafter(0.25, 1))}, "scores: line 2"),
    ],
)
def test_one_number_of_a_record_or_of_scores(contents, runs, tmp_path, change, where):
    (found,) = contents.differences(runs[0], make_run(tmp_path / "c", "0" * 16, 0.5, **change))
    assert found.startswith(where)


def test_another_entry_of_the_manifest(contents, runs):
    path = runs[1] / "model" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "steps": 8}), encoding="utf-8")
    (found,) = contents.differences(*runs)
    assert found == "manifest: steps: 7 and 8"


def test_another_format_is_not_called_a_difference(contents, runs):
    manifest, dense = runs[1] / "model" / "manifest.json", runs[1] / "model" / DENSE
    before = manifest.read_bytes()
    manifest.write_text(json.dumps({**json.loads(before), "format": plain_manifest(1, 1)["format"] + 1}), encoding="utf-8")
    with pytest.raises(contents.OtherForm, match="models are of format"):
        contents.differences(*runs)
    manifest.write_bytes(before)
    rewrite(dense, {"values": lambda values: values.astype(np.float32)})
    with pytest.raises(contents.OtherForm, match="dense: its sections"):
        contents.differences(*runs)
    rewrite(dense, {"values": lambda values: values.astype(np.float64)}, more="told")
    with pytest.raises(contents.OtherForm, match="dense: about: its entries"):
        contents.differences(*runs)
