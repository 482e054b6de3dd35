"""Small global batches with every awkward shape that sharded training has to survive; a function of the seed.

Over the steps of `awkward_batches`: samples without keys, whole batches without keys, one key alone in a batch,
several keys of one field, a key many times in one sample, keys that one sample (so one rank) alone has, unseen keys
in every step, sizes that no number of ranks divides, batches of 1 to 3 samples (some ranks have none), values that
are negative, tiny or zero, and keys that share their lower half (they collide in every hash index).

`weighted` says how many values stand beside each key: 0 (False), 1 (True), or 2, of the embedding and of the linear
weight.
"""

import numpy as np

from deshpc.comm.shares import slice_of
from deshpc.data.batch import Batch

N_FIELDS = 6
FIELD_NAMES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
SIZES = (37, 64, 2, 31, 29, 1, 60, 3, 41, 48, 37, 12, 53, 37, 24, 61, 17, 7, 2, 1)  # of the first twenty steps
NO_KEYS, ONE_KEY = 3, 4  # steps whose batch has no key at all, and the same single key in its samples


def keys_of(fields, numbers):
    """Distinct keys (n) uint64, never 0, of value `numbers` (below 2^16) of `fields`, which are their bits 32 .. 47; those of
    every seventh value of a field share their lower half."""
    fields, numbers = fields.astype(np.uint64), numbers.astype(np.uint64)
    z = ((fields << np.uint64(40)) + numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(32)) * np.uint64(0xD6E8FEB86659FD93)
    clashing = (numbers * np.uint64(40_503) & np.uint64(0xFFFF)) << np.uint64(48) | np.uint64(42)
    z = np.where(numbers % np.uint64(7) == 3, clashing, z)
    return z & ~np.uint64(0xFFFF << 32) | fields << np.uint64(32)


def awkward_batches(seed, steps=20, weighted=True, n_dense=2):
    """`steps` global batches (`Batch`) of N_FIELDS fields."""
    rng = np.random.default_rng(seed)
    return [_batch(rng, step, SIZES[step % len(SIZES)], weighted, n_dense) for step in range(steps)]


def one_key_batches(seed, steps, weighted=True, n_dense=0):
    """`steps` batches in which the same single key is all there is: every other owner holds nothing."""
    rng = np.random.default_rng(seed)
    return [_batch(rng, ONE_KEY, 13, weighted, n_dense, step) for step in range(steps)]


def owner_of(key, owners):
    """Owner of a key: the upper half of its bits, scaled from 2^32 to the number of owners."""
    return (int(key) >> 32) * owners >> 32


def share_of(batch, rank, size, whole=False):
    """What `rank` of `size` reads of a global batch: its contiguous share, or the whole batch."""
    return batch if whole else batch.share(*slice_of(len(batch), size, rank))


def plain_batch(step, counts, keys, fields, values, dense, labels):
    """A global Batch from the number of keys of each sample and the keys of all samples."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Batch(
        step, len(labels), np.arange(len(labels)) + 1000 * step, offsets[:-1], offsets[1:], keys.astype(np.uint64),
        fields.astype(np.uint16), None if values is None else values.astype(np.float32), dense.astype(np.float32),
        labels.astype(np.float32),
    )  # fmt: skip


def _batch(rng, kind, samples, weighted, n_dense, step=None):
    step = kind if step is None else step
    counts = rng.integers(0, 3 * N_FIELDS, samples)
    counts[rng.random(samples) < 0.15] = 0
    if kind == NO_KEYS:
        counts[:] = 0
    total = int(counts.sum())
    fields = rng.integers(0, N_FIELDS, total)
    known = 10 + 5 * step  # values of a field that have turned up so far: more of them in every step
    numbers = (known * rng.random(total) ** 2).astype(np.int64)  # small numbers are frequent
    sample = np.repeat(np.arange(samples), counts)
    again = np.flatnonzero((sample[1:] == sample[:-1]) & (rng.random(max(0, total - 1)) < 0.2)) + 1
    fields[again], numbers[again] = fields[again - 1], numbers[again - 1]
    alone = np.flatnonzero(np.diff(sample, prepend=-1) != 0)[::3]  # the first key of every third sample that has keys
    numbers[alone] = 1_000_000 + 1000 * step + np.arange(len(alone))
    if kind == ONE_KEY:
        fields[:], numbers[:] = 2, 1
    shape = (total, 2) if weighted == 2 else total
    values = rng.standard_normal(shape) * rng.choice([0.0, 1e-3, 1.0], shape, p=[0.05, 0.1, 0.85]) if weighted else None
    return plain_batch(
        step, counts, keys_of(fields, numbers), fields, values, rng.standard_normal((samples, n_dense)),
        rng.random(samples) < 0.4,
    )  # fmt: skip
