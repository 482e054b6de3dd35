"""Runs of a field-aware factorization machine: what they send, how they go on, what starts from them, rows that go, exports of what has changed."""

from pathlib import Path

import numpy as np
import pytest
from saved_models import content_of, joined, some_ranks, taken_back

import deshpc
from deshpc.checkpoint.load import dense_parameters, row_blocks
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import build
from deshpc.serve.exports import newest_chain

ROWS, BATCH, STEPS, CUT = 600, 100, 12, 5  # two epochs
N_FIELDS, N_DENSE, K = 12, 2, 4
COLUMN = {"split": "column", "routing": "broadcast"}
WAYS = {
    "column": COLUMN, "key": {}, "column, repeated": {**COLUMN, "exchange": "allreduce"}, "sums by key": {"exchange": "reduce_scatter"},
    "sums by field": {"split": "field", "exchange": "pooled"},
}  # fmt: skip


def config(directory, way="key", epochs=2, **sections):
    """In float64, as tests of steps have it."""
    return build({
        "data": {"format": "synthetic", "synthetic": {"train_rows": ROWS, "test_rows": 200}},
        "model": {"name": "ffm", "dim": K, "init_std": 0.1}, "optimizer": {"learning_rate": 0.1},
        "train": {"precision": "float64", "global_batch_samples": BATCH, "epochs": epochs, **WAYS[way], **sections.pop("train", {})},
        "compute": {"threads_per_rank": 1}, "checkpoint": {"every_steps": CUT, "keep": 9, **sections.pop("checkpoint", {})},
        "run": {"directory": str(directory), "report_interval_s": 1000.0}, **sections,
    })  # fmt: skip


def saved(folder):
    """(Rows, {name: dense parameter}) of a model."""
    manifest = read_manifest(folder)
    return joined(row_blocks(folder, manifest)), dense_parameters(folder, manifest)


def assert_close(found, expected):
    (rows, dense), (others, whole) = found, expected
    assert np.array_equal(rows.keys, others.keys) and np.array_equal(rows.counts, others.counts)
    np.testing.assert_allclose(rows.numbers, others.numbers, rtol=0, atol=1e-10)
    for name, array in whole.items():
        np.testing.assert_allclose(dense[name], array, rtol=0, atol=1e-10)


@pytest.mark.mpi
@pytest.mark.parametrize("way", WAYS)
def test_sends_what_the_formula_says_and_goes_on(world, tmp_path, way):
    """On the same ranks with the same bits, by another split on others close to them, and to a run that starts from the first epoch's model."""
    base = Path(world.bcast(str(tmp_path)))
    whole = deshpc.train(config(base / "whole", way), world, check_bytes=True)
    expected, n = saved(base / "whole" / "model"), world.size
    sent = {(row.kind, row.direction): row.sent_bytes for row in whole.traffic}
    samples, sums = 2 * ROWS, N_FIELDS * (N_FIELDS + N_DENSE) * K
    if way == "column":  # one number a sample, each way
        assert sent.get(("partials", "forward"), 0) == sent.get(("gradients", "backward"), 0) == (n - 1) * samples * 8
    if way == "column, repeated":
        assert sent.get(("partials", "forward"), 0) == 2 * (n - 1) * samples * 8
    if way == "sums by key":
        assert sent.get(("partials", "forward"), 0) == sent.get(("gradients", "backward"), 0) == (n - 1) * samples * (sums + 1) * 8
    others = [name for name in WAYS if name != way]
    for ranks, other in ((n, way), *((m, others[m % 4]) for m in range(1, n + 1))):
        again = base / f"again {ranks} {other}"
        if world.rank == 0:
            taken_back(base / "whole", again, CUT)
        world.Barrier()
        with some_ranks(world, ranks) as comm:
            if comm:
                result = deshpc.train(config(again, other), comm, resume=True)
                assert result.resumed_from == CUT and result.test.log_loss == pytest.approx(whole.test.log_loss, rel=1e-9)
        if other == way:
            assert content_of(again / "model") == content_of(base / "whole" / "model")
        assert_close(saved(again / "model"), expected)
    deshpc.train(config(base / "first", way, 1, train={"shuffle": False}), world)
    deshpc.train(config(base / "in order", way, train={"shuffle": False}), world)
    with some_ranks(world, 1) as comm:
        if comm:
            deshpc.train(config(base / "second", others[0], 1, train={"shuffle": False, "from": str(base / "first")}), comm)
    assert_close(saved(base / "second" / "model"), saved(base / "in order" / "model"))


@pytest.mark.mpi
def test_rows_go_and_deltas_are_the_whole(world, tmp_path):
    """Whole rows by key, and columns of rows: the same ones go, and the others are the same."""
    base, found = Path(world.bcast(str(tmp_path))), []
    table = {"max_rows": 60, "evict_every_steps": 2, "admit_after": 2, "max_age_steps": 4}
    sections = {"table": table, "export": {"deltas": True, "full_every": 0}, "checkpoint": {"every_steps": 2, "full_every": 3}}
    for way in ("key", "column"):
        result = deshpc.train(config(base / way, way, **sections), world)
        assert 0 < result.rows <= 60
        found.append(saved(base / way / "model"))
        if world.rank == 0:
            first, *after = newest_chain(base / way / "exports")
            assert len(after) >= 3
            deshpc.fold(first, after, base / "folded")
            deshpc.export(base / way, base / "export")
            assert (base / "folded").read_bytes() == (base / "export").read_bytes()
        world.Barrier()
    assert_close(*found)
