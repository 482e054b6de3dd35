"""Runs of DIN, AutoInt and several tasks send what the formula says, go on by another split on other ranks, and start from one another.

Rows have a field of every kind; a sequence has the rows of another field, and DIN's target.  `test_ffm_runs` has ffm, `test_resume` all else.
"""

from pathlib import Path

import numpy as np
import pytest
from every_kind import FIELDS, make_rows, write_csv
from saved_models import content_of, joined, some_ranks, taken_back

import deshpc
from deshpc.checkpoint.load import dense_parameters, row_blocks
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import build

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

CUT = 4
KINDS = {
    "din": {"attention_hidden": [3], "fields": [{"name": "visits", "target": "hour"}]},
    "autoint": {"attention_layers": [6, 4]},
    "mmoe": {"task_hidden": [3], "experts": 2}, "esmm": {},
}  # fmt: skip
CASES = [("din", "key"), ("autoint", "field"), ("mmoe", "key"), ("esmm", "field")]


def config(base, run, kind, split, **train):
    """In float64, as tests of steps have it."""
    return build({
        "data": {"train": str(base / "train.csv"), "test": str(base / "test.csv"), "label": ["click", "buy"] if kind in ("mmoe", "esmm") else "click", "fields": FIELDS},
        "model": {"name": kind, "dim": 5, "init_std": 0.3, "hidden": [4], **KINDS[kind]}, "optimizer": {"name": "adagrad", "learning_rate": 0.1},
        "train": {"precision": "float64", "global_batch_samples": 64, "epochs": 2, "split": split, **train},
        "compute": {"threads_per_rank": 1}, "checkpoint": {"every_steps": CUT, "keep": 9}, "run": {"directory": str(base / run), "report_interval_s": 1000.0},
    })  # fmt: skip


def assert_close(found, expected):
    (rows, dense), (others, whole) = found, expected
    assert np.array_equal(rows.keys, others.keys) and np.array_equal(rows.counts, others.counts)
    np.testing.assert_allclose(rows.numbers, others.numbers, rtol=0, atol=1e-10)
    for name, array in whole.items():
        np.testing.assert_allclose(dense[name], array, rtol=0, atol=1e-10)


def saved(folder):
    """(Rows, {name: dense parameter}) of a model."""
    manifest = read_manifest(folder)
    return joined(row_blocks(folder, manifest)), dense_parameters(folder, manifest)


@pytest.mark.parametrize(("kind", "split"), CASES)
def test_sends_what_the_formula_says_and_goes_on(world, tmp_path, kind, split):
    base, other = Path(world.bcast(str(tmp_path))), {"key": "field", "field": "key"}[split]
    if world.rank == 0:
        for name, seed, count in (("train", 0, 300), ("test", 1, 60)):
            rows = make_rows(seed, count)
            write_csv(base / f"{name}.csv", [{**row, "buy": row["click"] if i % 3 else "" if i % 2 else "0"} for i, row in enumerate(rows)])
    world.Barrier()
    whole = deshpc.train(config(base, "whole", kind, split), world, check_bytes=True)
    expected = saved(base / "whole" / "model")
    for ranks, by in ((world.size, split), (max(1, world.size - 1), other)):
        again = base / f"again {by}"
        if world.rank == 0:
            taken_back(base / "whole", again, CUT)
        world.Barrier()
        with some_ranks(world, ranks) as comm:
            if comm:
                result = deshpc.train(config(base, again.name, kind, by), comm, resume=True, check_bytes=True)
                assert result.resumed_from == CUT and result.test.log_loss == pytest.approx(whole.test.log_loss, rel=1e-9)
        if by == split:
            assert content_of(again / "model") == content_of(base / "whole" / "model")
        assert_close(saved(again / "model"), expected)
    for run, epochs, start in (("first", 1, ""), ("second", 1, str(base / "first")), ("in order", 2, "")):
        deshpc.train(config(base, run, kind, split if start else other, epochs=epochs, shuffle=False, **{"from": start}), world)
    assert_close(saved(base / "second" / "model"), saved(base / "in order" / "model"))
