"""Keys that training has never had, against a Python set, for every way in which rows are divided, on one rank and on several."""

import numpy as np
import pytest
from small_training import DIM, reads, small_model
from synthetic_batches import FIELD_NAMES, N_FIELDS, keys_of, plain_batch

from deshpc.config.load import build
from deshpc.config.schema import FieldConfig
from deshpc.data.dataset import Dataset
from deshpc.metrics.results import UnseenKeys
from deshpc.metrics.unseen import unseen_keys
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

WAYS = {
    "by key": {"model": {"name": "fm"}, "train": {"exchange": "reduce_scatter"}},
    "by field": {"model": {"name": "lr"}, "train": {"split": "field"}},
    "by column": {"model": {"name": "fm"}, "train": {"split": "column", "routing": "broadcast"}},
    "tables": {"model": {"name": "dcn", "hidden": [4], "fields": [{"name": "alpha", "dim": 2}, {"name": "zeta", "dim": 9}]}},
    "replicated": {"model": {"name": "deepfm", "hidden": [4], "fields": [{"name": name, "replicated": True} for name in ("beta", "zeta")]}},
}


def samples(rng, n, known):
    """A global batch of n samples whose values are below `known`, small ones more often; some have no keys, others one twice."""
    counts = rng.integers(0, 9, n)
    fields = rng.integers(0, N_FIELDS, counts.sum())
    numbers = (known * rng.random(counts.sum()) ** 2).astype(np.int64)
    keys = keys_of(fields, numbers)
    keys[1::5], fields[1::5] = keys[::5][: len(keys[1::5])], fields[::5][: len(keys[1::5])]
    return plain_batch(0, counts, keys, fields, None, np.zeros((n, 2)), np.zeros(n))


def expected(trained, batch, kinds):
    """By a set of all keys that training has had."""
    had, found = set(trained.keys.tolist()), []
    for field, kind in enumerate(kinds):
        keys = batch.keys[batch.fields == field].tolist()
        if kind in ("categorical", "multi"):
            unseen = [key for key in keys if key not in had]
            found.append(UnseenKeys(FIELD_NAMES[field], len(keys), len(unseen), len(set(keys)), len(set(unseen))))
    return found


@pytest.mark.parametrize("way", WAYS)
def test_unseen_keys_are_those_that_no_set_has(world, way):
    kinds = ["categorical", "multi", "bucket", "categorical", "categorical", "multi"]
    rng = np.random.default_rng(3)
    trained, batch = samples(rng, 120, 40), samples(rng, 157, 90)
    tree = WAYS[way]
    config = build({
        "data": {"format": "synthetic"}, "model": {"dim": DIM, **tree["model"]}, "train": {"precision": "float64", **tree.get("train", {})},
    })  # fmt: skip
    with small_model(world, config, threads=2) as model:
        step(model, reads(model, trained))
        rows = sum(world.allgather(len(model.table)))
        dataset = Dataset(np.append(batch.begins, batch.ends[-1]), batch.keys, batch.fields, None, batch.dense, batch.labels)
        fields = [FieldConfig(name, kind) for name, kind in zip(FIELD_NAMES, kinds, strict=True)]
        for block_rows in (7, 10_000):  # many blocks, of which the last ones are not full, and one
            assert unseen_keys(model, dataset, fields, block_rows) == expected(trained, batch, kinds)
        assert sum(world.allgather(len(model.table))) == rows  # nothing has been inserted
        assert (model.group.ledger.of(operator="unseen keys", kind="metrics") > 0) == (world.size > 1)
        assert unseen_keys(model, dataset.head(0), fields) == [UnseenKeys(one.name, 0, 0, 0, 0) for one in fields if one.kind != "bucket"]
        assert unseen_keys(model, dataset, [FieldConfig(name, "bucket") for name in FIELD_NAMES]) == []
