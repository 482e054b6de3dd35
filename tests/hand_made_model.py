"""An exported model whose rows are chosen by hand, for rows of every kind of field."""

import numpy as np
from every_kind import FIELDS, make_rows, plain_key

from deshpc.config.load import build
from deshpc.data.transform import Buckets, Standardisation, Transforms
from deshpc.formats.schema import Schema
from deshpc.serve.exported import about_model, write_model

TRANSFORMS = Transforms(
    (Standardisation("age", 3.5, 0.4), Standardisation("income", 0.25, 6.0)),
    (Buckets("price", (0.2, 0.7, 1.5)), Buckets("level", (-1.5, 0.0, 2.0))),
)
ROWS = make_rows(0, 200)


def hand_made(path, name="fm", dim=3, without=()):
    """Write a model of half of the values of ROWS; its rows {key: (w, v)} and dense parameters."""
    generator = np.random.default_rng(5)
    texts = {(name, text) for row in ROWS for name in ("site", "hour") for text in [row[name]]}
    texts |= {("tags", f"t{i}") for i in range(9)} | {("history", f"h{i}") for i in range(15)} | {("history", "plain")}
    texts |= {("recent", f"r{i}") for i in range(5)} | {(name, f"{i}") for name in ("price", "level") for i in range(4)}
    texts |= {("price", ""), ("level", "")}
    keys = sorted({plain_key(*text) for text in sorted(texts)})[::2]
    weights = generator.normal(0, 0.5, (len(keys), 1 + dim)).astype(np.float32)
    weights[3] = 0
    factors = generator.normal(0, 0.3, (2, dim)).astype(np.float32)
    slopes, bias = np.array([0.3, -0.4], np.float32), np.array(-0.5, np.float32)
    config = build({"data": {"train": ["x"], "label": "click", "fields": FIELDS}, "model": {"name": name, "dim": max(1, dim)}})
    prefix = {"fm": "fm", "lr": "linear"}[name]
    dense = {"bias": bias, f"{prefix}.weights": slopes, **({"fm.factors": factors} if name == "fm" else {})}
    blocks = [(np.array(keys[i : i + 7], np.uint64), weights[i : i + 7]) for i in range(0, len(keys), 7)]
    written = write_model(path, about_model(config, 9), Schema.from_config(config.data), TRANSFORMS, blocks, weights[:0], dense)
    assert written == len(keys) - 1  # the row of zeros is left out
    return dict(zip(keys, ((row[0], row[1:]) for row in weights), strict=True)), {
        "bias": bias, "weights": slopes, "factors": factors,
    }  # fmt: skip
