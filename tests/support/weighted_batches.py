"""Global batches whose samples have whole weights, and the same samples as often as these say."""

from dataclasses import replace

import numpy as np
from synthetic_batches import awkward_batches, plain_batch


def weighted_batches(reduction):
    """Global batches with weights 1, 2 and 3; of a mean, the same full batch again and again."""
    batches = [batch for batch in awkward_batches(31, 8) if len(batch) > 3]
    if reduction == "mean":
        batches = [replace(batches[0], step=step) for step in range(3)]
    return [replace(batch, weights=np.random.default_rng(len(batch)).integers(1, 4, len(batch)).astype(np.float32)) for batch in batches]


def repeated(batch):
    """A batch in which every sample is as often as its weight says, and has none."""
    times = batch.weights.astype(np.int64)
    counts = np.repeat(batch.ends - batch.begins, times)
    places = np.concatenate([np.arange(b, e) for b, e, n in zip(batch.begins, batch.ends, times, strict=True) for _ in range(n)])
    return plain_batch(
        batch.step, counts, batch.keys[places], batch.fields[places], batch.values[places], np.repeat(batch.dense, times, axis=0),
        np.repeat(batch.labels, times),
    )
