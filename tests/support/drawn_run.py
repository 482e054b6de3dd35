"""What becomes of a drawn configuration (`drawn_config.Draw`): trained, read again, scored and exported, or refused."""

import csv
import math
from dataclasses import asdict

import numpy as np

import deshpc
from deshpc.config.load import build
from deshpc.errors import ConfigError, DeshpcError
from deshpc.serve.export import export
from deshpc.training.predict import predict


def finite(tree):
    """Whether all numbers of nested dictionaries and lists are finite."""
    if isinstance(tree, dict):
        return all(map(finite, tree.values()))
    if isinstance(tree, (list, tuple)):
        return all(map(finite, tree))
    return not isinstance(tree, float) or math.isfinite(tree)


def outcome(world, draw):
    """"refused", "diverged" or "trained": what becomes of a drawn configuration.  Collective."""
    try:
        config = build(draw.tree)
        if world.rank == 0:
            draw.write_rows()
        world.Barrier()
        result = deshpc.train(config, world)
    except ConfigError as error:
        assert str(error)
        return "refused"
    except DeshpcError as error:
        assert draw.extreme and "lower optimizer.learning_rate" in str(error), (error, draw.tree)
        return "diverged"
    assert finite(asdict(result)), result
    if result.test is None:
        return "trained"
    again = deshpc.evaluate(config.run.directory, world)
    before, after = (metrics.loss if hasattr(metrics, "loss") else metrics.log_loss for metrics in (result.test, again))
    assert again.rows == result.test.rows and abs(after - before) <= 1e-6 * max(1.0, before)
    scores = world.bcast(str(draw.folder / "scores.csv"))
    predict(config.run.directory, scores, world)
    if world.rank == 0 and config.data.format != "synthetic":
        export(config.run.directory, draw.folder / "model.bin")
        with open(scores, encoding="utf-8") as file:
            found = np.array([float(row["score"]) for row in csv.DictReader(file)])
        with open(config.data.test[0], encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if config.data.format == "tsv" else ","))
        expected = deshpc.Predictor(draw.folder / "model.bin").predict([{n: c for n, c in row.items() if n != "label"} for row in rows])
        assert np.abs(found - expected).max() <= (1e-9 if config.train.precision == "float64" else 1e-3), (found, expected)
    world.Barrier()
    return "trained"
