"""Two fields whose values have one hash: rows of their own, on every split and number of ranks, on disk and when served."""

import random
from pathlib import Path

import numpy as np
import pytest
import xxhash
from colliding_values import colliding_values

import deshpc
from deshpc.config.load import build
from deshpc.serve.export import export

NAMES = ["user", "item", "shop"]
SEEDS = [xxhash.xxh64_intdigest(name.encode(), 0) for name in NAMES]
ROWS = 160


def write_rows(path, values, seed):
    """Rows of a value of each field; the label hangs on the item alone, so fields that share rows cannot learn it."""
    chance, lines = random.Random(seed), [b"click," + ",".join(NAMES).encode()]
    for _ in range(ROWS):
        which = [chance.randrange(len(values)) for _ in NAMES]
        click = int(which[1] % 2 == 0) if chance.random() < 0.9 else chance.randrange(2)
        lines.append(b",".join([b"%d" % click, *(values[w][f] for f, w in enumerate(which))]))
    path.write_bytes(b"\n".join(lines) + b"\n")


def config(folder, run, name, **train):
    fields = [{"name": one} for one in NAMES]
    return build({
        "data": {"train": [str(folder / "train.csv")], "test": [str(folder / "test.csv")], "label": "click", "fields": fields},
        "model": {"name": name, "dim": 4, "hidden": [6], "init_std": 0.1},
        "train": {"global_batch_samples": 32, "epochs": 2, "precision": "float64", "exchange": "auto", **train},
        "compute": {"threads_per_rank": 1}, "run": {"directory": str(folder / run)},
    })  # fmt: skip


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "split"), [("fm", "key"), ("deepfm", "field"), ("deepfm", "key"), ("fm", "column")])
def test_each_field_has_its_own_row(world, tmp_path, name, split):
    values, folder = colliding_values(SEEDS, 12), Path(world.bcast(str(tmp_path)))
    if world.rank == 0:
        write_rows(folder / "train.csv", values, 1)
        write_rows(folder / "test.csv", values, 2)
    world.Barrier()
    rows = [line.split(b",")[1:] for line in (folder / "train.csv").read_bytes().splitlines()[1:]]
    trained = deshpc.train(config(folder, "run", name, split=split, routing="broadcast"), world)
    assert trained.rows == len({(f, cell) for row in rows for f, cell in enumerate(row)})
    one = deshpc.train(config(folder, f"alone-{world.rank}", name), world.Split(world.rank))
    for measured in (deshpc.evaluate(folder / "run", world), deshpc.evaluate(folder / "run", world, ["train.split=key", "train.exchange=auto"]), one.test):
        for metric in ("log_loss", "auc", "calibration"):
            assert getattr(measured, metric) == pytest.approx(getattr(trained.test, metric), rel=1e-10), metric
    if world.rank == 0:
        export(folder / "run", folder / "served", None)
        test = [line.split(b",") for line in (folder / "test.csv").read_bytes().splitlines()[1:]]
        scores = deshpc.Predictor(folder / "served").predict({one: [row[1 + f] for row in test] for f, one in enumerate(NAMES)})
        labels = np.array([float(row[0]) for row in test])
        loss = -np.mean(np.where(labels == 1, np.log(scores), np.log1p(-scores)))
        assert loss == pytest.approx(trained.test.log_loss, rel=1e-9)
        assert trained.test.auc > 0.8


def test_values_have_the_hash_that_was_chosen():
    for values in colliding_values(SEEDS, 5):
        assert len({xxhash.xxh64_intdigest(value, seed) for value, seed in zip(values, SEEDS, strict=True)}) == 1
