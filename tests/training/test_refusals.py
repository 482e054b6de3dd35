"""What all ranks refuse is one error on all of them, which Python can catch and go on from: real runs, one after another.

Combinations are refused before anything is loaded or compiled; what the first rank of a node meets while it compiles is agreed on,
too; and a run whose last update makes weights infinite fails, whatever it was to save, and leaves the model of before.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from launching import deshpc as run_deshpc
from launching import errors
from saved_models import files_of

import deshpc
from deshpc.checkpoint.load import row_blocks
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError, DeshpcError
from deshpc.serve.export import export
from deshpc.training import evaluation
from deshpc.training.predict import predict
from deshpc.training.session import Session

SYNTHETIC = {"format": "synthetic", "synthetic": {"train_rows": 300, "valid_rows": 0, "test_rows": 100}}
INFINITE = {"name": "sgd", "learning_rate": 1e308, "reduction": "sum"}


def config(directory, model=None, train=None, optimizer=None, data=SYNTHETIC, run=None, checkpoint=None):
    return build(
        {
            "data": data, "model": {"name": "lr", "dim": 4, **(model or {})}, "optimizer": optimizer or {},
            "train": {"global_batch_samples": 100, "precision": "float64", **(train or {})}, "checkpoint": checkpoint or {},
            "compute": {"threads_per_rank": 1}, "run": {"directory": directory, "report_interval_s": 1e3, **(run or {})},
        }
    )  # fmt: skip


@pytest.fixture
def directory(world, tmp_path):
    """One folder for all ranks."""
    return world.bcast(str(tmp_path / "run"))


def refused(world, kind, *arguments, call=deshpc.train, **named):
    """The message of an error of this kind, the same on all ranks."""
    with pytest.raises(kind) as caught:
        call(*arguments, **named)
    assert type(caught.value) is kind
    messages = world.allgather(str(caught.value))
    assert messages == messages[:1] * world.size
    return messages[0]


COMBINATIONS = {
    "a model without embeddings": ({"model": {"name": "lr"}, "train": {"split": "column", "routing": "broadcast"}}, "has no embeddings to split"),
    "an exchange": ({"model": {"name": "fm"}, "train": {"exchange": "pooled"}}, "train.exchange = 'pooled' moves complete embeddings"),
    "a field": ({"model": {"name": "dcn", "fields": [{"name": "c9x", "dim": 2}]}}, "'c9x' is no field of the data that becomes keys"),
    "a rule": (
        {"model": {"name": "fm"}, "train": {"split": "column", "routing": "broadcast"}, "optimizer": {"name": "rowwise_adagrad"}},
        "choose 'adagrad'",
    ),
}  # fmt: skip


@pytest.mark.mpi
@pytest.mark.parametrize("case", COMBINATIONS)
def test_combinations_are_refused_before_anything_is_loaded(world, directory, monkeypatch, case):
    options, words = COMBINATIONS[case]
    with monkeypatch.context() as patched:
        patched.setattr(Session, "load", lambda *_: pytest.fail("loads"))
        patched.setattr(Session, "build", lambda *_: pytest.fail("compiles"))
        for _ in range(5):
            assert words in refused(world, ConfigError, config(directory, **options), world)
    assert deshpc.train(config(directory), world).steps == 3


@pytest.mark.mpi
def test_more_ranks_than_columns_are_refused(world, directory):
    options = {"model": {"name": "fm", "dim": 1}, "train": {"split": "column", "routing": "broadcast"}}
    if world.size == 1:
        assert deshpc.train(config(directory, **options), world).steps == 3
    else:
        assert f"needs a column for each of {world.size} ranks" in refused(world, ConfigError, config(directory, **options), world)
    assert deshpc.train(config(directory), world, overwrite=True).steps == 3


@pytest.mark.mpi
def test_what_the_first_rank_meets_is_agreed_on(world, directory):
    """Fixed point holds no such sums: the first steps, by which kernels are compiled, find it."""
    options = {"model": {"name": "fm", "init_std": 1e8}, "train": {"precision": "float32", "accumulate": "int64"}}
    message = refused(world, DeshpcError, config(directory, **options), world)
    assert "fixed point holds less than" in message and "lower optimizer.learning_rate" in message
    assert deshpc.train(config(directory), world).steps == 3


NO_TEST = {**SYNTHETIC, "synthetic": {"train_rows": 300, "test_rows": 0}}


@pytest.mark.mpi
@pytest.mark.parametrize(
    "options",
    [
        {}, {"run": {"save_model": False}}, {"data": NO_TEST}, {"data": NO_TEST, "run": {"save_model": False}},
        {"checkpoint": {"every_steps": 1}}, {"checkpoint": {"every_steps": 1, "background": False}},
    ],
)  # fmt: skip
def test_weights_that_the_last_update_made_infinite(world, directory, options):
    """Of the one step the loss is that of the weights before it."""

    def saved():
        return world.bcast({name: one for name, one in files_of(directory).items() if name.startswith("model/")})

    deshpc.train(config(directory), world)
    model = saved()
    assert model
    one_step = {"train": {"global_batch_samples": 300}, "optimizer": INFINITE, **options}
    message = refused(world, DeshpcError, config(directory, **one_step), world, overwrite=True)
    assert re.match(r"after 1 steps (the linear weight of key \d+ \(field number \d+\)|the dense parameter [\w.]+(\[\d+\])?) is (inf|-inf|nan): ", message)
    assert "training diverged; lower optimizer.learning_rate" in message
    assert saved() == model
    assert not any(name.startswith("checkpoints/") and ".partial" not in name for name in files_of(directory))
    strict_record(directory)
    assert deshpc.train(config(directory), world, overwrite=True).steps == 3


def strict_record(directory):
    """The lines of the record, none of which has a number that JSON has not."""

    def refuse(word):
        raise AssertionError(word)

    with open(f"{directory}/record.jsonl", encoding="utf-8") as file:
        return [json.loads(line, parse_constant=refuse) for line in file]


@pytest.mark.mpi
def test_a_saved_model_that_is_not_finite(world, directory, monkeypatch):
    """As somebody else may have written it: whoever reads it says so, and nothing is written."""
    with monkeypatch.context() as patched:
        for name in ("finite_blocks", "require_finite_dense"):
            patched.setattr(f"deshpc.checkpoint.save.{name}", lambda *arguments: arguments[0])
        patched.setattr("deshpc.training.api.measured", lambda *_, **__: None)
        deshpc.train(config(directory, optimizer=INFINITE, train={"global_batch_samples": 300}), world)
    assert "not finite" in refused(world, DataError, directory, world, call=deshpc.evaluate)
    assert "not finite" in refused(world, DataError, directory, f"{directory}/scores.csv", world, call=predict)
    world.Barrier()
    assert "scores.csv" not in files_of(directory) and not any(name.startswith("eval") for name in files_of(directory))
    if world.rank == 0:
        with pytest.raises(DataError, match="not finite"):
            export(directory, f"{directory}/model.bin")
        assert "model.bin" not in files_of(directory)
    world.Barrier()


@pytest.mark.mpi
def test_a_score_that_is_not_a_number(world, directory, monkeypatch):
    """Of weights that are finite, and too large to be multiplied."""
    deshpc.train(config(directory, {"name": "fm"}), world)

    def huge(*where):
        return (replace(rows, numbers=np.full_like(rows.numbers, 1e300)) for rows in row_blocks(*where))

    with monkeypatch.context() as patched:
        patched.setattr("deshpc.checkpoint.load.row_blocks", huge)
        message = refused(world, DeshpcError, directory, f"{directory}/scores.csv", world, call=predict)
    assert "the score of row" in message and "is not a number" in message
    world.Barrier()
    assert "scores.csv" not in files_of(directory)


@pytest.mark.mpi
def test_metrics_of_finite_weights_that_are_not_finite(world, directory, monkeypatch):
    """Where no weight is the reason, the metric is named."""

    found = deshpc.train(config(directory), world).test
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "_measured", lambda *_: replace(found, log_loss=float("inf")))
        message = refused(world, DeshpcError, config(directory), world, overwrite=True)
    assert message == "after 3 steps log_loss of the test part is inf: training diverged; lower optimizer.learning_rate"


def test_the_command_line_says_it_once_and_ends_with_its_code(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        '[data]\nformat = "synthetic"\nsynthetic = { train_rows = 300, test_rows = 0 }\n[model]\nname = "lr"\n[compute]\n'
        'threads_per_rank = 1\n[train]\nprecision = "float64"\nglobal_batch_samples = 300\n'
    )
    for options, code, words in (
        (["train.split=column", "train.routing=broadcast"], 2, "has no embeddings to split"),
        (["optimizer.epsilon=1e-60", "train.precision=float32"], 2, "optimizer.epsilon = 1e-60 is too small for float32: at least 1.18e-38"),
        (["optimizer.name=sgd", "optimizer.reduction=sum", "optimizer.learning_rate=1e308"], 1, "after 1 steps the dense parameter linear.weights[0] is"),
    ):  # fmt: skip
        done = run_deshpc("train", path, *(word for one in options for word in ("--set", one)), ranks=3, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert len(errors(done)) == 1 and words in errors(done)[0]
        assert not (tmp_path / "runs/latest/model").exists()
