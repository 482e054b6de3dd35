"""Training whose numbers travel as halves: close to that of whole ones, the same on every rank, and half the bytes, as the formula says."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pretended_nodes import pretend
from small_training import all_rows, reads, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.config import override
from deshpc.config.load import build
from deshpc.errors import ConfigError
from deshpc.model.combinations import require_valid
from deshpc.training.step import step
from deshpc.training.traffic import require_agreement, training_traffic

pytestmark = pytest.mark.mpi

CASES = [
    ("fm", "allreduce", "key", "float32"), ("fm", "reduce_scatter", "key", "float32"), ("fm", "rows", "key", "float32"),
    ("deepfm", "pooled", "field", "float32"), ("deepfm", "rows", "key", "float32"), ("fm", "rows", "key", "bfloat16"),
]  # fmt: skip
NARROW = ("partials", "pooled", "rows", "gradients")
BATCH = 37


def config(name, exchange, split, precision, wire):
    found = small_config(name, "sgd", 0.05, precision, exchange=exchange, split=split, wire=wire, levels="two", global_batch_samples=BATCH)
    return override(found, "model.hidden=[8, 4]") if name == "deepfm" else found


class Samples:
    keys_per_sample, value_width, n_dense, has_weights = 1.0, 1, 2, False

    def __len__(self):
        return 3 * BATCH


def trained(world, options, batches):
    """(losses, rows' numbers, [TrafficRow])"""
    with small_model(world, options) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        session = SimpleNamespace(
            group=model.group, backend=model.backend, model=model, config=options, input=SimpleNamespace(n_fields=N_FIELDS)
        )
        traffic, _ = training_traffic(session, Samples(), len(batches), sum(map(len, batches)))
        require_agreement(model.group, traffic)
        return losses, all_rows(model).numbers, traffic


@pytest.mark.parametrize("wire", ["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "exchange", "split", "precision"), CASES)
def test_halves_train_nearly_the_same(world, monkeypatch, name, exchange, split, precision, wire):
    """Rows whose embeddings are bfloat16 in memory travel as they are."""
    batches = [replace(awkward_batches(seed, 1, 1)[0], step=i) for i, seed in enumerate((61, 62, 63))]
    assert {len(one) for one in batches} == {BATCH}
    if world.size == 4:
        pretend(monkeypatch, "blocks")
    (losses, rows, traffic), (full_losses, full_rows, full_traffic) = (
        trained(world, config(name, exchange, split, precision, one), batches) for one in (wire, "full")
    )
    assert world.allgather(losses.tobytes()) == [losses.tobytes()] * world.size
    assert losses == pytest.approx(full_losses, rel=0.02)
    assert abs(rows - full_rows).max() <= 0.02 * abs(full_rows).max()
    if world.size == 1:
        assert np.array_equal(losses, full_losses)
        return
    sent, full = ({row[:4]: row for row in map(lambda one: tuple(vars(one).values()), found)} for found in (traffic, full_traffic))
    assert sent.keys() == full.keys()
    for what, row in sent.items():
        narrow = what[1] in NARROW and (what[3] != "inside" or exchange in ("rows", "pooled")) and (what[1] != "rows" or precision == "float32")
        assert row[4] * (2 if narrow else 1) == full[what][4]


def test_what_has_more_digits_is_refused(world):
    for options in ({"precision": "float64"}, {"accumulate": "int64"}, {"accumulate": "float64"}):
        tree = {"data": {"format": "synthetic"}, "train": {"wire": "bfloat16", **options}}
        with pytest.raises(ConfigError, match="train.wire = 'bfloat16': train.precision = .* asks for more digits than it keeps; choose 'full'"), small_model(
            world, build(tree)
        ):
            pass


def test_what_does_not_go_through_host_memory_is_refused():
    config = small_config(precision="float32", wire="bfloat16", transport="nccl")
    with pytest.raises(ConfigError, match="train.wire = 'bfloat16': compute.transport = 'nccl' does not go .* choose compute.transport = 'host', or 'full'"):
        require_valid(config, SimpleNamespace(name="cuda"))
