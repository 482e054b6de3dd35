"""train.precision = "bfloat16" on any number of ranks: the bits of one rank in fixed point, whatever routing, exchange, rule and threads, and
close to float32.

Where sums are float64, those of different ranks differ in the last of 53 bits, and embeddings of 8 bits not at all: so column split, which
has no fixed point, is compared to the bit, too.
"""

import shutil
from functools import cache

import numpy as np
import pytest
from mpi4py import MPI
from saved_models import manifest_of
from small_training import DIM, RULES, small_config, small_model, train_on
from synthetic_batches import awkward_batches

from deshpc.checkpoint.common import Common
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import save_model
from deshpc.config import override
from deshpc.errors import ConfigError
from deshpc.model.combinations import require_valid
from deshpc.training.step import step

STEPS = 20


def config(name, rule, accumulate="int64", precision="bfloat16", **train):
    found = small_config(name, rule=RULES[rule], precision=precision, accumulate=accumulate, **train)
    return found if name in ("lr", "fm") else override(found, "model.hidden=[8]")


@cache
def alone(name, rule, *types):
    """(batches, what one rank with one thread makes of them)."""
    batches = awkward_batches(83, STEPS)
    return batches, train_on(MPI.COMM_SELF, batches, config(name, rule, *types))


def embeddings(trained):
    """(n, k) of all rows."""
    return trained.rows.numbers[:, 1 : 1 + DIM]


@pytest.mark.thorough(2)
@pytest.mark.mpi
@pytest.mark.parametrize(("name", "rule", "options", "threads"), [
    ("fm", "adagrad, clipped", {"exchange": "rows", "routing": "routed"}, 2),
    ("fm", "adagrad, clipped", {"exchange": "allreduce"}, 1),
    ("fm", "ftrl", {"exchange": "rows", "routing": "broadcast"}, 2),
    ("fm", "rowwise_adagrad", {"exchange": "reduce_scatter", "split": "field"}, 1),
    ("deepfm", "adagrad, clipped", {"exchange": "allreduce"}, 1),
])  # fmt: skip
def test_the_same_bits_on_any_number_of_ranks(world, name, rule, options, threads):
    batches, expected = alone(name, rule)
    trained = train_on(world, batches, config(name, rule, **options), threads)
    assert set(world.allgather(trained.digest())) == {expected.digest()}
    found = embeddings(trained)
    assert found.dtype == np.float32 and not (found.copy().view(np.uint32) & 0xFFFF).any()
    assert (trained.rows.numbers[:, 1 + DIM :].copy().view(np.uint32) & 0xFFFF).any()


@pytest.mark.thorough
@pytest.mark.mpi
def test_columns_are_rounded_as_those_of_whole_embeddings(world):
    """A rank's first column is one of the whole embedding."""
    batches, expected = alone("fm", "adagrad, clipped", "float64")
    trained = train_on(world, batches, config("fm", "adagrad, clipped", "float64", split="column", routing="broadcast"))
    assert np.array_equal(embeddings(trained), embeddings(expected))
    assert np.abs(trained.rows.numbers - expected.rows.numbers).max() < 1e-6


def test_models_start_from_float32_and_back(tmp_path):
    """`train.from`: embeddings become the nearest bfloat16, all else stays; and these are float32 again, as they are."""
    loaded = []
    for precision in ("float32", "bfloat16", "float32"):
        options = config("fm", "adagrad, clipped", "int64", precision)
        with small_model(MPI.COMM_SELF, options) as model:
            if loaded:
                manifest = read_manifest(tmp_path / "model")
                load_model(model, tmp_path / "model", manifest, Common.of(model, manifest, True, tmp_path / "model"))
            else:
                for batch in awkward_batches(83, 3):
                    step(model, batch)
            loaded.append(model.table.export().numbers)
            shutil.rmtree(tmp_path / "model", ignore_errors=True)
            save_model(model, tmp_path / "model", manifest_of(model, options, 3))
    wide, halves, again = loaded
    apart, bits = np.abs(wide - halves), halves[:, 1 : 1 + DIM].copy().view(np.uint32)
    assert not apart[:, 0].any() and not apart[:, 1 + DIM :].any() and np.array_equal(halves, again)
    assert not (bits & 0xFFFF).any() and apart.max() > 0 and (apart <= 2.0**-8 * np.abs(wide)).all()


def test_nearly_as_float32():
    """After 20 steps embeddings are a few roundings away, to either side."""
    (_, halves), (_, wide) = alone("fm", "adagrad, clipped"), alone("fm", "adagrad, clipped", "int64", "float32")
    apart, unit = embeddings(halves) - embeddings(wide), 2.0**-8 * np.abs(embeddings(wide)).max()
    assert 0.05 * unit < np.sqrt((apart**2).mean()) < unit and np.abs(apart.mean()) < 0.02 * unit
    np.testing.assert_allclose(halves.losses, wide.losses, rtol=0.01)


@pytest.mark.parametrize(("name", "backend", "message"), [
    ("lr", "cpu", "model.name = 'lr' has none; choose 'float32'"), ("fm", "cuda", "rounded at random by the CPU alone; compute.backend = 'cuda'"),
])  # fmt: skip
def test_what_has_no_use_for_it_is_refused(name, backend, message):
    with pytest.raises(ConfigError, match=message):
        require_valid(config(name, "adagrad", ""), type("Backend", (), {"name": backend}))
