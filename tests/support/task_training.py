"""Small models of several tasks: their configurations, and batches with labels of which some are not known."""

import numpy as np
from small_training import DIM, INIT_STD
from synthetic_batches import FIELD_NAMES, keys_of, plain_batch

from deshpc.config.load import build

MODELS = {
    "shared_bottom": {"hidden": [3], "task_hidden": [2]},
    "mmoe": {"hidden": [3], "task_hidden": [2], "experts": 2},
    "ple": {"hidden": [2], "task_hidden": [2], "experts": 1, "task_experts": 1, "expert_levels": 2},
    "esmm": {"hidden": [3]},
}
WEIGHTS = {"click": 1.0, "buy": 0.5}
RATE = 0.1
USED_FIELDS = 2
"""That have keys."""


def task_config(name, rate=RATE, model=(), **train):
    """A Config of two labels."""
    tasks = [{"name": task, "weight": weight} for task, weight in WEIGHTS.items()]
    return build({
        "data": {"train": ["x"], "label": list(WEIGHTS), "fields": [{"name": one} for one in FIELD_NAMES]},
        "model": {"name": name, "dim": DIM, "init_std": INIT_STD, "activation": "tanh", "tasks": tasks, **MODELS[name], **dict(model)},
        "optimizer": {"name": "adagrad", "learning_rate": rate}, "train": {"precision": "float64", **train},
    })  # fmt: skip


def task_batches(steps=20, samples=9, values=2):
    """Batches of few keys, with labels (n, 2)."""
    rng = np.random.default_rng(4)
    batches = []
    for number in range(steps):
        counts = rng.integers(0, 4, samples)
        fields = rng.integers(0, USED_FIELDS, counts.sum())
        keys = keys_of(fields, rng.integers(0, values, len(fields)))
        click = rng.random(samples) < 0.5
        labels = np.stack([click, np.where(rng.random(samples) < 0.25, np.nan, click & (rng.random(samples) < 0.5))], axis=1)
        batches.append(plain_batch(number, counts, keys, fields, None, rng.standard_normal((samples, 1)), labels))
    return batches
