"""Runs with compute.backend = "cuda" from the configuration on: trained, evaluated, saved and continued as on the CPU."""

import numpy as np
import pytest
from saved_models import joined

from deshpc.backend.cuda import device as cuda_device
from deshpc.checkpoint.folders import model_folder
from deshpc.checkpoint.load import row_blocks
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import build
from deshpc.errors import LaunchError
from deshpc.training.api import evaluate, train

pytestmark = pytest.mark.mpi


@pytest.fixture
def opened(few, monkeypatch):
    """Opening a CUDA device gives the test's."""
    monkeypatch.setattr(cuda_device, "open_device", lambda node_rank: few)


def config(directory, backend, **sections):
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": 900, "valid_rows": 200, "test_rows": 200}},
            "model": {"dim": 4, "init_std": 0.1},
            "optimizer": {"learning_rate": 0.3},
            "train": {"global_batch_samples": 150, "epochs": 1, "precision": "float64", **sections.pop("train", {})},
            "compute": {"backend": backend, "threads_per_rank": 1, **sections.pop("compute", {})},
            "run": {"directory": str(directory), "report_interval_s": 1000.0},
            **sections,
        }
    )


def saved_rows(directory):
    folder = model_folder(directory)
    return joined(row_blocks(folder, read_manifest(folder)))


def test_a_run_on_a_device_gives_the_cpus_model_and_metrics(world, tmp_path_factory, opened):
    folder = world.bcast(tmp_path_factory.mktemp("runs"))
    runs = {name: train(config(folder / name, name), world) for name in ("cpu", "cuda")}
    for part in ("valid", "test"):
        found, expected = getattr(runs["cuda"], part), getattr(runs["cpu"], part)
        assert found.auc == pytest.approx(expected.auc, abs=1e-9) and found.log_loss == pytest.approx(expected.log_loss, rel=1e-9)
    rows, expected = (saved_rows(folder / name) for name in ("cuda", "cpu"))
    assert np.array_equal(rows.keys, expected.keys) and np.array_equal(rows.counts, expected.counts)
    assert np.abs(rows.numbers - expected.numbers).max() <= 1e-9 * np.abs(expected.numbers).max()
    assert evaluate(folder / "cuda", world).auc == pytest.approx(runs["cuda"].test.auc, abs=1e-9)


def test_a_run_goes_on_from_the_other_backends_checkpoint(world, tmp_path_factory, opened):
    folder = world.bcast(tmp_path_factory.mktemp("runs"))
    checkpoint = {"checkpoint": {"every_steps": 3, "keep": 10}}
    whole = train(config(folder / "whole", "cpu", train={"epochs": 2}, **checkpoint), world)
    train(config(folder / "split", "cpu", **checkpoint), world)
    rest = train(config(folder / "split", "cuda", train={"epochs": 2}, **checkpoint), world, resume=True)
    assert (rest.steps, rest.resumed_from) == (whole.steps, whole.steps // 2)
    assert rest.test.log_loss == pytest.approx(whole.test.log_loss, rel=1e-9)


def test_a_device_that_is_not_there_is_an_error_on_every_rank(world, tmp_path_factory, monkeypatch):
    folder = world.bcast(tmp_path_factory.mktemp("runs"))

    def missing(node_rank):
        raise LaunchError("compute.backend = 'cuda': this process has no CUDA device; choose 'cpu'")

    monkeypatch.setattr(cuda_device, "open_device", missing)
    with pytest.raises(LaunchError, match="no CUDA device"):
        train(config(folder / "run", "cuda"), world)
