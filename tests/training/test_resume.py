"""A run that goes on from a checkpoint, against the run that was never interrupted.

On the same ranks the final model's files, the losses of all steps and the recorded evaluations are equal to the bit; in
fixed point the rows are, on any number of ranks.  And every reason not to go on is a clear error.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from saved_models import assert_same_rows, content_of, files_of, joined, some_ranks

import deshpc
from deshpc.checkpoint.folders import step_folder, step_folders
from deshpc.checkpoint.load import dense_parameters, row_blocks, verify
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config import resolved
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.training import loop
from deshpc.training.same_run import require_same_run

BLOCK_ROWS = 700
ROWS, BATCH, STEPS = 2_450, 200, 39  # 13 steps an epoch, the last one smaller; three epochs


def config(directory, **sections):
    train = {"global_batch_samples": BATCH, "epochs": 3, "shuffle_block_rows": BLOCK_ROWS, **sections.pop("train", {})}
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": ROWS, "valid_rows": 500, "test_rows": 300}},
            "model": {"dim": 4, "init_std": 0.1, **sections.pop("model", {})},
            "optimizer": {"learning_rate": 0.3, **sections.pop("optimizer", {})},
            "train": train,
            "compute": {"threads_per_rank": 1},
            "checkpoint": {"every_steps": 4, "keep": 100, "full_every": 4, **sections.pop("checkpoint", {})},
            "run": {"directory": str(directory), "report_interval_s": 1000.0},
        }
    )


@pytest.fixture
def losses(monkeypatch):
    """{step: loss} of the steps that are trained."""
    found, steps = {}, loop.steps

    def recorded(*arguments):
        for step in steps(*arguments):
            found[step.batch.step] = step.loss
            yield step

    monkeypatch.setattr(loop, "steps", recorded)
    return found


def events(directory, name):
    lines = [json.loads(line) for line in (directory / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in one.items() if key != "time_s"} for one in lines if one["event"] == name]


def interrupted_at(world, whole, directory, step):
    """Make `directory` what `whole` was when its checkpoint of `step` was the last, but its model what it is now.  Collective."""
    if world.rank == 0:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(whole, directory)
        for steps, folder in step_folders(directory):
            if steps > step:
                shutil.rmtree(folder)
    world.Barrier()


RUNS = {
    "shuffled": {"train": {"evaluate_every_steps": 5}},
    "in order": {"train": {"shuffle": False, "exchange": "rows"}, "optimizer": {"name": "adam", "learning_rate": 0.02}},
    "decay": {"optimizer": {"decay": "cosine", "warmup_steps": 6}, "train": {"exchange": "reduce_scatter"}},
    "stopping": {"train": {"evaluate_every_steps": 5, "stop_metric": "log_loss", "stop_patience": 4}},
    "foreground": {"checkpoint": {"background": False}, "optimizer": {"name": "ftrl", "l1": 0.1}},
    "fields": {
        "model": {"name": "deepfm", "hidden": [6], "first_layer": "pushed_down", "normalisation": "batch"},
        "train": {"split": "field"}, "optimizer": {"name": "adam", "learning_rate": 0.02},
    },
    "columns": {
        "model": {"name": "dcn", "hidden": [6]}, "optimizer": {"learning_rate": 0.1},
        "train": {"split": "column", "routing": "broadcast", "exchange": "allreduce", "stop_metric": "auc", "evaluate_every_steps": 9},
    },
}  # fmt: skip

CUTS = {"shuffled": (4, 12, 28, 36), "stopping": (8, 16), "fields": (24,), "columns": (16,)}


@pytest.mark.mpi
@pytest.mark.parametrize("run", RUNS)
def test_the_same_ranks_go_on_with_the_same_bits(world, directory, losses, run):
    whole, again = directory / "whole", directory / "again"
    result = deshpc.train(config(whole, **RUNS[run]), world)
    trained, expected = dict(losses), content_of(whole / "model")
    assert result.resumed_from is None and len(trained) == result.steps
    stops = "stop_metric" in RUNS[run].get("train", {})
    assert result.steps < STEPS if run == "stopping" else result.steps == STEPS or stops
    assert [step for step, _ in step_folders(whole)][::-1] == list(range(4, result.steps + (not stops), 4))
    for cut in CUTS.get(run, (4, (result.steps - 1) // 4 * 4)):
        interrupted_at(world, whole, again, cut)
        losses.clear()
        resumed = deshpc.train(config(again, **RUNS[run]), world, resume=True)
        assert resumed.resumed_from == cut
        assert losses == {step: loss for step, loss in trained.items() if step >= cut}
        for name in ("steps", "best_step", "rows", "rows_per_rank", "valid", "test"):
            assert getattr(resumed, name) == getattr(result, name), name
        assert resumed.samples == result.samples - cut // 13 * ROWS - cut % 13 * BATCH
        assert manifest_but_folder(again) == manifest_but_folder(whole)
        assert content_of(again / "model") == expected
        if world.rank == 0:
            valid = [one for one in events(whole, "valid") if one["step"] > cut]
            assert events(again, "valid") == events(whole, "valid") + valid  # what was after the cut stays as history
            assert [one["step"] for one in events(again, "resume")] == [cut]
        world.Barrier()


def manifest_but_folder(run):
    manifest = read_manifest(run / "model")
    files = manifest["files"]
    manifest["files"] = {name: entry["bytes"] for name, entry in files.items()}  # their ends are of the run, too
    del manifest["config"]["run"], manifest["crc32"], manifest["run"]
    return manifest


@pytest.mark.mpi
def test_in_fixed_point_any_ranks_go_on_with_the_same_bits(world, directory):
    options = {"train": {"accumulate": "int64", "evaluate_every_steps": 6}, "optimizer": {"name": "adam", "learning_rate": 0.02}}
    whole = directory / "whole"
    deshpc.train(config(whole, **options), world)
    expected = joined(row_blocks(whole / "model", read_manifest(whole / "model")))
    for ranks in range(1, world.size + 1):
        again = directory / f"on {ranks}"
        interrupted_at(world, whole, again, 16)
        with some_ranks(world, ranks) as comm:
            if comm:
                result = deshpc.train(config(again, **options), comm, resume=True)
                assert result.ranks == ranks and result.resumed_from == 16
        assert_same_rows(joined(row_blocks(again / "model", read_manifest(again / "model"))), expected)


BY_OTHER_WAYS = [  # first_layer and options of [train] of the run, and of what goes on
    ("pushed_down", {"split": "field"}, "pushed_down", {"split": "field"}),
    ("pooled", {}, "pooled", {"split": "field", "exchange": "pooled"}),
    ("pooled", {"split": "field"}, "pooled", {"split": "column", "routing": "broadcast"}),
    ("pooled", {"split": "column", "routing": "broadcast"}, "pushed_down", {"exchange": "allreduce"}),
]


@pytest.mark.mpi
@pytest.mark.parametrize("ways", BY_OTHER_WAYS)
def test_other_ranks_go_on_by_any_split(world, directory, ways):
    """Close to the run that nobody interrupted."""

    def options(first_layer, train):
        model = {"name": "deepfm", "hidden": [6], "first_layer": first_layer}
        rule = {"name": "adam", "learning_rate": 0.02, "epsilon": 1e-3}
        return {"model": model, "train": {"precision": "float64", "epochs": 2, **train}, "optimizer": rule}

    whole = directory / "whole"
    result = deshpc.train(config(whole, **options(*ways[:2])), world)
    expected = joined(row_blocks(whole / "model", read_manifest(whole / "model")))
    assert result.rows == len(expected)
    overrides = [f"model.first_layer={ways[2]}", *(f"train.{name}={value}" for name, value in ways[3].items())]
    assert deshpc.evaluate(whole, world, overrides).log_loss == pytest.approx(result.test.log_loss, rel=1e-9)
    for ranks in range(1, world.size + 1):
        again = directory / f"on {ranks}"
        interrupted_at(world, whole, again, 16)
        with some_ranks(world, ranks) as comm:
            if comm:
                resumed = deshpc.train(config(again, **options(*ways[2:])), comm, resume=True)
                assert resumed.resumed_from == 16 and resumed.rows == result.rows
                assert resumed.test.log_loss == pytest.approx(result.test.log_loss, rel=1e-9)
                by_column = ways[3].get("split") == "column"
                assert resumed.rows_per_rank == [result.rows] * ranks if by_column else sum(resumed.rows_per_rank) == result.rows
        manifest = read_manifest(again / "model")
        found = joined(row_blocks(again / "model", manifest))
        assert np.array_equal(found.keys, expected.keys) and np.array_equal(found.counts, expected.counts)
        np.testing.assert_allclose(found.numbers, expected.numbers, rtol=0, atol=1e-9 * np.abs(expected.numbers).max())
        for name, array in dense_parameters(again / "model", manifest).items():
            np.testing.assert_allclose(array, dense_parameters(whole / "model", read_manifest(whole / "model"))[name], rtol=0, atol=1e-9)


@pytest.mark.mpi
def test_more_epochs_go_on_from_the_end(world, directory):
    short = config(directory / "again", train={"epochs": 2}, checkpoint={"every_steps": 13})
    deshpc.train(short, world)
    result = deshpc.train(config(directory / "again", checkpoint={"every_steps": 13}), world, resume=True)
    whole = deshpc.train(config(directory / "whole", checkpoint={"every_steps": 13}), world)
    assert result.resumed_from == 26 and result.steps == whole.steps == STEPS
    assert content_of(directory / "again" / "model")["dense"] == content_of(directory / "whole" / "model")["dense"]
    again = deshpc.train(config(directory / "again", checkpoint={"every_steps": 13}), world, resume=True)  # nothing is left
    assert again.resumed_from == STEPS and again.samples == 0 and again.test == result.test and again.valid == result.valid


def damage(world, path):
    world.Barrier()
    if world.rank == 0:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    world.Barrier()


@pytest.mark.mpi
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_taken(world, directory, capsys):
    options = {"train": {"epochs": 1}}
    whole = deshpc.train(config(directory, **options), world)
    expected = content_of(directory / "model")
    damage(world, step_folder(directory, 12) / f"rank-{world.size - 1:05d}-of-{world.size:05d}.rows")
    damage(world, step_folder(directory, 8) / "manifest.json")
    result = deshpc.train(config(directory, **options), world, resume=True)
    assert result.resumed_from == 4 and result.steps == whole.steps
    assert content_of(directory / "model") == expected
    assert all(verify(folder) for _, folder in step_folders(directory))  # those of 8 and 12 have been written again
    if world.rank == 0:
        assert [Path(one["folder"]).name for one in events(directory, "damaged")] == ["step-000000000012", "step-000000000008"]
        said = capsys.readouterr().err
        assert "step-000000000012 cannot be read" in said and "manifest.json: damaged" in said
    world.Barrier()
    for _, folder in step_folders(directory):
        damage(world, folder / "dense")
    with pytest.raises(DataError, match="no checkpoint can be read; remove this folder"):
        deshpc.train(config(directory, **options), world, resume=True)


@pytest.mark.mpi
def test_a_damaged_best_model_is_met_before_it_is_needed(world, directory):
    options = {"train": {"epochs": 1, "evaluate_every_steps": 4, "stop_metric": "log_loss", "stop_patience": 9}}
    whole = deshpc.train(config(directory, **options), world)
    assert whole.best_step > 4
    best = step_folder(directory, 12) / "best" / "dense"
    if world.rank == 0:  # a file of its own, not a link
        content = best.read_bytes()
        best.unlink()
        best.write_bytes(content)
    damage(world, best)
    assert deshpc.train(config(directory, **options), world, resume=True).resumed_from == 8


def test_a_partial_folder_is_never_read_and_removed(world, directory):
    options = {"train": {"epochs": 1}}
    deshpc.train(config(directory, **options), world)
    if world.rank == 0:
        newest = step_folder(directory, 12)
        newest.rename(newest.with_name("step-000000000016.partial"))
        step_folder(directory, 4).rename(newest.with_name("step-000000000004.old"))
    world.Barrier()
    assert deshpc.train(config(directory, **options), world, resume=True).resumed_from == 8
    names = sorted(path.name for path in (directory / "checkpoints").iterdir())
    assert names == ["step-000000000008", "step-000000000012"]


def test_without_a_checkpoint_it_starts_from_the_beginning(world, directory):
    result = deshpc.train(config(directory, train={"epochs": 1}, checkpoint={"every_steps": 0}), world, resume=True)
    assert result.resumed_from is None and result.steps == 13 and not (directory / "checkpoints").exists()


def test_checkpoints_are_not_overwritten_by_accident(world, directory):
    deshpc.train(config(directory, train={"epochs": 1}), world)
    before = files_of(directory)
    with pytest.raises(ConfigError, match="step-000000000012: add --resume to go on from it"):
        deshpc.train(config(directory, train={"epochs": 1}), world)
    assert files_of(directory) == before


OTHER_RUNS = [
    ("model.dim=5", ["model.dim = 5", "made with 4"]),
    ("optimizer.name=sgd", ["optimizer.name = 'sgd'", "'adagrad'"]),
    ("optimizer.l2=0.5", ["optimizer.l2 = 0.5", "0.0"]),
    ("train.precision=float64", ["train.precision = 'float64'", "'float32'"]),
    ("train.accumulate=int64", ["train.accumulate = 'int64'", "made with ''"]),
    ("train.seed=2", ["train.seed = 2", "made with 1"]),
    ("train.global_batch_samples=100", ["train.global_batch_samples = 100", "200"]),
    ("train.shuffle=false", ["train.shuffle = False", "True"]),
    ("data.synthetic.seed=9", ["data.synthetic.seed = 9", "made with 1"]),
]


def test_another_run_does_not_go_on(world, directory):
    options = config(directory, train={"epochs": 1})
    deshpc.train(options, world)
    for override, words in OTHER_RUNS:
        with pytest.raises(ConfigError) as caught:
            deshpc.train(options, world, [override], resume=True)
        for word in ("--resume", *words, "step-000000000012"):
            assert word in str(caught.value)


def test_epochs_are_part_of_a_decay_over_the_whole_run(world, directory):
    options = {"optimizer": {"decay": "linear"}}
    deshpc.train(config(directory, train={"epochs": 1}, **{name: dict(one) for name, one in options.items()}), world)
    with pytest.raises(ConfigError, match="train.epochs = 2.*made with 1, and optimizer.decay_steps = 0"):
        deshpc.train(config(directory, train={"epochs": 2}, **options), world, resume=True)


def test_other_rows_do_not_go_on(world, directory):
    def files(rows, constant):
        if world.rank == 0:
            lines = [f"{i % 2},u{i % 7},{constant + i}" for i in range(rows)]
            (directory / "train.csv").write_text("label,user,age\n" + "\n".join(lines) + "\n", encoding="utf-8")
        world.Barrier()
        return build(
            {
                "data": {
                    "train": str(directory / "train.csv"), "fields": [{"name": "user"}, {"name": "age", "kind": "dense"}],
                },
                "train": {"global_batch_samples": 10}, "checkpoint": {"every_steps": 3},
                "compute": {"threads_per_rank": 1}, "run": {"directory": str(directory / "run")},
            }
        )  # fmt: skip

    assert deshpc.train(files(80, 5), world).steps == 8
    with pytest.raises(DataError, match="data.train has 90 rows; the checkpoint in .* was made with 80"):
        deshpc.train(files(90, 5), world, resume=True)
    with pytest.raises(DataError, match="fitted transforms differ"):
        deshpc.train(files(80, 6), world, resume=True)
    assert deshpc.train(files(80, 5), world, resume=True).resumed_from == 6


def test_the_manifest_says_where_it_goes_on(world, directory):
    deshpc.train(config(directory), world)
    for steps, folder in step_folders(directory):
        manifest = read_manifest(folder)
        cursor = manifest["progress"]
        assert cursor["steps"] == manifest["steps"] == steps and manifest["random"] == {"seed": 1, "step": steps}
        assert (cursor["epoch"], cursor["batch"]) == divmod(steps, math.ceil(ROWS / BATCH))
        assert cursor["position"] == BATCH * cursor["batch"] and cursor["train_rows"] == ROWS
        assert cursor["samples"] == cursor["epoch"] * ROWS + cursor["position"]
        assert (cursor["block"], cursor["row"]) == place(cursor["epoch"], cursor["position"])


def place(epoch, position):
    """(block, row) of a position by walking through the blocks of the order that the definition gives."""
    blocks = -(-ROWS // BLOCK_ROWS)
    generator = np.random.Generator(np.random.Philox(key=[1, epoch << 1], counter=[0, 0, 0, 0]))
    for number, block in enumerate(generator.permutation(blocks)):
        size = min(BLOCK_ROWS, ROWS - block * BLOCK_ROWS)
        if position < size:
            return number, position
        position -= size


def test_an_option_that_a_checkpoint_does_not_have_was_as_it_is_by_default():
    """A checkpoint of a version without train.loss can be gone on from, unless the loss is another one now."""
    here = resolved(build({"data": {"format": "synthetic"}}))
    before = {**here, "train": {name: value for name, value in here["train"].items() if name != "loss"}}
    require_same_run(before, here, "runs/one")
    other = {**here, "train": {**here["train"], "loss": "squared"}}
    with pytest.raises(ConfigError, match="train.loss = 'squared', but the checkpoint in runs/one was made with 'log'"):
        require_same_run(before, other, "runs/one")
