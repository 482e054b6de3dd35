"""Models on disk know no split: saved on N ranks by one way to share the work out, loaded on M ranks by any other.

What is loaded gives the logits of the model that one rank has trained and never saved.  What one rank has saved has the same
bits after any ranks have loaded and saved it by any split: rows, dense parameters, optimizer state, the exported file.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from deep_training import MODELS
from mpi4py import MPI
from saved_models import assert_same_rows, joined, manifest_of, some_ranks
from small_training import DIM, INIT_STD, RULES, all_rows, all_samples, reads, score, small_model
from synthetic_batches import awkward_batches

from deshpc.checkpoint.load import dense_arrays, load_model, row_blocks, verify
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import save_model
from deshpc.cli.inspect import inspect
from deshpc.config.load import build
from deshpc.errors import ConfigError
from deshpc.serve.export import export
from deshpc.training.step import step

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

PUSHED_DOWN = {"first_layer": "pushed_down"}
WAYS = {  # options of [train] and [model]
    "key": ({}, {}),
    "key, pushed down": ({}, PUSHED_DOWN),
    "field": ({"split": "field"}, {}),
    "field, pushed down": ({"split": "field", "routing": "broadcast", "exchange": "allreduce"}, PUSHED_DOWN),
    "column": ({"split": "column", "routing": "broadcast"}, {}),
}
KINDS = {  # {kind of model: (rule, ways)}
    "lr": ("ftrl", ("key", "field")),
    "fm": ("adam", ("key", "field", "column")),
    "ffm": ("adagrad", ("key", "field", "column")),
    "wide_deep": ("adagrad", tuple(WAYS)),
    "deepfm": ("adam", tuple(WAYS)),
    "dcn": ("ftrl", tuple(WAYS)),
    "nfm": ("adagrad", ("key", "field")),
    "dcnv2": ("adam", ("key", "field")),
    "dcnv2 of low rank": ("adagrad", ("key", "field", "field, pushed down", "column")),
    "dlrm": ("adagrad, clipped", ("key", "field", "column")),
    "xdeepfm": ("adam", ("key", "field", "column")),
}
OTHERS = {"lr": {"name": "lr"}, "fm": {"name": "fm"}, "ffm": {"name": "ffm", "dim": 4}}  # 4 as in `steps/test_ffm.py`, for which kernels are compiled
CASES = [(kind, way) for kind, (_, ways) in KINDS.items() for way in ways]
STEPS = 6
TOLERANCE = 1e-12  # of an array's largest number, after six steps in float64: measured 2e-14 at most
BATCHES = awkward_batches(51, STEPS + 1)


def config(kind, way, rule=None):
    """The Config of a kind of model by a way to share the work out, by its own rule unless another is given."""
    train, model = WAYS[way]
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {"dim": DIM, "init_std": INIT_STD, **(OTHERS | MODELS)[kind], **model},
            "optimizer": rule or RULES[KINDS[kind][0]], "train": {"precision": "float64", **train},
        }
    )  # fmt: skip


def pairs(size):
    """(N, M) of which the larger is the number of ranks here: with 1 to 4 ranks, every pair has its turn."""
    return [(n, m) for n in range(1, size + 1) for m in range(1, size + 1) if max(n, m) == size]


def trained(model):
    for batch in BATCHES[:STEPS]:
        step(model, reads(model, batch))
    return model


def logits(model):
    """Of a batch with keys that are new.  Collective."""
    return all_samples(model, score(model, reads(model, BATCHES[STEPS])))


@cache
def alone(kind):
    """(rows, {"values", "state"}, logits) of one rank's model."""
    with small_model(MPI.COMM_SELF, config(kind, "key")) as model:
        trained(model)
        return all_rows(model), model.parameters.arrays(), logits(model)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= TOLERANCE * np.abs(expected).max(initial=0)


@pytest.mark.thorough(4)
@pytest.mark.parametrize(("kind", "saving"), CASES)
def test_saved_by_one_split_on_n_loaded_by_any_other_on_m(world, tmp_path, kind, saving):
    """Pairs of numbers of ranks take turns."""
    base, (rows, dense, expected), both = world.bcast(tmp_path), alone(kind), pairs(world.size)
    for i, loading in enumerate(KINDS[kind][1]):
        n, m = both[(CASES.index((kind, saving)) + i) % len(both)]
        folder = base / f"{n}" / "model"
        if not folder.exists():
            world.Barrier()
            with some_ranks(world, n) as comm:
                if comm:
                    with small_model(comm, config(kind, saving), threads=1 + n % 2) as model:
                        save_model(trained(model), folder, manifest_of(model, config(kind, saving), STEPS))
        stored = dense_arrays(folder, read_manifest(folder))
        for name, array in dense.items():
            assert_close(stored[name], array)
        with some_ranks(world, m) as comm:
            if comm:
                with small_model(comm, config(kind, loading), threads=1 + i % 2) as model:
                    load_model(model, folder)
                    assert_close(logits(model), expected)
                    assert_close(all_rows(model).numbers, rows.numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_after_loading_and_saving_by_any_split(world, tmp_path, kind):
    """One manifest for all, so that only the split of rows differs."""
    base = world.bcast(tmp_path)
    if world.rank == 0:
        with small_model(MPI.COMM_SELF, config(kind, "key")) as model:
            parameters = trained(model).parameters
            for name in [name for name, _ in parameters.names() if name == "deep.0.weights"]:
                parameters[name][::2] = -0.0  # which a sum with zeros would change
            save_model(model, base / "first", manifest_of(model, config(kind, "key"), STEPS))
            export(base / "first", base / "first.model")
    world.Barrier()
    rows, dense = joined(row_blocks(base / "first", verify(base / "first"))), dense_arrays(base / "first", read_manifest(base / "first"))
    for way in KINDS[kind][1]:
        folder = base / way
        with small_model(world, config(kind, way), threads=2) as model:
            load_model(model, base / "first")
            manifest = manifest_of(model, config(kind, "key"), STEPS)
            save_model(model, folder, manifest)
            counts, split = model.group.gather(len(model.table)), manifest["model"]["split"]
            assert counts == [len(rows)] * world.size if split == "column" else sum(counts) == len(rows)
            assert model.group.sum(model.table.first_rows)[0] == len(rows)
        assert_same_rows(joined(row_blocks(folder, verify(folder))), rows)
        for name, array in dense.items():
            assert dense_arrays(folder, read_manifest(folder))[name].tobytes() == array.tobytes(), name
        if world.rank == 0:
            export(folder, base / "again.model")
            assert (base / "again.model").read_bytes() == (base / "first.model").read_bytes()
            said = f"{len(rows):,} ({', '.join(f'{count:,}' for count in counts)}), split by {split}"
            assert said in inspect(folder) and (kind != "ffm" or "dim 4 for each field, 32 in all" in inspect(folder))
        world.Barrier()


def saved(world, folder, kind, way, rule=None):
    """Train and save.  Collective."""
    options = config(kind, way, rule)
    with small_model(world, options) as model:
        save_model(trained(model), folder, manifest_of(model, options, STEPS))
        return all_rows(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": [9, 5]}, ["[['deep.1.weights', [9, 4]], ", "[['deep.1.weights', [9, 5]], ", "layers of [model]"]),
        ({"dim": DIM + 1}, ["model.dim", f"dim = {DIM}", f"asks for {DIM + 1}"]),
    ],
)
def test_another_model_is_refused_whatever_the_split(world, tmp_path, change, words):
    folder, options = world.bcast(tmp_path) / "model", config("wide_deep", "column")
    saved(world, folder, "wide_deep", "field, pushed down")
    other = replace(options, model=replace(options.model, **{name: tuple(one) if name == "hidden" else one for name, one in change.items()}))
    with small_model(world, other) as model, pytest.raises(ConfigError) as caught:
        load_model(model, folder)
    for word in (*words, str(folder)):
        assert word in str(caught.value)
    assert "deep.0" not in str(caught.value)  # what fits is not told


def test_rows_of_one_number_a_row_are_loaded_by_field_and_refused_by_column(world, tmp_path):
    """rowwise_adagrad, whose state cannot be divided by columns."""
    folder, rule = world.bcast(tmp_path) / "model", RULES["rowwise_adagrad"]
    rows = saved(world, folder, "fm", "key", rule)
    with small_model(world, config("fm", "field", rule)) as model:
        load_model(model, folder)
        assert_same_rows(all_rows(model), rows)
    with pytest.raises(ConfigError, match="rowwise_adagrad.*train.split = 'column'"), small_model(world, config("fm", "column", rule)):
        raise AssertionError("was built")
