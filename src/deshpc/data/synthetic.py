"""Synthetic samples with a known true model: any rank may generate any rows, and all get the same bytes.

The content of a row is a pure function of (seed, part, row number).  Every random number is a hash of these and
of what it is for: (field, position in the bag), dense feature, or label.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from deshpc.data.dataset import Dataset
from deshpc.data.hidden_model import calibrate, logit_parts
from deshpc.data.profiles import PARTS, Bag, describe
from deshpc.data.variates import bell, geometric_cdf, last_y, uniform53, zipf
from deshpc.hashing.key import field_seed
from deshpc.hashing.splitmix import fold
from deshpc.hashing.xxh64 import hash_key
from deshpc.jit import kernel

_PILOT = len(PARTS)  # a part of its own, on which the hidden model is calibrated
_PILOT_ROWS, _PILOT_BLOCK = 8192, 512

# What a row's random number is for: fields are 0 .. 65535.
_DENSE, _LABEL = np.uint64(1 << 32), np.uint64(1 << 33)


@dataclass(frozen=True)
class RawSamples:
    """Samples before hashing.

    offsets : (n + 1) int64    sample i holds occurrences offsets[i] .. offsets[i + 1]
    ids     : (nnz) int64      value of the field, 0 .. cardinality - 1, the most frequent first
    fields  : (nnz) uint16     index into Description.field_names
    values  : (nnz) float32, or None when every occurrence has weight 1
    dense   : (n, n_dense) float32
    """

    offsets: np.ndarray
    ids: np.ndarray
    fields: np.ndarray
    values: np.ndarray | None
    dense: np.ndarray


def generate(config, part, start, stop):
    """Rows start .. stop of `part` ("train", "valid" or "test") as a Dataset with `truth`.

    config : SyntheticConfig.  The key of value id i of field number f is `hashing.key.key(f, name of f, str(i))`, so the same rows
    written as text have the same keys.  The first call also draws 8192 other rows to calibrate the truth.
    """
    description = describe(config)
    seed = _seed(config)
    raw = draw(config, part, start, stop)
    seeds = np.array([field_seed(name) for name in description.field_names], np.uint64)
    truth = _hidden_model(description.profile, seed).probabilities(*_logit_parts(seed, raw))
    return Dataset(
        offsets=raw.offsets,
        keys=_keys(raw.ids, raw.fields, seeds),
        fields=raw.fields,
        values=raw.values,
        dense=raw.dense,
        labels=_labels(seed, PARTS.index(part), start, truth),
        truth=truth.astype(np.float32),
    )


def draw(config, part, start, stop):
    """The same rows as RawSamples."""
    description = describe(config)
    if part not in PARTS:
        raise ValueError(f"part = {part!r} is not one of {', '.join(PARTS)}")
    if not 0 <= start <= stop <= description.rows(part):
        raise ValueError(f"rows {start} .. {stop} of the {description.rows(part)} rows of {part}")
    return _draw(description.profile, _seed(config), PARTS.index(part), start, stop)


def _seed(config):
    return np.uint64(config.seed % 2**64)


@cache
def _hidden_model(profile, seed):
    starts = range(0, _PILOT_ROWS, _PILOT_BLOCK)
    blocks = [_logit_parts(seed, _draw(profile, seed, _PILOT, start, start + _PILOT_BLOCK)) for start in starts]
    return calibrate(*np.concatenate(blocks, axis=1))


def _logit_parts(seed, raw):
    return logit_parts(seed, raw.offsets, raw.fields, raw.ids, raw.values, raw.dense)


def _draw(profile, seed, part, start, stop):
    bag = profile.bag or Bag(low=1, high=1, mean=1.0)
    bag_cdf = geometric_cdf(bag.low, bag.high, bag.mean)
    cardinalities = np.array(profile.one_hot + profile.multi_hot, np.int64)
    multi_hot = np.arange(len(cardinalities)) >= len(profile.one_hot)
    ends = np.array([last_y(n) for n in cardinalities.tolist()])

    offsets = _offsets(seed, part, start, stop, multi_hot, bag.low, bag_cdf)
    bags = _Bags(multi_hot, bag.low, bag_cdf, bag.recency)
    ids, fields = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.uint16)
    values = np.empty(offsets[-1], np.float32) if bag.recency != 1 else None
    _fill_occurrences(ids, fields, values, seed, part, start, offsets, bags, cardinalities, ends)
    dense = np.empty((stop - start, profile.n_dense), np.float32)
    _fill_dense(dense, seed, part, start)
    return RawSamples(offsets, ids, fields, values, dense)


@kernel(inline=True)
def _row_state(seed, part, row):
    return fold(fold(seed, np.uint64(part)), np.uint64(row))


@kernel(inline=True)
def _bag_size(field_state, low, cdf):
    return low + np.searchsorted(cdf, uniform53(fold(field_state, np.uint64(0))), side="right")


@kernel
def _offsets(seed, part, start, stop, multi_hot, bag_low, bag_cdf):
    offsets = np.empty(stop - start + 1, np.int64)
    offsets[0] = 0
    for i in range(stop - start):
        row = _row_state(seed, part, start + i)
        size = 0
        for f in range(len(multi_hot)):
            size += _bag_size(fold(row, np.uint64(f)), bag_low, bag_cdf) if multi_hot[f] else 1
        offsets[i + 1] = offsets[i] + size
    return offsets


class _Bags(NamedTuple):
    """Which fields have bags (F) bool, the smallest, the distribution of their sizes, and the weight of a place by the one before."""

    multi_hot: np.ndarray
    low: int
    cdf: np.ndarray
    recency: float


@kernel
def _fill_occurrences(ids, fields, values, seed, part, start, offsets, bags, cardinalities, ends):
    multi_hot = bags.multi_hot
    for i in range(len(offsets) - 1):
        row = _row_state(seed, part, start + i)
        entry = offsets[i]
        for f in range(len(multi_hot)):
            field_state = fold(row, np.uint64(f))
            size = _bag_size(field_state, bags.low, bags.cdf) if multi_hot[f] else 1
            weight = 1.0
            for position in range(size):
                ids[entry] = zipf(fold(field_state, np.uint64(position + 1)), cardinalities[f], ends[f]) - 1
                fields[entry] = f
                if values is not None:
                    values[entry] = weight
                    weight *= bags.recency
                entry += 1


@kernel
def _fill_dense(dense, seed, part, start):
    for i in range(dense.shape[0]):
        row = _row_state(seed, part, start + i)
        for d in range(dense.shape[1]):
            dense[i, d] = bell(fold(row, _DENSE + np.uint64(d)))


@kernel
def _labels(seed, part, start, truth):
    labels = np.empty(len(truth), np.float32)
    for i in range(len(truth)):
        labels[i] = uniform53(fold(_row_state(seed, part, start + i), _LABEL)) < truth[i]
    return labels


@kernel
def _keys(ids, fields, seeds):
    keys = np.empty(len(ids), np.uint64)
    text = np.empty(20, np.uint8)  # the id in decimal, written from the end
    for j in range(len(ids)):
        begin = len(text)
        rest = ids[j]
        while True:
            begin -= 1
            text[begin] = 48 + rest % 10
            rest //= 10
            if rest == 0:
                break
        keys[j] = hash_key(text, begin, len(text), seeds[fields[j]], fields[j])
    return keys
