"""A model that N ranks have saved, M ranks load and train on: for every pair, exchange of roles and update rule.

Saved and loaded rows are equal to the bit.  Ten steps, a checkpoint, and ten more steps on other ranks give what twenty
steps on one rank give: the same bits in fixed point, close in float64.
"""

from functools import cache

import numpy as np
import pytest
from deep_training import deep_config
from mpi4py import MPI
from saved_models import assert_same_rows, joined, manifest_of, some_ranks
from small_training import RULES, all_rows, reads, small_config, small_model, train_on
from synthetic_batches import awkward_batches

from deshpc.checkpoint.load import load_model, row_blocks, verify
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import save_model
from deshpc.errors import ConfigError, DataError
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

CUT, STEPS, TOLERANCE = 10, 20, 1e-11  # measured 4e-15 at most
CASES = [
    *(("int64", rule) for rule in ("sgd, clipped", "adagrad", "rowwise_adagrad", "adam", "ftrl")),
    *(("float64", rule) for rule in ("adagrad", "adam")), ("bfloat16", "adagrad, clipped"),
]


def pairs(size):
    """(N, M) of which the larger is the number of ranks here: with 1 to 4 ranks, every pair has its turn."""
    return [(n, m) for n in range(1, size + 1) for m in range(1, size + 1) if max(n, m) == size]


@cache
def alone(name, rule, accumulate):
    batches = awkward_batches(31, STEPS)
    return batches, train_on(MPI.COMM_SELF, batches, config(name, rule, accumulate))


def config(name, rule, types):
    """types : `train.accumulate` of rows in float64; "bfloat16": int64 of embeddings in that"""
    precision, accumulate = ("bfloat16", "int64") if types == "bfloat16" else ("float64", types)
    return small_config(name, rule=RULES[rule], precision=precision, accumulate=accumulate)


def train_and_save(comm, batches, options, folder, threads):
    """Rows and dense parameters after the first batches, which are also what is saved.  Collective on `comm`."""
    with small_model(comm, options, threads) as model:
        for batch in batches[:CUT]:
            step(model, reads(model, batch))
        save_model(model, folder, manifest_of(model, options, CUT))
        return all_rows(model), model.parameters.values.copy()


def load_and_train(comm, batches, options, folder, threads):
    """(rows, dense parameters) as loaded, and after the other batches.  Collective on `comm`."""
    with small_model(comm, options, threads) as model:
        load_model(model, folder)
        loaded = all_rows(model), model.parameters.values.copy()
        for batch in batches[CUT:]:
            step(model, reads(model, batch))
        return loaded, (all_rows(model), model.parameters.values.copy())


@pytest.mark.parametrize(("accumulate", "rule"), CASES)
def test_saved_on_n_loaded_on_m(world, tmp_path, rule, accumulate):
    name = "lr" if rule == "ftrl" else "fm"
    batches, expected = alone(name, rule, accumulate)
    options, base = config(name, rule, accumulate), world.bcast(tmp_path)
    for saving, loading in pairs(world.size):
        folder, saved, result = base / f"{saving} {loading}" / "model", None, None
        with some_ranks(world, saving) as comm:
            if comm:
                saved = train_and_save(comm, batches, options, folder, threads=1 + loading % 2)
        with some_ranks(world, loading) as comm:
            if comm:
                result = load_and_train(comm, batches, options, folder, threads=1 + saving % 2)
        rows, dense = world.bcast(saved)
        if result is None:
            continue
        (loaded, loaded_dense), (trained, trained_dense) = result
        assert_same_rows(loaded, rows)
        assert loaded_dense.tobytes() == dense.tobytes()
        if accumulate != "float64":
            assert_same_rows(trained, expected.rows)
            assert trained_dense.tobytes() == expected.parameters.tobytes()
        else:
            for part in ("keys", "fields", "counts", "steps"):
                assert np.array_equal(getattr(trained, part), getattr(expected.rows, part))
            for found, wanted in ((trained.numbers, expected.rows.numbers), (trained_dense, expected.parameters)):
                assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()


DEEP = (("nfm", "reduce_scatter"), ("dlrm", "rows"), ("xdeepfm", "allreduce"), ("dcnv2", "reduce_scatter"))


def deep(kind, exchange):
    model = {"normalisation": "batch", "dropout": 0.2}
    return deep_config(kind, "float32", RULES["adagrad, clipped"], model, accumulate="int64", exchange=exchange)


@cache
def deep_alone(kind):
    batches = awkward_batches(33, STEPS)
    return batches, train_on(MPI.COMM_SELF, batches, deep(kind, "allreduce"))


@pytest.mark.parametrize(("kind", "exchange"), DEEP)
def test_deep_models_go_on_with_the_same_bits_in_fixed_point(world, tmp_path, kind, exchange):
    """On ranks that divide the sixteen parts of a batch, or on any where each does all of it."""
    (batches, expected), base = deep_alone(kind), world.bcast(tmp_path)
    for turn, (saving, loading) in enumerate(pairs(world.size)):
        if exchange != "allreduce" and (16 % saving or 16 % loading):
            continue
        folder = base / f"{saving} {loading}" / "model"
        for ranks, work in ((saving, train_and_save), (loading, load_and_train)):
            with some_ranks(world, ranks) as comm:
                result = work(comm, batches, deep(kind, exchange), folder, threads=1 + turn % 2) if comm else None
        if result is not None:
            _, (rows, dense) = result
            assert_same_rows(rows, expected.rows)
            assert dense.tobytes() == expected.parameters.tobytes()


def test_the_files_hold_what_the_ranks_hold(world, tmp_path):
    """Block by block, without a model: the rows of the manifest's counts, in key order."""
    folder, options = world.bcast(tmp_path) / "model", config("fm", "adam", "")
    with small_model(world, options, threads=2) as model:
        for batch in awkward_batches(32, 5):
            step(model, reads(model, batch))
        save_model(model, folder, manifest_of(model, options, 5))
        rows, counts = all_rows(model), model.group.gather(len(model.table))
        manifest = verify(folder)
        assert manifest["rows"] == counts and manifest["ranks"] == world.size and manifest["steps"] == 5
        assert_same_rows(joined(row_blocks(folder, manifest)), rows)
        blocks = list(model.table.blocks(7))
        assert all(len(block) <= 7 for block in blocks)
        assert_same_rows(joined(blocks), model.table.export())
        assert_same_rows(joined(model.table.copied_blocks()), model.table.export())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "lr"}, ["model.name", "'fm'", "'lr'"]),
        ({"precision": "float32"}, ["train.precision", "'float64'", "'float32'"]),
        ({"rule": {"name": "sgd"}}, ["optimizer.name", "'adagrad'", "'sgd'"]),
        ({"n_dense": 3}, ["data.fields", "['fm.weights', [2]]", "['fm.weights', [3]]"]),
    ],
)
def test_another_model_is_refused(world, tmp_path, changes, words):
    folder, options = world.bcast(tmp_path) / "model", small_config("fm")
    with small_model(world, options) as model:
        save_model(model, folder, manifest_of(model, options, 0))
    n_dense = changes.pop("n_dense", 2)
    with small_model(world, small_config(**changes), n_dense=n_dense) as model, pytest.raises(ConfigError) as caught:
        load_model(model, folder)
    for word in (*words, str(folder)):
        assert word in str(caught.value)
    changes["n_dense"] = n_dense


def test_damage_that_one_rank_meets_is_raised_on_all(world, tmp_path):
    folder, options = world.bcast(tmp_path) / "model", small_config("fm")
    with small_model(world, options) as model:
        for batch in awkward_batches(33, 3):
            step(model, reads(model, batch))
        save_model(model, folder, manifest_of(model, options, 3))
        manifest = read_manifest(folder)
        path = folder / f"rank-{world.size - 1:05d}-of-{world.size:05d}.rows"
        if world.rank == 0:
            content = bytearray(path.read_bytes())
            content[64] ^= 1  # the first key of the last rank's rows
            path.write_bytes(content)
        world.Barrier()
        with pytest.raises(DataError, match=f"{path.name}, section 'keys/0': damaged"):
            load_model(model, folder, manifest)
