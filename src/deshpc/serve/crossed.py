"""Crossed keys of raw values: the NumPy twin of `data.crosses`, which has the definition."""

from typing import NamedTuple

import numpy as np

from deshpc.hashing.key import field_seed
from deshpc.serve.keys import keys_of


class Occurrences(NamedTuple):
    """A field's keys in n samples, sample after sample.

    keys : (m) uint64;  samples : (m) int64, of each its sample;  x, xl : (m) float64, weights of the embedding and of the linear weight
    """

    keys: np.ndarray
    samples: np.ndarray
    x: np.ndarray
    xl: np.ndarray


def crossed(rows, members, name, number):
    """The Occurrences of a cross in so many rows.

    members : Occurrences of its fields, in its order, without those of missing values
    name, number : of the cross, as a field
    """
    words, (samples, x, xl) = [members[0].keys], members[0][1:]
    for one in members[1:]:
        counts = np.bincount(one.samples, minlength=rows)
        begins = np.cumsum(counts) - counts
        of_each = counts[samples]
        within = np.arange(of_each.sum()) - np.repeat(np.cumsum(of_each) - of_each, of_each)
        right = np.repeat(begins[samples], of_each) + within
        words = [np.repeat(word, of_each) for word in words] + [one.keys[right]]
        samples, x, xl = np.repeat(samples, of_each), np.repeat(x, of_each) * one.x[right], np.repeat(xl, of_each) * one.xl[right]
    texts = [row.tobytes() for row in np.stack(words, axis=1).astype("<u8")]
    count = len(texts)
    keys = keys_of(texts, np.full(count, number, np.uint16), np.full(count, field_seed(name), np.uint64))
    return Occurrences(keys, samples, _rounded(x), _rounded(xl))


def _rounded(numbers):
    return numbers.astype(np.float32).astype(np.float64)
